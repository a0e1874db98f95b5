//! A VIP with a lease on a flat network: a controller, two nodes as processes, a client that asks all the time who has the VIP, and a server. At no
//! time do two nodes answer.

#[path = "leases/handed_on.rs"]
mod handed_on;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lbfabric_controller::{Controller, ControllerConfig};
use lbfabric_proto::v1::{
    self, announcement_spec::By, change_vip_request::Change,
    fabric_service_client::FabricServiceClient, vip_service_client::VipServiceClient,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::runtime::Runtime;

use crate::{
    arp_watch::{ArpWatch, Mac, turns},
    fixture::{remove_pins, until},
    namespace::Namespace,
};

const LINK: &str = "eth0";
const VIP: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 100);
const CONTROLLER: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 254);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 9);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 8);
const PORT: u16 = 80;
const API: u16 = 7400;
/// A lease, its margin, what comes afterwards, and a busy machine.
const TAKE_OVER: Duration = Duration::from_millis(500);

struct Site {
    nodes: BTreeMap<&'static str, Node>,
    client: Namespace,
    server: Namespace,
    bridge: Namespace,
    /// The controller runs as long as this is there.
    stop: Option<mpsc::Sender<()>>,
    controller: Option<JoinHandle<()>>,
}

/// A node's place, and its agent.
struct Node {
    agent: Child,
    mac: Mac,
    namespace: Namespace,
    pin_dir: PathBuf,
    state_dir: tempfile::TempDir,
}

impl Site {
    /// With a service whose server answers clients past the nodes.
    fn new() -> Self {
        Self::serving(v1::Mode::L4Dsr)
    }

    fn serving(mode: v1::Mode) -> Self {
        let bridge = Namespace::new("b");
        bridge.ip(&["link", "add", "br0", "type", "bridge"]);
        bridge.ip(&["addr", "add", &format!("{CONTROLLER}/24"), "dev", "br0"]);
        bridge.ip(&["link", "set", "br0", "up"]);
        let server = host(&bridge, "sv", SERVER);
        server.within(|| {
            // A server of direct return has the VIP and tells nobody.
            for (name, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
                let path = format!("/proc/sys/net/ipv4/conf/all/{name}");
                std::fs::write(&path, value).expect("it is root");
            }
        });
        server.ip(&["addr", "add", &format!("{VIP}/32"), "dev", "lo"]);
        let (stop, controller) = start_controller(&bridge);
        let nodes = [("n1", 1), ("n2", 2)].map(|(name, number)| {
            let namespace = host(&bridge, name, Ipv4Addr::new(10, 89, 0, number));
            (name, Node::new(name, namespace))
        });
        let site = Self {
            nodes: nodes.into(),
            client: host(&bridge, "c", CLIENT),
            server,
            bridge,
            stop: Some(stop),
            controller: Some(controller),
        };
        site.apply(fabric(mode));
        site
    }

    fn apply(&self, fabric: v1::FabricSpec) {
        let request = v1::ApplyRequest {
            fabric: Some(fabric),
            ..v1::ApplyRequest::default()
        };
        self.call(async {
            let mut client = FabricServiceClient::connect(url())
                .await
                .expect("it is there");
            client.apply(request).await.expect("it is right");
        });
    }

