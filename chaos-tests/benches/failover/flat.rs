//! A flat network: two nodes of which one owns the VIP, a client that tries it, and a host that asks who has it.

use std::{
    net::Ipv4Addr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{ifaddrs::getifaddrs, sys::signal::Signal};

use crate::{
    arp::{Asker, Mac, doubled},
    fabric::{Fabric, Programs},
    keepalived::Keepalived,
    namespaces::Namespace,
    ping::Pinger,
    report::{Limit, Row},
    until,
};

/// The VIP of the nodes.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const START: Duration = Duration::from_secs(30);

/// The hosts.
pub(crate) struct Network {
    pub(crate) nodes: [Namespace; 2],
    pub(crate) controllers: Namespace,
    pub(crate) router: Namespace,
    server: Namespace,
    client: Namespace,
    watcher: Namespace,
    pub(crate) switch: Namespace,
}

/// What happens to the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Its packets are lost, and it does not see why.
    Silence,
    /// It loses its link.
    Cut,
    /// An operator moves the VIP.
    Move,
    /// Its agent does nothing for three seconds.
    Hang,
    /// Its agent is killed, and started again.
    Kill,
}

/// Who holds the VIP.
enum System {
    Keepalived(Keepalived),
    Fabric(Box<Fabric>),
}

/// All events for each system, the systems in turn.
pub(crate) fn measure(programs: &Programs, rounds: &dyn Fn(&str) -> u32, only: &str) -> Vec<Row> {
    let plan = [
        (
            Event::Silence,
            "owner's host dies silently",
            Limit::median_and_worst(150, 250),
        ),
        (
            Event::Cut,
            "owner's link is cut",
            Limit::median_and_worst(150, 250),
        ),
        (Event::Move, "planned move", Limit::worst(10)),
        (
            Event::Hang,
            "owner's agent hangs: two owners",
            Limit::worst(0),
        ),
        (
            Event::Kill,
            "owner's agent is killed: two owners",
            Limit::worst(0),
        ),
        (
            Event::Hang,
            "owner's agent hangs: not served",
            Limit::worst(0),
        ),
        (
            Event::Kill,
            "owner's agent is killed: not served",
            Limit::worst(0),
        ),
    ];
    let mut rows = Vec::new();
    for (event, what, limit) in plan {
        for system in ["keepalived 1 s", "keepalived 0.1 s", "lbfabric"] {
            let limit = if system == "lbfabric" {
                limit
            } else {
                Limit::none()
            };
            let row = Row::new(what, system, limit);
            if row.name().contains(only) {
                rows.push((event, row));
            }
        }
    }
    for system in ["keepalived 1 s", "keepalived 0.1 s", "lbfabric"] {
        if rows.iter().any(|(_, row)| row.system == system) {
            measure_system(programs, system, rounds(system), &mut rows);
        }
    }
    rows.into_iter().map(|(_, row)| row).collect()
}

fn measure_system(programs: &Programs, name: &str, rounds: u32, rows: &mut [(Event, Row)]) {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::new();
    let mut system = match name {
        "keepalived 1 s" => System::Keepalived(Keepalived::start(&network, folder.path(), "1")),
        "keepalived 0.1 s" => System::Keepalived(Keepalived::start(&network, folder.path(), "0.1")),
        _ => System::Fabric(Box::new(Fabric::on_flat(programs, &network, folder.path()))),
    };
    for event in [
        Event::Silence,
        Event::Cut,
        Event::Move,
        Event::Hang,
        Event::Kill,
    ] {
        let mut wanted: Vec<_> = rows
            .iter_mut()
            .filter(|(of, row)| *of == event && row.system == name)
            .map(|(_, row)| row)
            .collect();
        if wanted.is_empty() {
            continue;
        }
        for _ in 0..rounds {
            let (outage, two_owners) = system.happens(&network, folder.path(), event);
            for row in &mut wanted {
                let time = if row.what.ends_with("two owners") {
                    two_owners
                } else {
                    outage
                };
                row.times.push(time);
            }
        }
    }
}

impl System {
    /// Lets it happen once, and brings everything back to order.
    fn happens(&mut self, network: &Network, folder: &Path, event: Event) -> (Duration, Duration) {
        let owner = network.settled_owner();
        let watch = network.asker().watch(VIP);
        let pinger = Pinger::start(&network.client, VIP);
        thread::sleep(Duration::from_millis(300));
        let at = Instant::now();
        match event {
            Event::Silence => network.silence(owner),
            Event::Cut => network.cut(owner),
            Event::Move => self.leave(network, owner),
            Event::Hang => self.signal(owner, Signal::SIGSTOP),
            Event::Kill => self.signal(owner, Signal::SIGKILL),
        }
        thread::sleep(self.patience());
        // What comes back brings disorder of its own where two have been owners meanwhile: that is not what is asked here.
        let answers = pinger.stop();
        match event {
            Event::Silence => network.speak(owner),
            Event::Cut => network.mend(owner),
            Event::Move => {}
            Event::Hang => self.signal(owner, Signal::SIGCONT),
            Event::Kill => self.again(network, folder, owner),
        }
        thread::sleep(self.patience());
        let heard = watch.stop();
        if let (Event::Move, Self::Keepalived(pair)) = (event, &mut *self) {
            pair.start_node(network, owner);
        }
        (answers.outage(at), doubled(&heard))
    }

