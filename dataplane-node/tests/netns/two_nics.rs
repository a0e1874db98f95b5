use std::path::{Path, PathBuf};

use aya::{
    Ebpf, EbpfLoader,
    programs::{Xdp, XdpMode},
};
use lbfabric_node::{NodeAgent, NodeConfig, Role};
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, eventually},
    hitless::healthy,
    namespace::{Namespace, run},
    played_controller::PlayedController,
    udp_echo::{EchoServers, Flows},
};

/// The VIP of every service here, and its port.
pub(crate) const VIP: &str = "10.99.0.1:7";
/// The addresses of the two servers.
pub(crate) const SERVERS: [&str; 2] = ["10.89.0.2", "10.89.0.3"];

/// A node between its clients and its servers.
///
/// ```text
/// client sv0 10.88.0.2 ── lb0 10.88.0.1 node lb1 10.89.0.1 ── s0 10.89.0.2, .3 servers
///        c1 10.90.0.1 ───────────────────────────────────────── s1 10.90.0.2
/// ```
///
/// The direct way from the servers to the client is that of the answers in `l4-dsr`.
pub(crate) struct TwoNics {
    pub(crate) fixture: Fixture,
    pub(crate) servers: Namespace,
    _pass: [PassPrograms; 2],
}

/// The echo service over both servers, with an agent that follows it and flows that have answers.
pub(crate) struct Served {
    pub(crate) controller: PlayedController,
    pub(crate) config: NodeConfig,
    pub(crate) agent: NodeAgent,
    /// The first one that has every server healthy.
    pub(crate) report: v1::NodeReport,
    pub(crate) flows: Flows,
    pub(crate) _servers: EchoServers,
}

impl TwoNics {
    pub(crate) fn new() -> Self {
        let fixture = Fixture::new();
        let servers = Namespace::new("s");
        fixture.node.within(|| {
            for setting in ["ip_forward", "conf/lb0/rp_filter", "conf/all/rp_filter"] {
                set(setting, if setting == "ip_forward" { "1" } else { "0" });
            }
        });
        fixture.peer.within(|| set("conf/all/rp_filter", "0"));
        let client = &fixture.peer;
        client.ip(&[
            "link",
            "add",
            "c1",
            "type",
            "veth",
            "peer",
            "name",
            "s1",
            "netns",
            &servers.name,
        ]);
        for (namespace, link, address) in [
            (client, "c1", "10.90.0.1/24"),
            (&servers, "s1", "10.90.0.2/24"),
        ] {
            namespace.ip(&["addr", "add", address, "dev", link]);
            namespace.ip(&["link", "set", link, "up"]);
        }
        client.within(|| set("conf/c1/rp_filter", "0"));
        servers.within(|| set("ip_forward", "0"));
        client.ip(&["route", "add", "10.99.0.0/24", "via", "10.88.0.1"]);
        let pass = [
            PassPrograms::attach(&fixture.peer, "sv0"),
            connect_servers(&fixture.node, &servers),
        ];
        without_offload(&fixture.peer, "sv0");
        Self {
            fixture,
            servers,
            _pass: pass,
        }
    }

    /// Makes the servers' link, which was removed, again. Their end works as long as the answer is kept.
    pub(crate) fn connect_servers(&self) -> PassPrograms {
        connect_servers(&self.fixture.node, &self.servers)
    }

    /// Has the servers answer clients directly, from the VIP.
    pub(crate) fn answer_directly(&self) {
        let servers = &self.servers;
        servers.ip(&["addr", "add", "10.99.0.1/32", "dev", "lo"]);
        servers.ip(&["route", "add", "10.88.0.2", "via", "10.90.0.1"]);
    }

    /// Has the echo service served in a mode, and asked by so many flows.
    pub(crate) async fn serve(&self, mode: v1::Mode, flows: usize) -> Served {
        let servers = EchoServers::start(&self.servers, &SERVERS);
        let mut controller = PlayedController::start().await;
        controller.apply(&echo(mode));
        let config = self.config(&controller);
        let agent = self.fixture.start(config.clone()).await;
        let report = eventually("healthy servers", || controller.report_if(healthy)).await;
        let flows = Flows::start(&self.fixture.peer, VIP, flows);
        eventually("answers", || flows.more_than(0, 100)).await;
        Served {
            controller,
            config,
            agent,
            report,
            flows,
            _servers: servers,
        }
    }

    /// An agent with the program on both interfaces.
    pub(crate) fn config(&self, controller: &PlayedController) -> NodeConfig {
        NodeConfig {
            interfaces: vec!["lb0".to_owned(), "lb1".to_owned()],
            ..self.fixture.config(Role::LoadBalancer, controller.address)
        }
    }
}

