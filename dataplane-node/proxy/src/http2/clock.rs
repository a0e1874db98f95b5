use std::time::{Duration, Instant};

/// How long a connection may do nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Without an open stream.
    pub(super) idle: Duration,
    /// With streams, until the peer is asked whether it is there.
    pub(super) keep_alive: Duration,
    /// Until it has answered that, or has closed after it was told to.
    pub(super) patience: Duration,
    /// Until it takes what is sent.
    pub(super) silence: Duration,
}

/// What a connection has done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Activity {
    /// Since when no stream is open.
    pub(super) idle_since: Option<Instant>,
    /// When something has last come.
    pub(super) read_at: Instant,
    /// When the peer was asked whether it is there.
    pub(super) asked_at: Option<Instant>,
    /// Since when it takes nothing.
    pub(super) stuck_since: Option<Instant>,
    /// When it was told that the connection ends.
    pub(super) ending_since: Option<Instant>,
}

/// What is to be done about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing before this time.
    Nothing(Instant),
    /// Tell the peer that the connection ends.
    End,
    /// Ask it whether it is there.
    Ask,
    /// Close without a word: nobody listens.
    Close,
}

impl Clock {
    pub(super) fn due(&self, activity: &Activity, now: Instant) -> Due {
        let answered = |asked: &Instant| *asked >= activity.read_at;
        let asked = activity.asked_at.filter(answered);
        let ending = activity
            .ending_since
            .filter(|_| activity.idle_since.is_some());
        let closes = [
            asked.map(|at| at + self.patience),
            ending.map(|at| at + self.patience),
            activity
                .stuck_since
                .and_then(|at| at.checked_add(self.silence)),
        ];
        let closes = closes.into_iter().flatten().min();
        if closes.is_some_and(|at| at <= now) {
            return Due::Close;
        }
        let (then, due) = match (activity.idle_since, activity.ending_since) {
            (Some(since), None) => (Some(since + self.idle), Due::End),
            // It waits for the close.
            (Some(_), Some(_)) => (None, Due::End),
            (None, _) if asked.is_none() => (Some(activity.read_at + self.keep_alive), Due::Ask),
            (None, _) => (None, Due::Ask),
        };
        if then.is_some_and(|at| at <= now) {
            return due;
        }
        // Nothing that begins to count later is due before the shortest of them all.
        let shortest = self
            .idle
            .min(self.keep_alive)
            .min(self.patience)
            .min(self.silence);
        let next = [
            Some(now + shortest.max(Duration::from_millis(10))),
            closes,
            then,
        ];
        Due::Nothing(next.into_iter().flatten().min().unwrap_or(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Clock = Clock {
        idle: Duration::from_mins(1),
        keep_alive: Duration::from_secs(30),
        patience: Duration::from_secs(10),
        silence: Duration::from_secs(50),
    };

    fn activity(begin: Instant) -> Activity {
        Activity {
            idle_since: None,
            read_at: begin,
            asked_at: None,
            stuck_since: None,
            ending_since: None,
        }
    }

    #[test]
    fn every_state_has_its_time() {
        let begin = Instant::now();
        let at = |secs: u64| begin + Duration::from_secs(secs);
        let busy = activity(begin);
        let idle = Activity {
            idle_since: Some(begin),
            ..busy
        };
        let ending = Activity {
            ending_since: Some(at(60)),
            ..idle
        };
        let asked = Activity {
            asked_at: Some(at(30)),
            ..busy
        };
        let answered = Activity {
            read_at: at(31),
            ..asked
        };
        let stuck = Activity {
            stuck_since: Some(at(5)),
            ..answered
        };
        let draining = Activity {
            ending_since: Some(begin),
            ..busy
        };
        let table = [
            (busy, 29, None),
            (busy, 30, Some(Due::Ask)),
            (idle, 59, None),
            (idle, 60, Some(Due::End)),
            (ending, 69, None),
            (ending, 70, Some(Due::Close)),
            (asked, 39, None),
            (asked, 40, Some(Due::Close)),
            (answered, 60, None),
            (answered, 61, Some(Due::Ask)),
            (stuck, 54, None),
            (stuck, 55, Some(Due::Close)),
            // As long as its streams are open, a connection that ends is one like any other.
            (draining, 29, None),
            (draining, 30, Some(Due::Ask)),
        ];
        for (line, (activity, secs, wanted)) in table.into_iter().enumerate() {
            match (CLOCK.due(&activity, at(secs)), wanted) {
                (Due::Nothing(next), None) => {
                    assert!(next > at(secs) && next <= at(secs + 10), "{line}");
                }
                (due, wanted) => assert_eq!(Some(due), wanted, "{line}"),
            }
        }
    }
}
