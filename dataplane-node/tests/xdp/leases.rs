//! VIPs with leases in the maps of a [`Fabric`].

use std::{net::IpAddr, time::Duration};

use lbfabric_abi::{Address, ClaimsSeen, LeasedVip, LinkAddress, Mode, VipClaim};
use nix::time::{ClockId, clock_gettime};

use super::{
    fabric::{Fabric, Family},
    kernel::{Action, INGRESS, Ran},
    packets::NODE_MAC,
};

pub(crate) const EPOCH: u64 = 0x1234_5678_9abc_def0;
/// Another host than the one whose frames tests are about.
pub(crate) const OTHER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xbe, 0xef];

/// `CLOCK_BOOTTIME`.
pub(crate) fn boot_clock() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap().into()
}

/// Runs as long as any test.
pub(crate) fn long() -> Duration {
    boot_clock() + Duration::from_hours(1)
}

impl Family {
    /// A VIP of the flat network.
    pub(crate) fn leased(self) -> IpAddr {
        match self {
            Self::V4 => "192.0.2.10".parse().unwrap(),
            Self::V6 => "2001:db8:2::10:2030".parse().unwrap(),
        }
    }

    /// Another one.
    pub(crate) fn other_leased(self) -> IpAddr {
        match self {
            Self::V4 => "192.0.2.11".parse().unwrap(),
            Self::V6 => "2001:db8:2::11:2030".parse().unwrap(),
        }
    }

    /// A host of that network.
    pub(crate) fn host(self) -> IpAddr {
        match self {
            Self::V4 => "192.0.2.77".parse().unwrap(),
            Self::V6 => "2001:db8:2::77".parse().unwrap(),
        }
    }
}

impl Fabric {
    /// A node that holds the lease of one VIP of each family.
    pub(crate) fn with_leases() -> Self {
        let mut fabric = Self::new(Mode::Dsr);
        fabric.link(INGRESS, NODE_MAC);
        for family in [Family::V4, Family::V6] {
            fabric.lease(family.leased(), LeasedVip::held(EPOCH));
        }
        fabric.lease_until(long());
        fabric
    }

    pub(crate) fn lease(&mut self, vip: IpAddr, lease: LeasedVip) {
        self.kernel
            .hash::<Address, LeasedVip>("LEASED_VIPS")
            .insert(Address::from(vip), lease, 0)
            .unwrap();
    }

    /// Leaves all VIPs to other nodes.
    pub(crate) fn give_up(&mut self) {
        for family in [Family::V4, Family::V6] {
            self.lease(family.leased(), LeasedVip::default());
        }
    }

    pub(crate) fn lease_until(&mut self, end: Duration) {
        self.kernel
            .array::<u64>("LEASE")
            .set(0, u64::try_from(end.as_nanos()).unwrap(), 0)
            .unwrap();
    }

    pub(crate) fn link(&mut self, ifindex: u32, mac: [u8; 6]) {
        let link = LinkAddress { mac, zero: [0; 2] };
        self.kernel
            .hash::<u32, LinkAddress>("LINKS")
            .insert(ifindex, link, 0)
            .unwrap();
    }

    /// Who takes itself for the owner of a VIP, with how often it was seen.
    pub(crate) fn claims(&mut self) -> Vec<(IpAddr, [u8; 6], u64)> {
        let claims = self.kernel.hash::<VipClaim, ClaimsSeen>("VIP_CLAIMS");
        let now = u64::try_from(boot_clock().as_nanos()).unwrap();
        let mut claims: Vec<_> = claims
            .iter()
            .map(|entry| {
                let (claim, seen) = entry.unwrap();
                assert!(0 < seen.first && seen.first <= seen.last && seen.last <= now);
                assert_eq!((seen.ifindex, claim.zero), (INGRESS, [0; 2]));
                (claim.vip.into(), claim.mac, seen.count)
            })
            .collect();
        claims.sort_unstable();
        claims
    }
}

pub(crate) fn assert_left(
    fabric: &Fabric,
    frame: &[u8],
    action: Action,
    counter: &str,
    what: &str,
) {
    let ran = fabric.lb(frame);
    assert_eq!((ran.action, ran.counter), (action, Some(counter)), "{what}");
    assert_eq!(ran.frame, frame, "{what}");
}

pub(crate) fn sent(counter: &'static str, frame: Vec<u8>) -> Ran {
    Ran {
        action: Action::Tx,
        counter: Some(counter),
        frame,
    }
}

/// Asks until the lease has passed: as long as there are answers it lasts, and silence is final.
pub(crate) fn ask_until_the_end(fabric: &mut Fabric, question: &[u8], answer: &Ran) {
    let end = boot_clock() + Duration::from_millis(60);
    fabric.lease_until(end);
    let mut answers = 0_u32;
    loop {
        let before = boot_clock();
        let ran = fabric.lb(question);
        let after = boot_clock();
        if ran == *answer {
            answers += 1;
            assert!(before < end, "an answer at {before:?}, after {end:?}");
        } else {
            assert!(after >= end, "silence at {after:?}, before {end:?}");
            assert_eq!(ran.counter, Some("drop-lease-over"));
            break;
        }
    }
    assert!(answers > 0);
    for _ in 0..100 {
        assert_left(
            fabric,
            question,
            Action::Drop,
            "drop-lease-over",
            "after the end",
        );
    }
    fabric.lease_until(long());
    assert_eq!(fabric.lb(question), *answer);
    fabric.lease_until(Duration::ZERO);
    assert_left(
        fabric,
        question,
        Action::Drop,
        "drop-lease-over",
        "none at all",
    );
}