    /// For how long what happened may take.
    fn patience(&self) -> Duration {
        match self {
            Self::Keepalived(pair) => pair.patience(),
            Self::Fabric(_) => Duration::from_millis(1500),
        }
    }

    fn leave(&mut self, network: &Network, owner: usize) {
        match self {
            Self::Keepalived(pair) => pair.leave(owner),
            Self::Fabric(fabric) => fabric.move_vip(&network.controllers, VIP, 1 - owner),
        }
    }

    fn signal(&mut self, owner: usize, signal: Signal) {
        match self {
            Self::Keepalived(pair) => pair.signal(owner, signal),
            Self::Fabric(fabric) => fabric.signal(owner, signal),
        }
    }

    /// After it was killed. keepalived's first process starts its second again by itself.
    fn again(&mut self, network: &Network, folder: &Path, owner: usize) {
        if let Self::Fabric(fabric) = self {
            fabric.start_node(network, folder, owner);
        }
    }
}

impl Network {
    pub(crate) fn new() -> Self {
        let host = Namespace::new;
        let new = Self {
            switch: host("switch"),
            client: host("client"),
            watcher: host("watcher"),
            controllers: host("controllers"),
            router: host("router"),
            server: host("server"),
            nodes: [host("node0"), host("node1")],
        };
        new.switch.ip("link add br0 type bridge");
        new.switch.ip("link set br0 up");
        let hosts = [
            &new.client,
            &new.watcher,
            &new.controllers,
            &new.server,
            &new.router,
        ];
        let nodes = new.nodes.iter().enumerate();
        let nodes = nodes.map(|(n, node)| (node, format!("node{n}"), 11 + n));
        let others = hosts
            .into_iter()
            .zip(["client", "watcher", "control", "server", "router"]);
        let others = others.zip([2, 3, 21, 31, 1]);
        let others = others.map(|((host, port), last)| (host, port.to_owned(), last));
        for (host, port, last) in others.chain(nodes) {
            new.switch.link(&port, host, "eth0");
            new.attach(&port);
            host.ip(&format!("address add 10.77.0.{last}/24 dev eth0"));
            let mut ethtool = host.command("ethtool");
            crate::namespaces::finish(ethtool.args(["-K", "eth0", "tx", "off"]));
        }
        for last in [22, 23] {
            let address = format!("address add 10.77.0.{last}/24 dev eth0");
            new.controllers.ip(&address);
        }
        new
    }

    pub(crate) fn asker(&self) -> Asker {
        Asker::new(&self.watcher, "eth0")
    }

    /// Waits until the same node has answered alone for a second, and says which.
    pub(crate) fn settled_owner(&self) -> usize {
        let macs: [Mac; 2] = [0, 1].map(|n| mac_of(&self.nodes[n]));
        until("the VIP has one owner", START, || {
            let watch = self.asker().watch(VIP);
            thread::sleep(Duration::from_secs(1));
            let heard = watch.stop();
            let is_one = heard.len() > 80 && heard.iter().all(|it| it.1 == heard[0].1);
            let owner = macs.iter().position(|mac| is_one && *mac == heard[0].1);
            owner.filter(|_| self.asker().owner(VIP, Duration::from_millis(50)).is_some())
        })
    }

    /// Loses all packets from and to a node, whose link stays up.
    pub(crate) fn silence(&self, node: usize) {
        self.switch.ip(&format!("link set node{node} nomaster"));
    }

    pub(crate) fn speak(&self, node: usize) {
        self.attach(&format!("node{node}"));
    }

    /// A veth has no filter for what is for others: the switch keeps that from it, as the card of a host would.
    fn attach(&self, port: &str) {
        self.switch.ip(&format!("link set {port} master br0"));
        let port = format!("link set {port} type bridge_slave flood off");
        self.switch.ip(&port);
    }

    fn cut(&self, node: usize) {
        self.switch.ip(&format!("link set node{node} down"));
    }

    fn mend(&self, node: usize) {
        self.switch.ip(&format!("link set node{node} up"));
    }
}

fn mac_of(node: &Namespace) -> Mac {
    node.inside(|| {
        let mut links = getifaddrs()
            .unwrap()
            .filter(|it| it.interface_name == "eth0");
        let mac = links.find_map(|it| it.address?.as_link_addr()?.addr());
        mac.unwrap()
    })
}
