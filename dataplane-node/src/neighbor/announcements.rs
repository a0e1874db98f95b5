//! When a VIP's new owner says so: at once, and a few times more, as a frame may be lost and a switch may learn late.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// After the take-over. As long as the node still has the VIP.
const TIMES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// What is to be announced, and when.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    /// Since when a VIP is the node's, and how often it has said so.
    vips: BTreeMap<IpAddr, (Instant, usize)>,
    due: BTreeSet<(Instant, IpAddr)>,
}

impl Announcements {
    /// The node has taken a VIP; again from the beginning, if it had it before.
    pub(super) fn take(&mut self, vip: IpAddr, now: Instant) {
        self.give_up(vip);
        self.vips.insert(vip, (now, 0));
        self.due.insert((now, vip));
    }

    /// The node does not have the VIP any more.
    pub(super) fn give_up(&mut self, vip: IpAddr) {
        if let Some((since, count)) = self.vips.remove(&vip) {
            self.due.remove(&(since + TIMES[count], vip));
        }
    }

    /// What is to be said now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<IpAddr> {
        let mut vips = Vec::new();
        while let Some((at, vip)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            vips.push(vip);
            let Some((since, count)) = self.vips.get_mut(&vip) else {
                continue;
            };
            *count += 1;
            match TIMES.get(*count) {
                // A thread that comes late does not say the same twice in a row.
                Some(after) => {
                    let next = *since + *after;
                    self.due.insert((next, vip));
                }
                None => {
                    self.vips.remove(&vip);
                }
            }
        }
        vips.dedup();
        vips
    }

    /// When there is something to say again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn vip(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    #[test]
    fn at_once_and_four_times_more() {
        let (mut announcements, start) = (Announcements::default(), Instant::now());
        announcements.take(vip(1), start);
        let mut said = Vec::new();
        while let Some(next) = announcements.next() {
            assert!(announcements.due(next.checked_sub(MS).unwrap()).is_empty());
            assert_eq!(announcements.due(next), [vip(1)]);
            said.push((next - start).as_millis());
        }
        assert_eq!(said, [0, 50, 200, 1000, 2000]);
    }

    #[test]
    fn not_after_it_has_gone() {
        let (mut announcements, start) = (Announcements::default(), Instant::now());
        announcements.take(vip(1), start);
        announcements.take(vip(2), start);
        assert_eq!(announcements.due(start), [vip(1), vip(2)]);
        announcements.give_up(vip(1));
        assert_eq!(announcements.due(start + 50 * MS), [vip(2)]);
        announcements.give_up(vip(2));
        assert_eq!(announcements.next(), None);
        // Who has said everything may go as well.
        announcements.take(vip(1), start);
        while let Some(next) = announcements.next() {
            announcements.due(next);
        }
        announcements.give_up(vip(1));
        assert!(announcements.due(start + 5000 * MS).is_empty());
    }

    #[test]
    fn who_comes_back_begins_anew() {
        let (mut announcements, start) = (Announcements::default(), Instant::now());
        announcements.take(vip(1), start);
        announcements.due(start);
        announcements.give_up(vip(1));
        let again = start + 30 * MS;
        announcements.take(vip(1), again);
        assert_eq!(announcements.next(), Some(again));
        announcements.due(again);
        assert_eq!(announcements.next(), Some(again + 50 * MS));
    }

    #[test]
    fn who_comes_late_says_it_once() {
        let (mut announcements, start) = (Announcements::default(), Instant::now());
        announcements.take(vip(1), start);
        assert_eq!(announcements.due(start + 500 * MS), [vip(1)]);
        assert_eq!(announcements.next(), Some(start + 1000 * MS));
    }
}
