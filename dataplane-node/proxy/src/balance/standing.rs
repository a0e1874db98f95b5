use std::time::{Duration, Instant};

/// What a whole share of weight 1 counts, so that parts of it can be told.
pub(crate) const SCALE: u32 = 256;
/// In how many steps a server gets its share back.
const STEPS: u32 = 64;

/// What each server of a pool counts at some time. Kept until it changes, so that a choice need not look at everything.
#[derive(Debug)]
pub(crate) struct Standing {
    members: Vec<Member>,
    slow_start: Duration,
    weights: Vec<u32>,
    candidates: Vec<usize>,
    next_change: Option<Instant>,
}

/// What a server's standing follows from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) weight: u16,
    pub(crate) is_backup: bool,
    /// When it joined a pool that had others.
    pub(crate) joined: Option<Instant>,
    /// It gets nothing until then, and is back from then on.
    pub(crate) ejected_until: Option<Instant>,
}

impl Standing {
    /// Nobody counts anything before the first [`Standing::refresh`].
    pub(crate) fn new(members: Vec<Member>, slow_start: Duration) -> Self {
        Self {
            weights: vec![0; members.len()],
            candidates: Vec::with_capacity(members.len()),
            members,
            slow_start,
            next_change: None,
        }
    }

    pub(crate) fn member(&mut self, server: usize) -> &mut Member {
        &mut self.members[server]
    }

    /// How many servers there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Servers that get requests, in order, backups among them only if nobody else does.
    pub(crate) fn candidates(&self) -> &[usize] {
        &self.candidates
    }

    /// A server's share in parts of [`SCALE`]: 0 if it gets nothing that is not its own.
    pub(crate) fn weight(&self, server: usize) -> u32 {
        self.weights[server]
    }

    /// A server's share while nothing is held against it.
    pub(crate) fn whole_weight(&self, server: usize) -> u32 {
        u32::from(self.members[server].weight) * SCALE
    }

    /// When it is different from what it is now without anything having happened.
    pub(crate) fn next_change(&self) -> Option<Instant> {
        self.next_change
    }

    pub(crate) fn is_ejected(&self, server: usize, now: Instant) -> bool {
        self.members[server].is_ejected(now)
    }

    /// Looks at all of them.
    pub(crate) fn refresh(&mut self, now: Instant) {
        self.next_change = None;
        self.candidates.clear();
        for (server, member) in self.members.iter().enumerate() {
            let (weight, change) = member.weight(now, self.slow_start);
            self.weights[server] = weight;
            if weight > 0 && !member.is_backup {
                self.candidates.push(server);
            }
            self.next_change = match (self.next_change, change) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        if self.candidates.is_empty() {
            let weights = self.weights.iter().enumerate();
            let backups = weights.filter(|(_, weight)| **weight > 0);
            self.candidates.extend(backups.map(|(server, _)| server));
        } else {
            let backups = self.members.iter().zip(&mut self.weights);
            for (_, weight) in backups.filter(|(member, _)| member.is_backup) {
                *weight = 0;
            }
        }
    }
}

impl Member {
    fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }

    /// What it counts, and when that changes.
    fn weight(&self, now: Instant, slow_start: Duration) -> (u32, Option<Instant>) {
        if self.is_ejected(now) {
            return (0, self.ejected_until);
        }
        let whole = u32::from(self.weight) * SCALE;
        let Some(begun) = self.joined.max(self.ejected_until) else {
            return (whole, None);
        };
        let elapsed = now.saturating_duration_since(begun);
        if elapsed >= slow_start {
            return (whole, None);
        }
        let step = (slow_start / STEPS).max(Duration::from_millis(1));
        let part = elapsed.as_nanos() * u128::from(whole) / slow_start.as_nanos();
        let part = u32::try_from(part).expect("less than the whole");
        // It begins with something, or nobody would see that it is slow.
        (part.max(u32::from(self.weight)), Some(now + step))
    }
}

#[cfg(test)]
mod tests;
