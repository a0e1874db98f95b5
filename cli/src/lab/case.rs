//! One kind of request, and what it has to look like. Pure.

use std::fmt;
use std::net::IpAddr;

use super::frame::Protocol;
use super::mode::{Columns, Mode, PING_COLUMNS, PING_STEPS, Party, Step};
use super::topology::{
    Family, Host, Listening, NODES, SERVERS, Segment, address, backend_address, is_in_prefix, vip,
    vip_prefix, within_prefix,
};

/// One kind of request: a mode, what its VIPs are, a family and a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Case {
    /// The mode.
    pub(super) mode: Mode,
    /// What its VIPs are.
    pub(super) listening: Listening,
    /// The VIPs' family.
    pub(super) family: Family,
    /// The protocol.
    pub(super) protocol: Protocol,
}

impl Case {
    /// Every case, in the order of the report.
    pub(super) fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for listening in Listening::ALL {
            for mode in Mode::ALL {
                let pings = listening.is_transparent().then_some(Protocol::Icmp);
                for family in Family::ALL {
                    cases.extend(mode.protocols().chain(pings).map(|protocol| Self {
                        mode,
                        listening,
                        family,
                        protocol,
                    }));
                }
            }
        }
        cases
    }

    /// The VIP that the client's request `number` is for. Those of a prefix take turns with the one that is an address: its first one, its last one, and
    /// so on towards its middle.
    pub(super) fn target(self, number: u32) -> IpAddr {
        let is_within = self.listening.is_transparent() && number % 2 == 1;
        if !is_within {
            return vip(self.mode, self.listening, self.family);
        }
        let turn = number / 2;
        // A prefix has more addresses than this counts, which then begins again.
        let [step, ..] = (turn / 2).to_le_bytes();
        let step = step.cast_signed();
        let offset = if turn.is_multiple_of(2) { step } else { !step };
        within_prefix(vip_prefix(self.mode, self.family), offset)
    }

    /// Whether the address is one of the VIPs.
    pub(super) fn is_vip(self, seen: IpAddr) -> bool {
        seen == vip(self.mode, self.listening, self.family)
            || (self.listening.is_transparent()
                && is_in_prefix(vip_prefix(self.mode, self.family), seen))
    }

    /// The client's address.
    pub(super) fn client(self) -> IpAddr {
        address(Segment::Client, Host::Client, self.family)
    }

    /// Whose address it is in this case, and which host's.
    pub(super) fn party(self, seen: IpAddr) -> Option<(Party, Option<Host>)> {
        if seen == self.client() {
            return Some((Party::Client, Some(Host::Client)));
        }
        if self.is_vip(seen) {
            return Some((Party::Vip, None));
        }
        let node = (1..=NODES)
            .map(Host::Node)
            .find(|&node| address(Segment::Flat, node, self.family) == seen);
        let server = (1..=SERVERS)
            .find(|&server| backend_address(self.mode, self.listening, server, self.family) == seen)
            .map(Host::Server);
        node.map(|host| (Party::Node, Some(host)))
            .or(server.map(|host| (Party::Server, Some(host))))
    }

    /// The nodes that the router sends to.
    pub(super) const fn nodes(self) -> u8 {
        if self.mode.is_everywhere(self.listening) {
            NODES
        } else {
            1
        }
    }

    /// Whether servers answer, and not a node by itself.
    pub(super) const fn is_served(self) -> bool {
        match self.protocol {
            Protocol::Tcp | Protocol::Udp => true,
            Protocol::Icmp => false,
        }
    }

    /// What captures must show, in words.
    pub(super) const fn columns(self) -> Columns {
        if self.is_served() {
            self.mode.columns()
        } else {
            PING_COLUMNS
        }
    }

    /// Every frame that it may put on a link; each of them must be seen, and no other.
    pub(super) fn steps(self) -> Vec<Step> {
        if self.is_served() {
            self.mode.steps()
        } else {
            PING_STEPS.to_vec()
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, family) = (
            self.mode.title(self.listening.is_transparent()),
            self.family.name(),
        );
        write!(f, "{name} {family} {}", self.protocol.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_is_a_case_of_everything_once() {
        let cases = Case::all();
        let once: BTreeSet<&Case> = cases.iter().collect();
        assert_eq!(once.len(), cases.len());
        let (transparent, others): (Vec<Case>, Vec<Case>) = cases
            .into_iter()
            .partition(|case| case.listening.is_transparent());
        // Four modes over TCP and UDP and two over TCP, in two families; pings of each beside them.
        assert_eq!((others.len(), transparent.len()), (20, 20 + 12));
        let pings = transparent.iter().filter(|case| !case.is_served());
        assert_eq!(pings.count(), 12);
        assert!(others.iter().all(|case| case.is_served()));
    }

    #[test]
    fn requests_are_for_vips_all_over_a_prefix() {
        let case = |listening, family| Case {
            mode: Mode::Tunnel,
            listening,
            family,
            protocol: Protocol::Tcp,
        };
        let plain = case(Listening::Addresses, Family::Ipv4);
        assert!((0..9).all(|number| plain.target(number).to_string() == "10.99.0.14"));
        let transparent = case(Listening::Transparent, Family::Ipv4);
        let targets: Vec<String> = (0..8)
            .map(|number| transparent.target(number).to_string())
            .collect();
        let within: Vec<&str> = targets
            .iter()
            .skip(1)
            .step_by(2)
            .map(String::as_str)
            .collect();
        assert_eq!(
            within,
            ["10.98.14.0", "10.98.14.255", "10.98.14.1", "10.98.14.254"]
        );
        assert!(targets.iter().step_by(2).all(|it| it == "10.97.0.14"));
        for family in Family::ALL {
            let case = case(Listening::Transparent, family);
            let all: BTreeSet<IpAddr> = (0..100_000).map(|number| case.target(number)).collect();
            assert_eq!(all.len(), 257);
            assert!(all.into_iter().all(|target| case.is_vip(target)));
            assert!(!case.is_vip(plain.target(0)) && !plain.is_vip(case.target(0)));
        }
    }
}
