use std::{fmt::Write as _, time::Duration};

use super::*;

/// Now, in milliseconds.
const NOW: u64 = 1_000;

fn at(ms: u64) -> Moment {
    Moment::from_nanos(ms * 1_000_000)
}

fn name(of: &str) -> Name {
    Name::parse(of, "").unwrap()
}

fn states() -> Vec<(&'static str, Witness)> {
    let old = || Witness::new(at(0));
    let heard = |ago| {
        let mut witness = old();
        witness.heard_leader(at(NOW - ago));
        witness
    };
    let told = |ago| {
        let mut witness = old();
        assert!(witness.ask(at(NOW - ago), &name("a"), Timers::default()));
        witness
    };
    let mut back = told(50);
    back.heard_leader(at(NOW - 10));
    vec![
        ("just started", Witness::new(at(NOW))),
        ("started, and not long ago", Witness::new(at(NOW - 59))),
        ("never heard anybody", old()),
        ("follows", heard(10)),
        ("follows hardly", heard(59)),
        ("lost the leader", heard(60)),
        ("has told a", told(50)),
        ("has told a, and follows again", back),
        ("has told a two fences ago", told(260)),
        ("has told a long ago", told(261)),
    ]
}

/// What it has told whom, and how long ago.
fn told(witness: &Witness) -> String {
    let ago = |at_: &Moment| at(NOW).since(*at_).as_millis();
    let told = witness.told.iter();
    let told: Vec<_> = told
        .map(|(node, at)| format!(" {node} {}", ago(at)))
        .collect();
    told.concat()
}

#[test]
fn every_state_and_event() {
    let timers = Timers::default();
    let mut table = String::new();
    for (state, witness) in states() {
        writeln!(table, "{state}").unwrap();
        let mut heard = witness.clone();
        heard.heard_leader(at(NOW));
        let answer = heard.ask(at(NOW), &name("a"), timers);
        writeln!(
            table,
            "  hears the leader, and a asks: {answer}, told{}",
            told(&heard)
        )
        .unwrap();
        for node in ["a", "b"] {
            let mut asked = witness.clone();
            let answer = asked.ask(at(NOW), &name(node), timers);
            writeln!(table, "  {node} asks: {answer}, told{}", told(&asked)).unwrap();
        }
        let mut reports = witness.clone();
        let report = reports.report(at(NOW), timers);
        let up_for = report.up_for.as_millis();
        let ago: Vec<Duration> = report.told.into_values().collect();
        writeln!(table, "  a leader asks: up for {up_for}, told {ago:?}").unwrap();
    }
    assert_eq!(table, include_str!("tests/table.txt"), "\n{table}");
}
