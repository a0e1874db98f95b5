//! Others who take themselves for the owner of a VIP. They are told of, and never fought: whoever shouts louder would only win
//! for a moment, and take the flows of both along.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use lbfabric_abi::{ClaimsSeen, VipClaim};

use super::Mac;

/// For so long after a VIP has come, its former owner's last frames are no claims.
const MOVE: Duration = Duration::from_secs(1);
/// For so long a rival is told of.
const TOLD: Duration = Duration::from_mins(1);

/// Another host with a VIP of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Whose VIP it is too.
    pub vip: IpAddr,
    /// The host.
    pub mac: Mac,
    /// Where it was seen last.
    pub ifindex: u32,
    /// How often.
    pub count: u64,
}

/// What is known of rivals.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    /// Since when the node has a VIP, of `CLOCK_BOOTTIME`. One of a former agent may be missing.
    taken: BTreeMap<IpAddr, Duration>,
    known: BTreeMap<(IpAddr, Mac), Rival>,
}

impl Rivals {
    /// The node has a VIP, since this moment of `CLOCK_BOOTTIME` if it has not had it before.
    pub(super) fn take(&mut self, vip: IpAddr, now: Duration) {
        self.taken.entry(vip).or_insert(now);
    }

    /// The node does not have the VIP any more, and nobody is its rival.
    pub(super) fn give_up(&mut self, vip: IpAddr) {
        self.taken.remove(&vip);
        self.known.retain(|(of, _), _| *of != vip);
    }

    /// Looks at what the programs have noted by now, of `CLOCK_BOOTTIME`, of VIPs that are held; `own` are the addresses of all of the node's
    /// interfaces. Gives those that were not there the last time.
    pub(super) fn look(
        &mut self,
        claims: &[(VipClaim, ClaimsSeen)],
        own: &BTreeSet<Mac>,
        now: Duration,
    ) -> Vec<Rival> {
        let mut seen = BTreeMap::new();
        for (claim, claims) in claims {
            let vip = IpAddr::from(claim.vip);
            let last = Duration::from_nanos(claims.last);
            let is_of_move = |since: &Duration| last < *since + MOVE;
            let of_move = self.taken.get(&vip).is_some_and(is_of_move);
            if own.contains(&claim.mac) || of_move || last + TOLD < now {
                continue;
            }
            let rival = Rival {
                vip,
                mac: claim.mac,
                ifindex: claims.ifindex,
                count: claims.count,
            };
            seen.insert((vip, claim.mac), rival);
        }
        let is_new = |key: &&(IpAddr, Mac)| !self.known.contains_key(key);
        let new: Vec<Rival> = seen
            .keys()
            .filter(is_new)
            .filter_map(|key| seen.get(key).cloned())
            .collect();
        self.known = seen;
        new
    }

    /// All of the last minute.
    pub(super) fn all(&self) -> impl Iterator<Item = &Rival> {
        self.known.values()
    }
}

#[cfg(test)]
mod tests {
    use lbfabric_abi::Address;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const OTHER: Mac = [2, 0, 0, 0, 0, 9];
    const OWN: Mac = [2, 0, 0, 0, 0, 1];

    fn vip() -> IpAddr {
        "192.0.2.10".parse().unwrap()
    }

    fn claim(mac: Mac, last: Duration) -> (VipClaim, ClaimsSeen) {
        let claim = VipClaim {
            vip: Address::from(vip()),
            mac,
            zero: [0; 2],
        };
        let seen = ClaimsSeen {
            first: 1,
            last: u64::try_from(last.as_nanos()).unwrap(),
            count: 7,
            ifindex: 3,
            zero: 0,
        };
        (claim, seen)
    }

    #[test]
    fn a_rival_is_new_once_and_told_of_for_a_minute() {
        let (mut rivals, own) = (Rivals::default(), BTreeSet::from([OWN]));
        rivals.take(vip(), 10 * SECOND);
        let rival = Rival {
            vip: vip(),
            mac: OTHER,
            ifindex: 3,
            count: 7,
        };
        let claims = [claim(OTHER, 20 * SECOND), claim(OWN, 20 * SECOND)];
        let new = rivals.look(&claims, &own, 20 * SECOND);
        assert_eq!(new, std::slice::from_ref(&rival));
        assert_eq!(rivals.look(&claims, &own, 80 * SECOND), []);
        assert_eq!(rivals.all().collect::<Vec<_>>(), [&rival]);
        assert_eq!(rivals.look(&claims, &own, 81 * SECOND), []);
        assert_eq!(rivals.all().count(), 0);
        // It is back.
        let claims = [claim(OTHER, 90 * SECOND)];
        assert_eq!(rivals.look(&claims, &own, 90 * SECOND), [rival]);
    }

    #[test]
    fn nobody_is_a_rival_within_a_move() {
        let (mut rivals, own) = (Rivals::default(), BTreeSet::new());
        let claims = [claim(OTHER, 10 * SECOND)];
        rivals.take(vip(), 9 * SECOND + SECOND / 2);
        assert_eq!(rivals.look(&claims, &own, 11 * SECOND), []);
        // It has it, whoever says so again.
        rivals.take(vip(), 10 * SECOND);
        let claims = [claim(OTHER, 10 * SECOND + SECOND / 2)];
        assert_eq!(rivals.look(&claims, &own, 11 * SECOND).len(), 1);
        rivals.give_up(vip());
        assert_eq!(rivals.all().count(), 0);
    }
}
