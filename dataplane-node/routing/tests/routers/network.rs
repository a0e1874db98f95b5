use std::time::{Duration, Instant};

use crate::namespace::Namespace;

/// Nodes and a router on one link, whose middle can be cut without an end noticing.
pub(crate) struct Network {
    wire: Namespace,
    pub(crate) router: Namespace,
    pub(crate) nodes: Vec<Namespace>,
}

/// The router's addresses.
pub(crate) const ROUTER: (&str, &str) = ("192.0.2.254", "2001:db8::254");

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
        network.plug(&network.router, "router", ROUTER.0, ROUTER.1);
        for (number, node) in network.nodes.iter().enumerate() {
            let (ipv4, ipv6) = node_addresses(number);
            network.plug(node, &format!("node{number}"), &ipv4, &ipv6);
        }
        network
    }

    fn plug(&self, namespace: &Namespace, port: &str, ipv4: &str, ipv6: &str) {
        let wire = &self.wire;
        let name = &namespace.name;
        wire.ip(&[
            "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name,
        ]);
        wire.ip(&["link", "set", port, "master", "bridge", "up"]);
        let ipv4 = format!("{ipv4}/24");
        let ipv6 = format!("{ipv6}/64");
        namespace.ip(&["addr", "add", &ipv4, "dev", "eth0"]);
        namespace.ip(&["addr", "add", &ipv6, "dev", "eth0", "nodad"]);
        namespace.ip(&["link", "set", "eth0", "up"]);
    }

    /// From now on nothing gets to or from the node, while all links are up.
    pub(crate) fn cut(&self, node: usize) {
        let port = format!("node{node}");
        self.wire.ip(&["link", "set", &port, "nomaster"]);
    }
}

/// A node's addresses.
pub(crate) fn node_addresses(number: usize) -> (String, String) {
    let last = number + 1;
    (format!("192.0.2.{last}"), format!("2001:db8::{last}"))
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
