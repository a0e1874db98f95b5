//! The rows of the table: the packets, what must become of them, and what they may cost.

use std::net::SocketAddr;

use lbfabric_abi::Verdict;
use lbfabric_ebpf_bench::{Scenario, TEMPLATE_BYTES, Vary};

use crate::{
    fabric::{Family, PORT, Service},
    kernel::Action,
    packets::{self, Kind},
};

/// A row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Nanoseconds of Katran's program on the reference machine, where it has such a row.
    pub(crate) katran: Option<u32>,
    /// Nanoseconds that ours may take where the floor is [`FLOOR_REFERENCE`].
    pub(crate) limit: u32,
    pub(crate) flows: u32,
    pub(crate) family: Family,
    pub(crate) kind: Kind,
    pub(crate) way: Way,
    /// How all its packets must leave.
    pub(crate) verdict: Verdict,
}

/// Where a packet comes from and goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From clients to a service.
    In(Service),
    /// From a server of the DNAT service to clients.
    DnatOut,
    /// From the servers of the full-NAT service to the node, for the flows that the program itself has admitted.
    FullnatOut,
    /// From clients to an address that is no VIP.
    Elsewhere,
}

/// What the floor program cost where the limits come from.
pub(crate) const FLOOR_REFERENCE: f64 = 42.0;

/// Rows of the project's table whose feature the program does not have yet.
pub(crate) const NOT_THERE_YET: &[(&str, u32, u32)] = &[];

const K: u32 = 1 << 10;
const M: u32 = 1 << 20;

const fn case(name: &'static str, katran: Option<u32>, limit: u32, flows: u32) -> Case {
    Case {
        name,
        katran,
        limit,
        flows,
        family: Family::V4,
        kind: Kind::Tcp,
        way: Way::In(Service::Tunnel),
        verdict: Verdict::Tunnel,
    }
}

/// What is measured for the floor.
pub(crate) const FLOOR: Case = case("floor", None, 42, 1);

/// All that can be measured.
pub(crate) const CASES: [Case; 16] = [
    case("IPv4 TCP, 1 flow", Some(106), 60, 1),
    case("IPv4 TCP, 64 Ki flows", Some(234), 75, 64 * K),
    case("IPv4 TCP, 512 Ki flows", Some(301), 80, 512 * K),
    Case {
        way: Way::In(Service::Changed),
        ..case(
            "512 Ki flows, half the slots changed",
            Some(301),
            190,
            512 * K,
        )
    },
    Case {
        family: Family::V6,
        ..case("IPv6 TCP, 1 flow", Some(106), 65, 1)
    },
    Case {
        family: Family::V6,
        ..case("IPv6 TCP, 64 Ki flows", Some(208), 85, 64 * K)
    },
    Case {
        kind: Kind::Udp,
        ..case("UDP, 1 flow", Some(133), 65, 1)
    },
    Case {
        way: Way::In(Service::Gue),
        ..case("GUE", Some(289), 110, 1)
    },
    Case {
        kind: Kind::Syn,
        ..case("SYN flood, 4 Mi flows", Some(105), 80, 4 * M)
    },
    Case {
        way: Way::Elsewhere,
        verdict: Verdict::PassNotVip,
        ..case("not for a VIP, IPv4", Some(53), 30, 1)
    },
    Case {
        way: Way::Elsewhere,
        verdict: Verdict::PassNotVip,
        family: Family::V6,
        ..case("not for a VIP, IPv6", Some(60), 30, 1)
    },
    Case {
        way: Way::In(Service::Dsr),
        verdict: Verdict::Dsr,
        ..case("DSR", None, 60, 1)
    },
    Case {
        way: Way::In(Service::Dnat),
        verdict: Verdict::Dnat,
        ..case("DNAT in", None, 80, 1)
    },
    Case {
        way: Way::DnatOut,
        verdict: Verdict::DnatAnswer,
        ..case("DNAT out", None, 80, 1)
    },
    Case {
        way: Way::In(Service::Fullnat),
        verdict: Verdict::Fullnat,
        ..case("full NAT in, 64 Ki flows", None, 250, 64 * K)
    },
    Case {
        way: Way::FullnatOut,
        verdict: Verdict::FullnatAnswer,
        ..case("full NAT out, 64 Ki flows", None, 250, 64 * K)
    },
];

// === impl Case ===

impl Case {
    /// The XDP action of its packets: all goes out of the one interface.
    pub(crate) fn action(&self) -> Action {
        match self.way {
            Way::Elsewhere => Action::Pass,
            Way::In(_) | Way::DnatOut | Way::FullnatOut => Action::Tx,
        }
    }

    /// The first packet.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let family = self.family;
        let (source, destination) = match self.way {
            Way::In(service) => (client(family), service.vip(family)),
            Way::DnatOut => (Service::Dnat.server(family, 0), client(family)),
            Way::FullnatOut => (Service::Fullnat.server(family, 0), client(family)),
            Way::Elsewhere => (client(family), elsewhere(family)),
        };
        packets::frame(self.kind, source, destination)
    }

    /// The loop over its packets.
    pub(crate) fn scenario(&self) -> Scenario {
        let frame = self.frame();
        assert!(self.flows.is_power_of_two(), "{self:?}");
        Scenario {
            template: frame[..TEMPLATE_BYTES].try_into().unwrap(),
            length: frame.len().try_into().unwrap(),
            flow_mask: self.flows - 1,
            is_ipv6: u32::from(self.family == Family::V6),
            vary: match self.way {
                Way::In(_) | Way::Elsewhere => Vary::Source,
                Way::DnatOut => Vary::Destination,
                Way::FullnatOut => Vary::Listed,
            } as u32,
        }
    }
}

/// The first client of all cases.
pub(crate) fn client(family: Family) -> SocketAddr {
    match family {
        Family::V4 => "198.18.0.1:16384",
        Family::V6 => "[2001:db8:c::1]:16384",
    }
    .parse()
    .unwrap()
}

fn elsewhere(family: Family) -> SocketAddr {
    let ip = match family {
        Family::V4 => "192.0.2.77".parse(),
        Family::V6 => "2001:db8:e::77".parse(),
    };
    SocketAddr::new(ip.unwrap(), PORT)
}
