//! The table and the JSON file.

use std::path::Path;

use serde_json::{Value, json};

use crate::{cases::Limit, facts, measure::Row};

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

/// What a row comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Met,
    Missed,
    NotThere,
}

// === impl Row ===

impl Row {
    const HAPROXY: usize = 0;
    const NGINX: usize = 1;
    const OURS: usize = 2;

    /// HAProxy's median.
    pub(crate) fn haproxy(&self) -> Option<f64> {
        quantile(&self.figures[Self::HAPROXY], 2)
    }

    /// The median of nginx's ratios.
    pub(crate) fn nginx(&self) -> Option<f64> {
        quantile(&self.ratios(Self::NGINX), 2)
    }

    /// The median of ours: of the ratios, or of the figures where the limit is one by itself.
    pub(crate) fn ours(&self) -> Option<f64> {
        quantile(&self.compared(), 2)
    }

    pub(crate) fn quartiles(&self) -> Option<(f64, f64)> {
        quantile(&self.compared(), 1).zip(quantile(&self.compared(), 3))
    }

    pub(crate) const fn limit(&self) -> f64 {
        match self.case.limit {
            Limit::AtLeast(limit) | Limit::AtMost(limit) | Limit::Bytes(limit) => limit,
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let Some(ours) = self.ours() else {
            return Outcome::NotThere;
        };
        let is_met = match self.case.limit {
            Limit::AtLeast(limit) => ours >= limit,
            Limit::AtMost(limit) | Limit::Bytes(limit) => ours <= limit,
        };
        if is_met {
            Outcome::Met
        } else {
            Outcome::Missed
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
        !self.is_partial && self.rows.iter().all(|row| row.outcome() == Outcome::Met)
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
            let quartiles = row.quartiles();
            let quartiles = quartiles.map(|(low, high)| format!("{} {}", short(low), short(high)));
            let sign = match row.case.limit {
                Limit::AtLeast(_) => ">=",
                Limit::AtMost(_) | Limit::Bytes(_) => "<=",
            };
            println!(
                "{:<44} {:>9} {:<18} {:>8} {:>8} {:>15} {sign} {:>6}  {}",
                row.case.name,
                shown(row.haproxy()),
                row.case.kind.unit(),
                shown(row.nginx()),
                shown(row.ours()),
                quartiles.unwrap_or("-".to_owned()),
                short(row.limit()),
                match row.outcome() {
                    Outcome::Met => "met",
                    Outcome::Missed => "MISSED",
                    Outcome::NotThere => "not there yet",
                }
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
            let [haproxy, nginx, ours] = row.figures.each_ref().map(|it| quantile(it, 2));
            json!({
                "case": row.case.name,
                "unit": row.case.kind.unit(),
                "haproxy": haproxy,
                "nginx": nginx,
                "ours": ours,
                "nginx_ratio": row.nginx(),
                "compared": row.ours(),
                "quartiles": row.quartiles().map(|(low, high)| [low, high]),
                "limit": row.limit(),
                "there": row.outcome() != Outcome::NotThere,
                "met": row.outcome() == Outcome::Met,
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

/// The n-th quartile.
fn quantile(figures: &[f64], n: usize) -> Option<f64> {
    let mut figures = figures.to_vec();
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len().checked_sub(1)? * n / 4).copied()
}

fn shown(figure: Option<f64>) -> String {
    figure.map_or("-".to_owned(), short)
}

/// With as many digits as are of use.
pub(crate) fn short(figure: f64) -> String {
    if figure < 20.0 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.0}")
    }
}
