use std::cmp::Ordering;

use super::{RoundRobin, Standing};

/// The server with the fewest requests for its weight; of those that have equally few, in turn by weight.
#[derive(Debug, Default)]
pub(crate) struct LeastConnections {
    turns: RoundRobin,
    /// Who has fewest, of the choice that is being made.
    fewest: Vec<usize>,
}

impl LeastConnections {
    /// `load` is how many requests a server works on, none if it has no room for another.
    pub(crate) fn choose(
        &mut self,
        standing: &Standing,
        load: impl Fn(usize) -> Option<u32>,
    ) -> Option<usize> {
        self.fewest.clear();
        let mut least = None;
        for server in standing.candidates() {
            let Some(load) = load(*server) else {
                continue;
            };
            let weight = u64::from(standing.weight(*server));
            let (least_load, least_weight) = *least.get_or_insert((load, weight));
            // Both are divided by their weights.
            let order = (u64::from(load) * least_weight).cmp(&(u64::from(least_load) * weight));
            match order {
                Ordering::Less => {
                    self.fewest.clear();
                    self.fewest.push(*server);
                    least = Some((load, weight));
                }
                Ordering::Equal => self.fewest.push(*server),
                Ordering::Greater => {}
            }
        }
        match self.fewest[..] {
            [] => None,
            [only] => Some(only),
            // Candidates are in order, and so are these.
            _ => (self.turns).choose(standing, |it| self.fewest.binary_search(&it).is_ok()),
        }
    }
}

#[cfg(test)]
mod proptests;