    /// From where the controller is.
    fn call<T: Send>(&self, call: impl Future<Output = T> + Send) -> T {
        self.bridge.within(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().expect("a runtime");
            runtime.block_on(call)
        })
    }

    fn told(&self) -> v1::ListVipsResponse {
        self.call(async {
            let mut client = VipServiceClient::connect(url()).await.expect("it is there");
            let answer = client.list_vips(v1::ListVipsRequest {}).await;
            answer.expect("it leads").into_inner()
        })
    }

    fn change(&self, change: Change) {
        let request = v1::ChangeVipRequest {
            address: VIP.to_string(),
            change: Some(change),
        };
        self.call(async {
            let mut client = VipServiceClient::connect(url()).await.expect("it is there");
            client.change_vip(request).await.expect("it is right");
        });
    }

    /// Waits until the VIP is served and both nodes live, and gives its owner and the other one.
    fn settled(&self) -> (&'static str, &'static str) {
        let owner = until("the VIP is served, and both nodes live", || {
            let told = self.told();
            let served = told.vips.first()?.state() == v1::VipState::Served;
            let live = told.nodes.iter().filter(|it| it.live).count() == 2;
            (served && live).then(|| told.vips[0].owner.clone())
        });
        if owner == "n1" {
            ("n1", "n2")
        } else {
            ("n2", "n1")
        }
    }

    fn watch(&self) -> ArpWatch {
        ArpWatch::start(&self.client, LINK, CLIENT, VIP)
    }

    /// Waits until this node is told to own the VIP.
    fn until_owner(&self, name: &str) {
        until("the VIP has moved", || {
            let told = self.told();
            let vip = told.vips.first()?;
            let is_there = vip.owner == name && vip.state() == v1::VipState::Served;
            is_there.then_some(())
        });
    }

    /// Checks that this node has answered, and no other.
    fn assert_alone(&self, watch: ArpWatch, name: &str) {
        let turns = turns(&watch.heard());
        let owners: Vec<Mac> = turns.iter().map(|(mac, _)| *mac).collect();
        assert_eq!(owners, [self.nodes[name].mac], "{turns:?}");
    }

    /// Checks that the VIP went from one node to the other, once, and says for how long nobody answered.
    fn assert_moved(&self, watch: ArpWatch, from: &str, to: &str) -> Duration {
        let (from, to) = (self.nodes[from].mac, self.nodes[to].mac);
        let turns = turns(&watch.heard_of(to));
        let owners: Vec<Mac> = turns.iter().map(|(mac, _)| *mac).collect();
        assert_eq!(owners, [from, to], "{turns:?}");
        turns[1].1
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for node in self.nodes.values_mut() {
            let _gone = node.agent.kill();
            let _gone = node.agent.wait();
            remove_pins(&node.pin_dir);
        }
        drop(self.stop.take());
        if let Some(controller) = self.controller.take() {
            let _panicked = controller.join();
        }
    }
}

impl Node {
    fn new(name: &str, namespace: Namespace) -> Self {
        let pin_dir = PathBuf::from("/sys/fs/bpf").join(&namespace.name);
        let state_dir = tempfile::tempdir().expect("a temporary folder");
        let text = namespace.ip(&["-br", "link", "show", LINK]);
        let mac = text
            .split_whitespace()
            .nth(2)
            .expect("name, state, address");
        let mac: Vec<u8> = mac
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"))
            .collect();
        Self {
            agent: start_agent(name, &namespace, &pin_dir, state_dir.path()),
            mac: mac.try_into().expect("six bytes"),
            namespace,
            pin_dir,
            state_dir,
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.agent.id()).expect("a process's number");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    fn restart(&mut self, name: &str) {
        self.kill();
        self.start(name);
    }

    fn kill(&mut self) {
        self.agent.kill().expect("it runs");
        self.agent.wait().expect("it is ours");
    }

    fn start(&mut self, name: &str) {
        self.agent = start_agent(name, &self.namespace, &self.pin_dir, self.state_dir.path());
    }
}

/// A service with one server.
fn fabric(mode: v1::Mode) -> v1::FabricSpec {
    v1::FabricSpec {
        pools: vec![v1::PoolSpec {
            name: "web".to_owned(),
            backends: vec![v1::BackendSpec {
                name: "s1".to_owned(),
                addresses: vec![SERVER.to_string()],
                ..v1::BackendSpec::default()
            }],
            ..v1::PoolSpec::default()
        }],
        services: vec![v1::ServiceSpec {
            name: "web".to_owned(),
            vips: vec![VIP.to_string()],
            ports: vec![PORT.to_string()],
            mode: mode.into(),
            pool: "web".to_owned(),
            announce: Some(v1::AnnouncementSpec {
                by: Some(By::Lease(v1::LeaseSpec::default())),
                ..v1::AnnouncementSpec::default()
            }),
            ..v1::ServiceSpec::default()
        }],
        ..v1::FabricSpec::default()
    }
}

fn start_agent(
    name: &str,
    namespace: &Namespace,
    pin_dir: &std::path::Path,
    state_dir: &std::path::Path,
) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbfabric-node"));
    command
        .args(["--name", name, "--interface", LINK, "--xdp-mode", "generic"])
        .args(["--controller", &format!("{CONTROLLER}:{API}")])
        .args(["--ring-slots", "16384", "--nat-flows", "1024"])
        .arg("--pin-dir")
        .arg(pin_dir)
        .arg("--state-dir")
        .arg(state_dir)
        .stdin(Stdio::null())
        .env(
            "RUST_LOG",
            std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned()),
        );
    namespace.within(|| command.spawn().expect("the agent starts"))
}

