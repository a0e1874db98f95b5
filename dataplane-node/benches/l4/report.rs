//! The table and the JSON file.

use std::path::Path;

use serde_json::{Value, json};

use crate::{cases::FLOOR_REFERENCE, flood::Survivors, machine, measure::Row};

/// Everything that a run has found out.
pub(crate) struct Report {
    pub(crate) rounds: u32,
    pub(crate) packets: u32,
    /// The machine's load before and after.
    pub(crate) load: (f64, f64),
    pub(crate) floor: f64,
    pub(crate) floor_spread: (f64, f64),
    pub(crate) rows: Vec<Row>,
    /// Rows that cannot be measured yet: name, Katran's figure, limit.
    pub(crate) missing: &'static [(&'static str, u32, u32)],
    /// Only some of the rows were asked for.
    pub(crate) partial: bool,
    pub(crate) flood: Survivors,
}

impl Report {
    /// How much slower this machine is, at this hour, than the one that the limits come from.
    pub(crate) fn scale(&self) -> f64 {
        self.floor / FLOOR_REFERENCE
    }

    /// What a row may cost here and now.
    pub(crate) fn limit(&self, row: &Row) -> f64 {
        f64::from(row.case.limit) * self.scale()
    }

    /// What Katran's figure comes to here and now.
    pub(crate) fn katran(&self, row: &Row) -> Option<f64> {
        row.case.katran.map(|ns| f64::from(ns) * self.scale())
    }

    /// Whether every row is there and within its limit, and the flood did no harm.
    pub(crate) fn is_met(&self) -> bool {
        self.missing.is_empty()
            && !self.partial
            && self.flood.kept == self.flood.live
            && self.rows.iter().all(|row| self.row_is_met(row))
    }

    pub(crate) fn row_is_met(&self, row: &Row) -> bool {
        row.is_there && row.ours <= self.limit(row)
    }

    /// For people.
    #[expect(clippy::print_stdout, reason = "the table is what it is run for")]
    pub(crate) fn print(&self, json: &Path, svg: &Path) {
        println!(
            "{} · Linux {} · load {} → {} · median of {} rounds of {} packets · ns per packet",
            machine::processor(),
            machine::kernel(),
            self.load.0,
            self.load.1,
            self.rounds,
            self.packets,
        );
        let (low, high) = self.floor_spread;
        println!(
            "floor {:.1} ({low:.1} to {high:.1}); it was {FLOOR_REFERENCE} where the limits come from: limits and Katran's figures \
             are times {:.2}\n",
            self.floor,
            self.scale(),
        );
        println!(
            "{:<40} {:>7} {:>7} {:>15} {:>7} {:>8} {:>8}",
            "case", "Katran", "ours", "quartiles", "limit", "of limit", "of floor"
        );
        for row in &self.rows {
            let katran = self
                .katran(row)
                .map_or("-".to_owned(), |ns| format!("{ns:.0}"));
            let quartiles = format!("{:.1} to {:.1}", row.spread.0, row.spread.1);
            println!(
                "{:<40} {katran:>7} {:>7.1} {quartiles:>15} {:>7.1} {:>7.0}% {:>8.2}  {}",
                row.case.name,
                row.ours,
                self.limit(row),
                100.0 * row.ours / self.limit(row),
                row.ours / self.floor,
                match (row.is_there, self.row_is_met(row)) {
                    (false, _) => "the flow table is not there yet",
                    (true, true) => "met",
                    (true, false) => "MISSED",
                },
            );
        }
        for (name, katran, limit) in self.missing {
            let scaled = |ns: &u32| f64::from(*ns) * self.scale();
            println!(
                "{name:<40} {:>7.0} {:>7} {:>15} {:>7.1} {:>8} {:>8}  not there yet",
                scaled(katran),
                "-",
                "-",
                scaled(limit),
                "-",
                "-"
            );
        }
        let Survivors { live, kept } = self.flood;
        println!("\n{kept} of {live} live flows kept their server through the flood");
        if self.partial {
            println!("only some of the cases: this run does not show that the limits are met");
        }
        println!("{}\n{}", json.display(), svg.display());
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            json!({
                "case": row.case.name,
                "flows": row.case.flows,
                "katran_reference_ns": row.case.katran,
                "limit_reference_ns": row.case.limit,
                "limit_ns": rounded(self.limit(row)),
                "ours_ns": rounded(row.ours),
                "quartiles_ns": [rounded(row.spread.0), rounded(row.spread.1)],
                "loop_ns": rounded(row.around),
                "of_floor": rounded(row.ours / self.floor),
                "there": row.is_there,
                "met": self.row_is_met(row),
            })
        });
        let missing = self.missing.iter().map(|(name, katran, limit)| {
            json!({
                "case": name,
                "katran_reference_ns": katran,
                "limit_reference_ns": limit,
                "there": false,
                "met": false,
            })
        });
        let report = json!({
            "processor": machine::processor(),
            "kernel": machine::kernel(),
            "load": [self.load.0, self.load.1],
            "rounds": self.rounds,
            "packets": self.packets,
            "floor_ns": rounded(self.floor),
            "floor_quartiles_ns": [rounded(self.floor_spread.0), rounded(self.floor_spread.1)],
            "floor_reference_ns": FLOOR_REFERENCE,
            "cases": rows.chain(missing).collect::<Vec<Value>>(),
            "flood": { "live": self.flood.live, "kept": self.flood.kept },
            "partial": self.partial,
            "met": self.is_met(),
        });
        format!("{report:#}\n")
    }
}

fn rounded(ns: f64) -> f64 {
    (ns * 100.0).round() / 100.0
}
