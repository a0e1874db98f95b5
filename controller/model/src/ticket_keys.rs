use crate::SecretKey;

/// How long each key is the one that tickets are made with, and so how long a ticket may be taken.
pub const TICKET_PERIOD_SECS: u64 = 12 * 3_600;
/// The next one, the one in use, and the one before.
const KEYS: usize = 3;

/// The keys of tickets, which all nodes have.
///
/// ```text
/// added ──► next: nodes get it ── a period ──► in use ── a period ──► before: its tickets are taken ── a period ──► gone
/// ```
///
/// So no node makes tickets that another one does not know yet, and none is given up before its life ends. A fabric's first key is in use
/// at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketKeys {
    /// When the newest was added.
    period: u64,
    newest_first: Vec<SecretKey>,
}

// === impl TicketKeys ===

impl TicketKeys {
    /// As they stand in a snapshot.
    pub(crate) fn new(period: u64, mut newest_first: Vec<SecretKey>) -> Self {
        newest_first.truncate(KEYS);
        Self {
            period,
            newest_first,
        }
    }

    /// Whether a key is to be added in a period. One that lies before the newest's by more than one shows that a clock was wrong then.
    pub fn is_due(&self, period: u64) -> bool {
        self.newest_first.is_empty() || period > self.period || period + 1 < self.period
    }

    /// Adds a key, if one is due.
    pub(crate) fn add(&mut self, period: u64, secret: SecretKey) {
        if self.is_due(period) {
            self.newest_first.insert(0, secret);
            self.newest_first.truncate(KEYS);
            self.period = period;
        }
    }

    /// When the newest was added.
    pub(crate) fn period(&self) -> u64 {
        self.period
    }

    pub(crate) fn newest_first(&self) -> &[SecretKey] {
        &self.newest_first
    }

    /// All of them, the one in use first.
    pub(crate) fn in_use_first(&self) -> Vec<&SecretKey> {
        match &self.newest_first[..] {
            [next, in_use, before @ ..] => [in_use, next].into_iter().chain(before).collect(),
            few => few.iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_before_it_is_used_and_as_long_as_its_tickets_live() {
        let mut keys = TicketKeys::default();
        let mut seen = Vec::new();
        for period in 7..12u8 {
            assert!(keys.is_due(period.into()));
            keys.add(period.into(), SecretKey::new([period; 32]));
            // The first one of a period counts.
            keys.add(period.into(), SecretKey::new([99; 32]));
            let order = keys.in_use_first().into_iter().map(|it| it.secret()[0]);
            seen.push(order.collect::<Vec<_>>());
        }
        assert_eq!(
            seen,
            [
                vec![7],
                vec![7, 8],
                vec![8, 9, 7],
                vec![9, 10, 8],
                vec![10, 11, 9]
            ]
        );
    }

    #[test]
    fn members_whose_clocks_differ_by_less_than_a_period_add_one_key() {
        let mut keys = TicketKeys::default();
        keys.add(100, SecretKey::new([1; 32]));
        assert!(!keys.is_due(99));
        assert!(!keys.is_due(100));
        assert!(keys.is_due(101));
        // The clock that said 100 was wrong.
        assert!(keys.is_due(98));
        keys.add(98, SecretKey::new([2; 32]));
        assert_eq!(keys.period(), 98);
        assert_eq!(keys.newest_first().len(), 2);
    }
}
