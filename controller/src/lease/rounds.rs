use std::collections::BTreeMap;

use lbfabric_model::lease::{Moment, Round, Timers, WitnessReport};

/// The rounds of a leader that are under way.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    count: u64,
    open: BTreeMap<u64, OpenRound>,
}

#[derive(Debug)]
struct OpenRound {
    started: Moment,
    reports: BTreeMap<u64, WitnessReport>,
}

// === impl Rounds ===

impl Rounds {
    /// Begins one, and gives its number. Those that are too old to be of use are over.
    pub(crate) fn begin(&mut self, now: Moment, timers: Timers) -> u64 {
        let useful = timers.lease() / 2;
        self.open.retain(|_, it| now.since(it.started) <= useful);
        self.count += 1;
        let round = OpenRound {
            started: now,
            reports: BTreeMap::new(),
        };
        self.open.insert(self.count, round);
        self.count
    }

    /// A member has answered that it follows. With a majority of so many members the round is over.
    pub(crate) fn report(
        &mut self,
        number: u64,
        member: u64,
        report: WitnessReport,
        members: usize,
    ) -> Option<Round> {
        let open = self.open.get_mut(&number)?;
        open.reports.insert(member, report);
        if open.reports.len() * 2 <= members {
            return None;
        }
        let OpenRound { started, reports } = self.open.remove(&number)?;
        Some(Round {
            started,
            reports: reports.into_values().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::default() + Duration::from_millis(millis)
    }

    #[test]
    fn a_round_takes_a_majority_of_different_members() {
        let mut rounds = Rounds::default();
        let number = rounds.begin(at(5), Timers::default());
        let report = WitnessReport::default;
        assert_eq!(rounds.report(number, 1, report(), 3), None);
        assert_eq!(rounds.report(number, 1, report(), 3), None, "once more");
        assert_eq!(
            rounds.report(number + 1, 2, report(), 3),
            None,
            "of no round"
        );
        let round = rounds.report(number, 2, report(), 3).unwrap();
        assert_eq!((round.started, round.reports.len()), (at(5), 2));
        assert_eq!(rounds.report(number, 3, report(), 3), None, "it is over");
        let number = rounds.begin(at(6), Timers::default());
        assert!(rounds.report(number, 1, report(), 1).is_some());
        let number = rounds.begin(at(7), Timers::default());
        assert_eq!(rounds.report(number, 1, report(), 2), None, "half is none");
    }

    #[test]
    fn old_rounds_are_over() {
        let mut rounds = Rounds::default();
        let old = rounds.begin(at(0), Timers::default());
        rounds.begin(at(61), Timers::default());
        let report = WitnessReport::default();
        assert_eq!(rounds.report(old, 1, report, 1), None);
    }
}
