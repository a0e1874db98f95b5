use super::Standing;

/// Servers in turn by weight, spread out evenly: of weights 5, 1 and 1 the order is a a b a c a a. Every server saves up its weight at
/// each choice, and the one that has most pays what all have saved (nginx's smooth weighted round robin).
#[derive(Debug, Default)]
pub(crate) struct RoundRobin {
    saved: Vec<i64>,
}

impl RoundRobin {
    /// The next one of those that have room. Its cost grows with the number of servers: about a nanosecond for each.
    pub(crate) fn choose(
        &mut self,
        standing: &Standing,
        has_room: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        self.saved.resize(standing.len(), 0);
        let mut total = 0;
        let mut best: Option<usize> = None;
        let candidates = standing.candidates().iter().copied();
        for server in candidates.filter(|it| has_room(*it)) {
            let weight = i64::from(standing.weight(server));
            total += weight;
            self.saved[server] += weight;
            if best.is_none_or(|best| self.saved[best] < self.saved[server]) {
                best = Some(server);
            }
        }
        self.saved[best?] -= total;
        best
    }
}

#[cfg(test)]
mod proptests;
