use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData};
use lbfabric_abi::{Backend, Endpoint, LAYOUT_VERSION, VipService};
use lbfabric_node::{NodeAgent, NodeConfig, Role, XdpModeChoice};
use lbfabric_proto::v1;
use tokio::time::{Instant, sleep};

use crate::namespace::{Namespace, run};

/// Far above any of the agent's own times, so that a slow machine does not fail a test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// A node `lb0 10.88.0.1` and its peer `sv0 10.88.0.2`, connected by a veth; pins and state of their own.
pub(crate) struct Fixture {
    pub(crate) node: Namespace,
    pub(crate) peer: Namespace,
    pub(crate) pin_dir: PathBuf,
    pub(crate) state_dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        mount_bpffs();
        // Silent unless RUST_LOG asks for more: the agent runs on threads whose output the test harness does not catch.
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter);
        let _first_one = subscriber.with_writer(std::io::stderr).try_init();
        let node = Namespace::new("n");
        let peer = Namespace::new("p");
        let fixture = Self {
            pin_dir: Path::new("/sys/fs/bpf").join(&node.name),
            state_dir: tempfile::tempdir().expect("a temporary folder"),
            node,
            peer,
        };
        fixture.connect();
        fixture
    }

    /// Makes the veth pair with its addresses.
    pub(crate) fn connect(&self) {
        let Self { node, peer, .. } = self;
        node.ip(&[
            "link", "add", "lb0", "type", "veth", "peer", "name", "sv0", "netns", &peer.name,
        ]);
        for (namespace, link, host) in [(node, "lb0", 1), (peer, "sv0", 2)] {
            namespace.ip(&["addr", "add", &format!("10.88.0.{host}/24"), "dev", link]);
            namespace.ip(&[
                "addr",
                "add",
                &format!("fd88::{host}/64"),
                "dev",
                link,
                "nodad",
            ]);
            namespace.ip(&["link", "set", link, "up"]);
        }
    }

    /// Small maps, so that many tests can run at the same time.
    pub(crate) fn config(&self, role: Role, controller: SocketAddr) -> NodeConfig {
        NodeConfig {
            interfaces: vec!["lb0".to_owned()],
            controllers: vec![controller.to_string()],
            pin_dir: self.pin_dir.clone(),
            state_dir: self.state_dir.path().to_owned(),
            xdp_mode: XdpModeChoice::Auto,
            keep_on_exit: true,
            ring_slots: 16_384,
            nat_flows: 1024,
            ..NodeConfig::new("lb1", role)
        }
    }

    pub(crate) async fn start(&self, config: NodeConfig) -> NodeAgent {
        NodeAgent::start(config).await.expect("the agent starts")
    }

    /// Runs a test in the node's namespace, on a thread of its own.
    pub(crate) fn run<F: Future<Output = ()>>(&self, test: impl FnOnce() -> F + Send) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.node.enter();
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(test());
            });
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    /// A pinned map.
    pub(crate) fn map(&self, name: &str) -> Option<MapData> {
        MapData::from_pin(self.maps_dir().join(name)).ok()
    }

    /// The server's entry in `BACKENDS`.
    pub(crate) fn backend(&self, id: u32) -> Option<Backend> {
        let map = Array::<_, Backend>::try_from(Map::Array(self.map("BACKENDS")?)).ok()?;
        map.get(&id, 0).ok()
    }

    /// Where a load balancer's maps are pinned.
    pub(crate) fn maps_dir(&self) -> PathBuf {
        self.pin_dir.join(format!("v{LAYOUT_VERSION}"))
    }

    pub(crate) fn vip_entry(&self, endpoint: Endpoint) -> Option<VipService> {
        let key = endpoint.key4().expect("the tests' VIPs are IPv4");
        let map = HashMap::<_, u64, VipService>::try_from(Map::HashMap(self.map("VIP_PORTS4")?));
        map.ok()?.get(&key, 0).ok()
    }

    /// The link-layer address of a peer's interface.
    pub(crate) fn peer_mac(&self) -> [u8; 6] {
        let text = self.peer.ip(&["-br", "link", "show", "sv0"]);
        let mac = text
            .split_whitespace()
            .nth(2)
            .expect("name, state, address");
        let bytes: Vec<u8> = mac
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"))
            .collect();
        bytes.try_into().expect("six bytes")
    }

    /// The id of the XDP program on the node's interface `lb0`, or 0.
    pub(crate) fn program_id(&self) -> u32 {
        self.program_id_on("lb0")
    }

    /// The id of the XDP program on one of the node's interfaces, or 0.
    pub(crate) fn program_id_on(&self, interface: &str) -> u32 {
        let text = self.node.ip(&["-d", "link", "show", interface]);
        let mut words = text
            .split_whitespace()
            .skip_while(|word| *word != "prog/xdp")
            .skip(2);
        words.next().and_then(|id| id.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        remove_pins(&self.pin_dir);
    }
}

/// Removes what an agent has pinned.
pub(crate) fn remove_pins(pin_dir: &Path) {
    let folders = std::fs::read_dir(pin_dir).into_iter().flatten();
    for folder in folders.flatten() {
        let _removed = std::fs::remove_dir_all(folder.path());
    }
    let _removed = std::fs::remove_dir(pin_dir);
}

/// What an agent reports while its program forwards.
pub(crate) fn attached(report: &v1::NodeReport) -> bool {
    report.fault.is_empty() && report.xdp_mode() != v1::XdpMode::Unspecified
}

/// As the agent does; here because some tests use the file system before they start one.
fn mount_bpffs() {
    static MOUNT: Once = Once::new();
    MOUNT.call_once(|| {
        let file_system = run("stat", &["-f", "-c", "%T", "/sys/fs/bpf"]);
        if file_system.trim() != "bpf_fs" {
            run("mount", &["-t", "bpf", "bpf", "/sys/fs/bpf"]);
        }
    });
}

/// As [`eventually`], where there is no runtime.
pub(crate) fn until<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "not within {DEADLINE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Polls until the value is there.
pub(crate) async fn eventually<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
