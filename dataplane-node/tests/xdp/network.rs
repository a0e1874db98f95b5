//! A network namespace with two interfaces, for what asks the kernel's routing table. It belongs to one thread and goes
//! with it.

use std::{fs, net::SocketAddr, process::Command, thread};

use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};

/// The interface towards the servers.
const SERVERS: &str = "lbx-servers";
/// The interface towards the clients.
const CLIENTS: &str = "lbx-clients";

pub(crate) const SERVERS_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x0a, 0x01];
pub(crate) const CLIENTS_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x0a, 0x02];
/// The next hop to most clients, on either interface.
pub(crate) const NEIGHBOUR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x0a, 0xfe];

/// The namespace of the current thread.
pub(crate) struct Network {
    /// Where servers' packets come in.
    pub(crate) servers: u32,
}

/// Clients by where the route to them leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To a neighbour on the clients' interface.
    Known,
    /// Back out of the servers' interface.
    SameInterface,
    /// To a neighbour whose MAC address is not known.
    NoNeighbour,
    Blackhole,
    Unreachable,
    Prohibit,
    /// None at all.
    None,
}

impl Route {
    /// A client that this route leads to.
    pub(crate) fn client(self, is_ipv4: bool) -> SocketAddr {
        let n = self as u8 + 1;
        let address = if is_ipv4 {
            format!("198.51.{n}.7:51234")
        } else {
            format!("[2001:db8:{n:x}::7]:51234")
        };
        address.parse().unwrap()
    }
}

/// Runs a test in a namespace of its own.
pub(crate) fn in_network(test: impl FnOnce(&Network) + Send + 'static) {
    let outcome = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests make namespaces: run them as root");
        test(&Network::new());
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

impl Network {
    fn new() -> Self {
        for (link, mac) in [
            (SERVERS, "02:00:00:00:0a:01"),
            (CLIENTS, "02:00:00:00:0a:02"),
        ] {
            let peer = format!("{link}-p");
            ip(&format!(
                "link add {link} address {mac} type veth peer name {peer}"
            ));
            ip(&format!("link set {link} up"));
            ip(&format!("link set {peer} up"));
        }
        for (link, v4, v6) in [
            (SERVERS, "10.1.0", "fd00:1:"),
            (CLIENTS, "192.0.2", "2001:db8:ffff:"),
        ] {
            ip(&format!("addr add {v4}.9/24 dev {link}"));
            ip(&format!("addr add {v6}:9/64 dev {link} nodad"));
            for neighbour in [format!("{v4}.254"), format!("{v6}:fe")] {
                ip(&format!(
                    "neigh add {neighbour} lladdr 02:00:00:00:0a:fe dev {link} nud permanent"
                ));
            }
        }
        for (route, way4, way6) in [
            (Route::Known, "via 192.0.2.254", "via 2001:db8:ffff::fe"),
            (Route::SameInterface, "via 10.1.0.254", "via fd00:1::fe"),
            (
                Route::NoNeighbour,
                "via 192.0.2.253",
                "via 2001:db8:ffff::fd",
            ),
        ] {
            ip(&format!("route add {}/32 {way4}", route.client(true).ip()));
            ip(&format!(
                "route add {}/128 {way6}",
                route.client(false).ip()
            ));
        }
        for (route, kind) in [
            (Route::Blackhole, "blackhole"),
            (Route::Unreachable, "unreachable"),
            (Route::Prohibit, "prohibit"),
        ] {
            ip(&format!("route add {kind} {}/32", route.client(true).ip()));
            ip(&format!(
                "route add {kind} {}/128",
                route.client(false).ip()
            ));
        }
        let network = Self {
            servers: if_nametoindex(SERVERS).unwrap(),
        };
        forward(true);
        network
    }
}

/// Whether the kernel forwards in the namespace of the current thread.
pub(crate) fn forward(on: bool) {
    let value = if on { "1" } else { "0" };
    for family in ["ipv4", "ipv6"] {
        fs::write(format!("/proc/sys/net/{family}/conf/all/forwarding"), value).unwrap();
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}
