//! The table and the JSON file.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{busy::Calm, facts};

/// Everything that a run has found out.
pub(crate) struct Report {
    /// Of ours, and of the peers'.
    pub(crate) rounds: [u32; 2],
    /// The machine's load before and after.
    pub(crate) load: (f64, f64),
    pub(crate) rows: Vec<Row>,
    /// What was taken for an event when there was none.
    pub(crate) calm: Option<Calm>,
}

/// How long one thing took for one system, each time.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) system: &'static str,
    pub(crate) limit: Limit,
    pub(crate) times: Vec<Duration>,
    /// The most memory that it took, and how much it may be, in bytes.
    pub(crate) memory: Option<(u64, u64)>,
}

/// How long it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    median: Option<Duration>,
    worst: Option<Duration>,
}

impl Limit {
    pub(crate) fn none() -> Self {
        Self {
            median: None,
            worst: None,
        }
    }

    pub(crate) fn median(ms: u64) -> Self {
        Self {
            median: Some(Duration::from_millis(ms)),
            worst: None,
        }
    }

    pub(crate) fn worst(ms: u64) -> Self {
        Self {
            median: None,
            worst: Some(Duration::from_millis(ms)),
        }
    }

    pub(crate) fn median_and_worst(median: u64, worst: u64) -> Self {
        Self {
            median: Self::median(median).median,
            worst: Self::worst(worst).worst,
        }
    }
}

impl Row {
    pub(crate) fn new(what: &'static str, system: &'static str, limit: Limit) -> Self {
        Self {
            what,
            system,
            limit,
            times: Vec::new(),
            memory: None,
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}, {}", self.what, self.system)
    }

    /// In milliseconds.
    pub(crate) fn median(&self) -> f64 {
        milliseconds(self.sorted()[self.times.len() / 2])
    }

    /// In milliseconds.
    pub(crate) fn worst(&self) -> f64 {
        milliseconds(self.sorted()[self.times.len() - 1])
    }

    /// The tightest limit, in milliseconds.
    pub(crate) fn limit_ms(&self) -> Option<f64> {
        self.limit.median.or(self.limit.worst).map(milliseconds)
    }

    pub(crate) fn is_met(&self) -> bool {
        let within = |value: f64, limit: Option<Duration>| {
            limit.is_none_or(|limit| value <= milliseconds(limit))
        };
        within(self.median(), self.limit.median)
            && within(self.worst(), self.limit.worst)
            && self.memory.is_none_or(|(bytes, limit)| bytes <= limit)
    }

    fn sorted(&self) -> Vec<Duration> {
        let mut times = self.times.clone();
        times.sort_unstable();
        times
    }
}

impl Report {
    pub(crate) fn is_met(&self) -> bool {
        let is_calm = self.calm.as_ref().is_none_or(Calm::is_calm);
        is_calm && self.rows.iter().all(Row::is_met)
    }

    /// For people.
    #[expect(clippy::print_stdout, reason = "the table is what it is run for")]
    pub(crate) fn print(&self, json: &Path, svg: &Path) {
        println!(
            "{} · Linux {} · load {} → {} · {} rounds, {} of the peers' · ms",
            facts::processor(),
            facts::kernel(),
            self.load.0,
            self.load.1,
            self.rounds[0],
            self.rounds[1],
        );
        println!(
            "{:<58} {:>9} {:>9} {:>9} {:>9}",
            "what happens", "median", "limit", "worst", "limit"
        );
        for row in &self.rows {
            let limit = |it: Option<Duration>| {
                it.map_or("-".to_owned(), |it| format!("{:.0}", milliseconds(it)))
            };
            let verdict = match (row.limit_ms(), row.is_met()) {
                (None, _) => "",
                (Some(_), true) => "met",
                (Some(_), false) => "MISSED",
            };
            println!(
                "{:<58} {:>9.1} {:>9} {:>9.1} {:>9}  {verdict}",
                row.name(),
                row.median(),
                limit(row.limit.median),
                row.worst(),
                limit(row.limit.worst),
            );
            if let Some((bytes, limit)) = row.memory {
                println!(
                    "{:<58} {:>9} of {} MB",
                    "  memory",
                    bytes >> 20,
                    limit >> 20
                );
            }
        }
        if let Some(calm) = &self.calm {
            println!(
                "{} s with all cores busy: {} false take-overs, {} changes of routes  {}",
                calm.seconds,
                calm.take_overs,
                calm.route_changes,
                if calm.is_calm() { "met" } else { "MISSED" }
            );
        }
        println!("{}\n{}", json.display(), svg.display());
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            json!({
                "what": row.what,
                "system": row.system,
                "median_ms": rounded(row.median()),
                "worst_ms": rounded(row.worst()),
                "times_ms": row.times.iter().map(|it| rounded(milliseconds(*it))).collect::<Vec<_>>(),
                "median_limit_ms": row.limit.median.map(milliseconds),
                "worst_limit_ms": row.limit.worst.map(milliseconds),
                "memory_bytes": row.memory.map(|it| it.0),
                "memory_limit_bytes": row.memory.map(|it| it.1),
                "met": row.is_met(),
            })
        });
        let report = json!({
            "processor": facts::processor(),
            "kernel": facts::kernel(),
            "load": [self.load.0, self.load.1],
            "rounds": self.rounds[0],
            "peer_rounds": self.rounds[1],
            "rows": rows.collect::<Vec<Value>>(),
            "calm": self.calm.as_ref().map(|it| json!({
                "seconds": it.seconds,
                "false_take_overs": it.take_overs,
                "route_changes": it.route_changes,
            })),
            "met": self.is_met(),
        });
        format!("{report:#}\n")
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn rounded(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}
