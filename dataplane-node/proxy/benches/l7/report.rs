//! The table and the JSON file.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    cases::{Kind, Limit},
    facts,
    idle::Crowd,
    measure::Row,
};

/// Everything that a run has found out.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    /// The machine's load before and after.
    pub(crate) load: (f64, f64),
    pub(crate) rows: Vec<Row>,
    /// Whether cases were left out.
    pub(crate) is_partial: bool,
}

// === impl Row ===

impl Row {
    const HAPROXY: usize = 0;
    const NGINX: usize = 1;
    const OURS: usize = 2;

    /// HAProxy's median; of ours with one where that is compared with.
    pub(crate) fn haproxy(&self) -> Option<f64> {
        let figures = &self.figures[Self::HAPROXY];
        (!figures.is_empty()).then(|| quantile(figures, 2))
    }

    /// The median of nginx's ratios.
    pub(crate) fn nginx(&self) -> Option<f64> {
        let ratios = self.ratios(Self::NGINX);
        (!ratios.is_empty()).then(|| quantile(&ratios, 2))
    }

    /// The median of ours: of the ratios, or of the figures where the limit is one by itself.
    pub(crate) fn ours(&self) -> f64 {
        quantile(&self.compared(), 2)
    }

    pub(crate) fn quartiles(&self) -> (f64, f64) {
        let compared = self.compared();
        (quantile(&compared, 1), quantile(&compared, 3))
    }

    pub(crate) const fn limit(&self) -> f64 {
        match self.case.limit {
            Limit::AtLeast(limit) | Limit::AtMost(limit) | Limit::Bytes(limit) => limit,
        }
    }

    pub(crate) fn is_met(&self) -> bool {
        match self.case.limit {
            Limit::AtLeast(limit) => self.ours() >= limit,
            Limit::AtMost(limit) | Limit::Bytes(limit) => self.ours() <= limit,
        }
    }

    fn compared(&self) -> Vec<f64> {
        match self.case.limit {
            Limit::AtLeast(_) | Limit::AtMost(_) => self.ratios(Self::OURS),
            Limit::Bytes(_) => self.figures[Self::OURS].clone(),
        }
    }

    /// Of each round: what was measured side by side is compared.
    fn ratios(&self, of: usize) -> Vec<f64> {
        let pairs = self.figures[of].iter().zip(&self.figures[Self::HAPROXY]);
        pairs.map(|(figure, haproxy)| figure / haproxy).collect()
    }
}

// === impl Report ===

impl Report {
    pub(crate) fn is_met(&self) -> bool {
        !self.is_partial && self.rows.iter().all(Row::is_met)
    }

    /// For people.
    #[expect(clippy::print_stdout, reason = "the table is what it is run for")]
    pub(crate) fn print(&self, json: &Path, svg: &Path) {
        println!(
            "{} · Linux {} · load {} → {} · medians of {} rounds of {} s · ratios to HAProxy",
            facts::processor(),
            facts::kernel(),
            self.load.0,
            self.load.1,
            self.rounds,
            self.seconds,
        );
        println!(
            "{:<44} {:>9} {:<18} {:>8} {:>8} {:>15} {:>9}",
            "case", "HAProxy", "", "nginx", "ours", "quartiles", "limit"
        );
        for row in &self.rows {
            let (low, high) = row.quartiles();
            let quartiles = format!("{} {}", short(low), short(high));
            let sign = match row.case.limit {
                Limit::AtLeast(_) => ">=",
                Limit::AtMost(_) | Limit::Bytes(_) => "<=",
            };
            println!(
                "{:<44} {:>9} {:<18} {:>8} {:>8} {:>15} {sign} {:>6}  {}",
                row.case.name,
                row.haproxy().map_or("-".to_owned(), short),
                row.case.kind.unit(),
                row.nginx().map_or("-".to_owned(), short),
                short(row.ours()),
                quartiles,
                short(row.limit()),
                if row.is_met() { "met" } else { "MISSED" },
            );
        }
        for crowd in self.rows.iter().filter_map(|row| row.crowd.as_ref()) {
            println!(
                "{} connections: {:.0} bytes each of the process, {:.2} GiB for a million; {:.0} of the kernel beside them",
                crowd.connections,
                crowd.resident_each,
                crowd.gib_for_a_million(),
                crowd.kernel_each,
            );
        }
        if self.is_partial {
            println!("only some of the cases: this run does not show that the limits are met");
        }
        println!("{}\n{}", json.display(), svg.display());
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let median = |it: &Vec<f64>| (!it.is_empty()).then(|| quantile(it, 2));
            let [first, nginx, ours] = row.figures.each_ref().map(median);
            let (haproxy, one) = match row.case.kind {
                Kind::Among(_) => (None, first),
                Kind::KeepAlive(_)
                | Kind::NewConnections(_)
                | Kind::Transfers
                | Kind::Http2
                | Kind::Latency
                | Kind::Idle(_)
                | Kind::Million => (first, None),
            };
            json!({
                "case": row.case.name,
                "unit": row.case.kind.unit(),
                "haproxy": haproxy,
                "nginx": nginx,
                "one": one,
                "ours": ours,
                "connections": row.crowd.as_ref().map(|it| it.connections),
                "kernel_bytes": row.crowd.as_ref().map(|it| it.kernel_each),
                "gib_for_a_million": row.crowd.as_ref().map(Crowd::gib_for_a_million),
                "nginx_ratio": row.nginx(),
                "compared": row.ours(),
                "quartiles": row.quartiles(),
                "limit": row.limit(),
                "met": row.is_met(),
            })
        });
        let report = json!({
            "processor": facts::processor(),
            "kernel": facts::kernel(),
            "load": [self.load.0, self.load.1],
            "rounds": self.rounds,
            "seconds": self.seconds,
            "cases": rows.collect::<Vec<Value>>(),
            "partial": self.is_partial,
            "met": self.is_met(),
        });
        format!("{report:#}\n")
    }
}

/// The n-th quartile of some figures.
fn quantile(figures: &[f64], n: usize) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_unstable_by(f64::total_cmp);
    figures[(figures.len() - 1) * n / 4]
}

/// With as many digits as are of use.
pub(crate) fn short(figure: f64) -> String {
    if figure < 20.0 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.0}")
    }
}
