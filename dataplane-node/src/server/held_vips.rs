use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lbfabric_model::FlowKeeping;

/// The VIPs that a server has to hold: those that are wanted, and for a while those that were. The nodes send established
/// flows to a server that left its pool until their hold time is over, and it has to know their destination for as long.
///
/// ```text
///  ─ wanted ─► Wanted ─ not wanted ─► Leaving { until } ─ hold time over ─► gone
///                ▲                        │
///                └──────── wanted ────────┘
/// ```
///
/// Times are seconds since 1970, so that they mean the same to the next agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeldVips {
    pub(crate) wanted: BTreeSet<IpAddr>,
    /// Until when those are held that are not wanted any more.
    pub(crate) leaving: BTreeMap<IpAddr, u64>,
    /// The hold time that was last sent with VIPs.
    pub(crate) hold_secs: u32,
}

impl HeldVips {
    /// Follows what is wanted now. A hold time of 0 says nothing: it comes without VIPs, or from an older controller.
    pub(crate) fn want(&mut self, vips: &BTreeSet<IpAddr>, hold_secs: u32, now: u64) {
        // For those that leave counts what was sent with them.
        let longest = u64::from(self.hold_secs.max(hold_secs));
        for vip in self.wanted.difference(vips) {
            self.leaving.insert(*vip, now + longest);
        }
        // A clock that was set back holds nobody for ever.
        let latest = now + u64::from(FlowKeeping::HOLD_TIME_SECS_MAX);
        for until in self.leaving.values_mut() {
            *until = (*until).min(latest);
        }
        self.leaving
            .retain(|vip, until| now < *until && !vips.contains(vip));
        self.wanted.clone_from(vips);
        if hold_secs != 0 {
            self.hold_secs = hold_secs;
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> BTreeSet<IpAddr> {
        self.wanted
            .iter()
            .chain(self.leaving.keys())
            .copied()
            .collect()
    }

    /// When the next one goes.
    pub(crate) fn next_end(&self) -> Option<u64> {
        self.leaving.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vips(hosts: &[u8]) -> BTreeSet<IpAddr> {
        let vip = |host: &u8| IpAddr::from([10, 99, 0, *host]);
        hosts.iter().map(vip).collect()
    }

    #[test]
    fn a_vip_is_held_for_the_hold_time_after_it_was_wanted() {
        let mut held = HeldVips::default();
        held.want(&vips(&[1, 2]), 900, 1000);
        assert_eq!((held.all(), held.next_end()), (vips(&[1, 2]), None));
        held.want(&vips(&[2, 3]), 900, 2000);
        assert_eq!(
            (held.all(), held.next_end()),
            (vips(&[1, 2, 3]), Some(2900))
        );
        // Wanted as before, later: the time runs on.
        held.want(&vips(&[2, 3]), 900, 2899);
        assert_eq!(held.all(), vips(&[1, 2, 3]));
        held.want(&vips(&[2, 3]), 900, 2900);
        assert_eq!((held.all(), held.next_end()), (vips(&[2, 3]), None));
    }

    #[test]
    fn who_is_wanted_again_is_not_leaving() {
        let mut held = HeldVips::default();
        held.want(&vips(&[1]), 100, 0);
        held.want(&vips(&[]), 0, 10);
        assert_eq!(held.next_end(), Some(110));
        held.want(&vips(&[1]), 100, 50);
        assert_eq!((held.all(), held.next_end()), (vips(&[1]), None));
        // Its next time begins anew.
        held.want(&vips(&[]), 0, 200);
        assert_eq!(held.next_end(), Some(300));
    }

    #[test]
    fn what_was_sent_with_the_vip_counts_when_none_is_left() {
        let mut held = HeldVips::default();
        held.want(&vips(&[1, 2]), 3600, 0);
        // The pool with the long time has gone, and its VIP with it.
        held.want(&vips(&[2]), 60, 10);
        assert_eq!(held.next_end(), Some(3610));
        held.want(&vips(&[2]), 60, 20);
        assert_eq!((held.all(), held.next_end()), (vips(&[1, 2]), Some(3610)));
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nobody_for_ever() {
        let mut held = HeldVips::default();
        held.want(&vips(&[1]), 60, 1_000_000);
        held.want(&vips(&[]), 0, 1_000_000);
        held.want(&vips(&[]), 0, 5000);
        assert_eq!(held.next_end(), Some(5000 + 32_400));
    }
}