fn host(bridge: &Namespace, purpose: &str, address: Ipv4Addr) -> Namespace {
    let host = Namespace::new(purpose);
    host.ip(&[
        "link",
        "add",
        LINK,
        "type",
        "veth",
        "peer",
        "name",
        purpose,
        "netns",
        &bridge.name,
    ]);
    host.ip(&["addr", "add", &format!("{address}/24"), "dev", LINK]);
    host.ip(&["link", "set", LINK, "up"]);
    bridge.ip(&["link", "set", purpose, "master", "br0", "up"]);
    host
}

fn url() -> String {
    format!("http://{CONTROLLER}:{API}")
}

fn start_controller(namespace: &Namespace) -> (mpsc::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = mpsc::channel::<()>();
    let (tell, started) = mpsc::channel();
    let door = namespace.door();
    let thread = std::thread::spawn(move || {
        door.enter();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = Runtime::new().expect("threads");
        let address = SocketAddr::new(IpAddr::V4(CONTROLLER), API);
        let controller = runtime.block_on(Controller::start(ControllerConfig {
            id: 1,
            data_dir: folder.path().to_owned(),
            listen: address,
            members: BTreeMap::from([(1, address.to_string())]),
            plaintext: true,
        }));
        let controller = controller.expect("the controller starts");
        tell.send(()).expect("somebody waits");
        // Until the other end is dropped.
        let _dropped = stopped.recv();
        runtime.block_on(controller.stop());
    });
    started.recv().expect("the controller starts");
    (stop, thread)
}

#[test]
fn whatever_happens_to_the_owner_one_node_answers() {
    let mut site = Site::new();
    let (owner, other) = site.settled();
    let watch = site.watch();
    site.nodes[owner].signal(Signal::SIGSTOP);
    site.until_owner(other);
    let gap = site.assert_moved(watch, owner, other);
    eprintln!(
        "the agent hangs: nobody answered for {} ms",
        gap.as_millis()
    );
    assert!(gap < TAKE_OVER, "{gap:?}");

    // It wakes up, and has nothing.
    let watch = site.watch();
    site.nodes[owner].signal(Signal::SIGCONT);
    assert_eq!(site.settled().0, other);
    site.assert_alone(watch, other);

    let (owner, other) = (other, owner);
    let watch = site.watch();
    site.bridge.ip(&["link", "set", owner, "down"]);
    site.until_owner(other);
    let gap = site.assert_moved(watch, owner, other);
    eprintln!(
        "its link is cut: nobody answered for {} ms",
        gap.as_millis()
    );
    assert!(gap < TAKE_OVER, "{gap:?}");
    site.bridge.ip(&["link", "set", owner, "up"]);

    let (owner, other) = site.settled();
    let watch = site.watch();
    let killed = site.nodes.get_mut(owner).expect("it is there");
    killed.restart(owner);
    site.until_owner(other);
    let gap = site.assert_moved(watch, owner, other);
    eprintln!(
        "its agent is killed: nobody answered for {} ms",
        gap.as_millis()
    );
    assert!(gap < TAKE_OVER, "{gap:?}");
}

