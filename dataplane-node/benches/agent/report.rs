//! The table and the JSON file.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{facts, kernel::MapMemory};

/// Everything that a run has found out.
pub(crate) struct Report {
    pub(crate) rounds: u32,
    pub(crate) loads: u32,
    /// The machine's load before and after.
    pub(crate) load: (f64, f64),
    pub(crate) rows: Vec<Row>,
    pub(crate) memory: Vec<MapMemory>,
}

/// How long one thing took, each time.
pub(crate) struct Row {
    pub(crate) what: String,
    /// `None` where no goal is set.
    pub(crate) limit: Option<Duration>,
    pub(crate) times: Vec<Duration>,
}

impl Row {
    pub(crate) fn new(what: String, limit: Option<Duration>) -> Self {
        Self {
            what,
            limit,
            times: Vec::new(),
        }
    }

    /// In milliseconds.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(2)
    }

    /// In milliseconds.
    pub(crate) fn limit(&self) -> Option<f64> {
        self.limit.map(|limit| limit.as_secs_f64() * 1e3)
    }

    pub(crate) fn is_met(&self) -> bool {
        self.limit().is_none_or(|limit| self.median() <= limit)
    }

    /// The n-th quartile, in milliseconds.
    fn quantile(&self, n: usize) -> f64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        times[(times.len() - 1) * n / 4].as_secs_f64() * 1e3
    }
}

impl Report {
    pub(crate) fn is_met(&self) -> bool {
        self.rows.iter().all(Row::is_met)
    }

    /// For people.
    #[expect(clippy::print_stdout, reason = "the table is what it is run for")]
    pub(crate) fn print(&self, json: &Path, svg: &Path) {
        println!(
            "{} · Linux {} · load {} → {} · medians of {} rounds, of {} loads · ms",
            facts::processor(),
            facts::kernel(),
            self.load.0,
            self.load.1,
            self.rounds,
            self.loads,
        );
        println!(
            "{:<62} {:>9} {:>9} {:>9} {:>9}",
            "what happens", "median", "quartile", "quartile", "limit"
        );
        for row in &self.rows {
            println!(
                "{:<62} {:>9.2} {:>9.2} {:>9.2} {:>9}  {}",
                row.what,
                row.median(),
                row.quantile(1),
                row.quantile(3),
                row.limit().map_or("-".to_owned(), |ms| format!("{ms:.0}")),
                match (row.limit, row.is_met()) {
                    (None, _) => "no limit is set",
                    (Some(_), true) => "met",
                    (Some(_), false) => "MISSED",
                },
            );
        }
        let total: u64 = self.memory.iter().map(|it| it.bytes).sum();
        println!("\nmaps with 10,000 services: {:.1} MB", megabytes(total));
        for MapMemory { map, bytes } in self.memory.iter().filter(|it| it.bytes > 100_000) {
            println!("  {map:<18} {:>8.1} MB", megabytes(*bytes));
        }
        println!("{}\n{}", json.display(), svg.display());
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            json!({
                "what": row.what,
                "median_ms": rounded(row.median()),
                "quartiles_ms": [rounded(row.quantile(1)), rounded(row.quantile(3))],
                "limit_ms": row.limit(),
                "met": row.is_met(),
            })
        });
        let memory = self.memory.iter();
        let memory = memory.map(|it| json!({ "map": it.map, "bytes": it.bytes }));
        let report = json!({
            "processor": facts::processor(),
            "kernel": facts::kernel(),
            "load": [self.load.0, self.load.1],
            "rounds": self.rounds,
            "loads": self.loads,
            "rows": rows.collect::<Vec<Value>>(),
            "maps": memory.collect::<Vec<Value>>(),
            "met": self.is_met(),
        });
        format!("{report:#}\n")
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn rounded(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}
