use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::namespace::Namespace;

/// Nodes and a router on one link, whose middle can be cut without an end noticing.
pub(crate) struct Network {
    wire: Namespace,
    pub(crate) router: Namespace,
    pub(crate) nodes: Vec<Namespace>,
}

/// What a session's addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Ipv4,
    Ipv6,
    /// IPv6 of the link alone.
    LinkLocal,
}

const ROUTER: usize = 254;

// === impl Over ===

impl Over {
    pub(crate) const ALL: [Self; 3] = [Self::Ipv4, Self::Ipv6, Self::LinkLocal];
    pub(crate) const ROUTED: [Self; 2] = [Self::Ipv4, Self::Ipv6];
}

// === impl Network ===

impl Network {
    pub(crate) fn new(nodes: usize) -> Self {
        let network = Self {
            wire: Namespace::new("wire"),
            router: Namespace::new("router"),
            nodes: (0..nodes).map(|_| Namespace::new("node")).collect(),
        };
        let wire = &network.wire;
        wire.ip(&["link", "add", "bridge", "type", "bridge"]);
        wire.ip(&["link", "set", "bridge", "up"]);
        network.plug(&network.router, "router", ROUTER);
        for (number, node) in network.nodes.iter().enumerate() {
            network.plug(node, &format!("node{number}"), number + 1);
        }
        network
    }

    fn plug(&self, namespace: &Namespace, port: &str, last: usize) {
        let wire = &self.wire;
        let name = &namespace.name;
        wire.ip(&[
            "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name,
        ]);
        wire.ip(&["link", "set", port, "master", "bridge", "up"]);
        // Addresses of the link are those that tests expect, too.
        namespace.ip(&["link", "set", "eth0", "addrgenmode", "none"]);
        for over in Over::ALL {
            let length = if over == Over::Ipv4 { 24 } else { 64 };
            let address = format!("{}/{length}", address(last, over));
            namespace.ip(&["addr", "add", &address, "dev", "eth0", "nodad"]);
        }
        namespace.ip(&["link", "set", "eth0", "up"]);
    }

    /// From now on nothing gets to or from the node, while all links are up.
    pub(crate) fn cut(&self, node: usize) {
        let port = format!("node{node}");
        self.wire.ip(&["link", "set", &port, "nomaster"]);
    }
}

/// A node's address.
pub(crate) fn node_address(number: usize, over: Over) -> IpAddr {
    address(number + 1, over)
}

/// The router's address.
pub(crate) fn router_address(over: Over) -> IpAddr {
    address(ROUTER, over)
}

fn address(last: usize, over: Over) -> IpAddr {
    let text = match over {
        Over::Ipv4 => format!("192.0.2.{last}"),
        Over::Ipv6 => format!("2001:db8::{last}"),
        Over::LinkLocal => format!("fe80::{last}"),
    };
    text.parse().expect("it is an address")
}

/// Asks until the answer is yes, and says how long that took; panics with what is the case instead when the time is over.
pub(crate) fn until(
    what: &str,
    limit: Duration,
    mut is_so: impl FnMut() -> Result<(), String>,
) -> Duration {
    let start = Instant::now();
    loop {
        let Err(instead) = is_so() else {
            return start.elapsed();
        };
        assert!(
            start.elapsed() < limit,
            "{what}: not within {limit:?}: {instead}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks for so long whether something stays as it is; panics with what is the case instead.
pub(crate) fn throughout(what: &str, time: Duration, is_so: impl Fn() -> Result<(), String>) {
    let start = Instant::now();
    while start.elapsed() < time {
        if let Err(instead) = is_so() {
            panic!("{what}: not after {:?}: {instead}", start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs each case on a thread of its own: they wait most of the time.
pub(crate) fn all_at_once<T: Send>(cases: impl IntoIterator<Item = T>, run: impl Fn(T) + Sync) {
    let run = &run;
    std::thread::scope(|scope| {
        let threads: Vec<_> = cases
            .into_iter()
            .map(|case| scope.spawn(move || run(case)))
            .collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