/// What stands in its maps is of a lease that has run out long ago.
#[test]
fn an_agent_that_starts_late_answers_for_nothing() {
    let mut site = Site::new();
    let (owner, other) = site.settled();
    let killed = site.nodes.get_mut(owner).expect("it is there");
    killed.kill();
    site.until_owner(other);
    let watch = site.watch();
    let killed = site.nodes.get_mut(owner).expect("it is there");
    killed.start(owner);
    assert_eq!(site.settled().0, other);
    std::thread::sleep(Duration::from_millis(500));
    site.assert_alone(watch, other);
}

#[test]
fn a_planned_move_costs_no_connection() {
    let site = Site::new();
    let (owner, other) = site.settled();
    let listener = site
        .server
        .within(|| TcpListener::bind((VIP, PORT)).expect("it has the VIP"));
    let connect = || {
        let address = SocketAddr::new(VIP.into(), PORT);
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
    };
    let mut client = site.client.within(|| until("the service answers", connect));
    let (mut server, _) = listener.accept().expect("it comes");
    let timeout = Some(Duration::from_secs(10));
    for stream in [&client, &server] {
        stream
            .set_read_timeout(timeout)
            .expect("there is a timeout");
    }
    let mut say = || {
        let mut heard = [0; 4];
        client.write_all(b"word").expect("the connection is there");
        server.read_exact(&mut heard).expect("the word comes");
        server.write_all(&heard).expect("the connection is there");
        client.read_exact(&mut heard).expect("and goes back");
    };
    say();
    let watch = site.watch();
    site.change(Change::MoveTo(other.to_owned()));
    site.until_owner(other);
    let deadline = Instant::now() + Duration::from_millis(500);
    while Instant::now() < deadline {
        say();
    }
    let gap = site.assert_moved(watch, owner, other);
    eprintln!("a planned move: nobody answered for {} ms", gap.as_millis());
    assert!(gap < TAKE_OVER, "{gap:?}");
}

#[test]
fn a_vip_goes_where_its_servers_are_reached() {
    let site = Site::new();
    let (owner, other) = site.settled();
    let _server = site
        .server
        .within(|| TcpListener::bind((SERVER, PORT)).expect("it has the address"));
    let mut fabric = fabric(v1::Mode::L4Dsr);
    fabric.pools[0].health_check = Some(v1::HealthCheckSpec {
        check: Some(v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec {
            port: PORT.into(),
        })),
        interval_ms: 100,
        ..v1::HealthCheckSpec::default()
    });
    fabric.services[0].announce = Some(v1::AnnouncementSpec {
        by: Some(By::Lease(v1::LeaseSpec {
            min_healthy_servers: 1,
            ..v1::LeaseSpec::default()
        })),
        ..v1::AnnouncementSpec::default()
    });
    site.apply(fabric);
    let blackhole = format!("{SERVER}/32");
    let lose = |node: &str| {
        let route = ["route", "add", "blackhole", &blackhole];
        site.nodes[node].namespace.ip(&route);
    };
    let unfit = |wanted: &[&str]| {
        until("nodes say what they cannot serve", || {
            let told = site.told().vips.into_iter().next()?;
            let nodes: Vec<_> = told.unfit.iter().map(|it| it.node.as_str()).collect();
            let few = told
                .unfit
                .iter()
                .all(|it| it.reason.contains("too few servers"));
            (nodes == wanted && few).then_some(())
        });
    };
    let watch = site.watch();
    lose(owner);
    unfit(&[owner]);
    site.until_owner(other);
    site.assert_moved(watch, owner, other);

    // Where nobody can serve it, it stays.
    let watch = site.watch();
    lose(other);
    unfit(&["n1", "n2"]);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(site.settled().0, other);
    site.assert_alone(watch, other);
}