fn connect_servers(node: &Namespace, servers: &Namespace) -> PassPrograms {
    node.ip(&[
        "link",
        "add",
        "lb1",
        "type",
        "veth",
        "peer",
        "name",
        "s0",
        "netns",
        &servers.name,
    ]);
    node.ip(&["addr", "add", "10.89.0.1/24", "dev", "lb1"]);
    for server in SERVERS {
        servers.ip(&["addr", "add", &format!("{server}/24"), "dev", "s0"]);
    }
    node.ip(&["link", "set", "lb1", "up"]);
    servers.ip(&["link", "set", "s0", "up"]);
    servers.ip(&["route", "replace", "default", "via", "10.89.0.1"]);
    node.within(|| set("conf/lb1/rp_filter", "0"));
    without_offload(servers, "s0");
    PassPrograms::attach(servers, "s0")
}

/// A setting below `/proc/sys/net/ipv4` of this thread's namespace.
fn set(name: &str, value: &str) {
    let path = Path::new("/proc/sys/net/ipv4").join(name);
    std::fs::write(&path, value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// What XDP forwards must have its checksums: nobody completes them on the way.
fn without_offload(namespace: &Namespace, link: &str) {
    namespace.within(|| run("ethtool", &["-K", link, "tx", "off"]));
}

/// The object, loaded without its maps' being left anywhere, and its program that passes everything.
pub(crate) struct PassPrograms(Ebpf);

impl PassPrograms {
    pub(crate) fn load() -> Self {
        let scratch = ScratchPins::new();
        let mut ebpf = EbpfLoader::new()
            .default_map_pin_directory(&scratch.0)
            .map_max_entries("SESSIONS", 1)
            .map_max_entries("SESSION_RECORDS", 1)
            .map_max_entries("SESSION_TAGS", 1)
            .load(lbfabric_node::object::object())
            .expect("loading needs root");
        lbfabric_node::object::load_named(&mut ebpf, "lbfabric_pass").expect("it is accepted");
        Self(ebpf)
    }

    pub(crate) fn program(&mut self) -> &mut Xdp {
        let program = self.0.program_mut("lbfabric_pass").expect("it is there");
        program.try_into().expect("an XDP program")
    }

    /// A veth delivers what is sent by XDP only to an end that has a program itself.
    pub(crate) fn attach(namespace: &Namespace, link: &str) -> Self {
        namespace.within(|| {
            let mut pass = Self::load();
            let attached = pass.program().attach(link, XdpMode::Driver);
            attached.expect("a veth takes it");
            pass
        })
    }
}

/// A folder on the BPF file system.
pub(crate) struct ScratchPins(pub(crate) PathBuf);

impl ScratchPins {
    pub(crate) fn new() -> Self {
        let folder = Path::new("/sys/fs/bpf").join(Namespace::unused_name("pins"));
        std::fs::create_dir(&folder).expect("a folder on the BPF file system");
        Self(folder)
    }
}

impl Drop for ScratchPins {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

/// A UDP echo service over the two servers, probed by TCP on port 80 every second.
pub(crate) fn echo(mode: v1::Mode) -> v1::FabricSpec {
    echo_over(&SERVERS, mode, 1_000)
}

/// As [`echo`], over other servers, with another interval.
pub(crate) fn echo_over(servers: &[&str], mode: v1::Mode, interval_ms: u32) -> v1::FabricSpec {
    let check = v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec { port: 80 });
    let numbered = (1..).zip(servers);
    v1::FabricSpec {
        pools: vec![v1::PoolSpec {
            name: "echo".to_owned(),
            backends: numbered
                .map(|(number, address)| v1::BackendSpec {
                    name: format!("s{number}"),
                    addresses: vec![(*address).to_owned()],
                    ..v1::BackendSpec::default()
                })
                .collect(),
            health_check: Some(v1::HealthCheckSpec {
                check: Some(check),
                interval_ms,
                timeout_ms: interval_ms,
                rise: 1,
                fall: 2,
            }),
            ..v1::PoolSpec::default()
        }],
        services: vec![v1::ServiceSpec {
            name: "echo".to_owned(),
            vips: vec!["10.99.0.1".to_owned()],
            ports: vec!["7".to_owned()],
            protocol: v1::Protocol::Udp.into(),
            mode: mode.into(),
            pool: "echo".to_owned(),
            ..v1::ServiceSpec::default()
        }],
        ..v1::FabricSpec::default()
    }
}
