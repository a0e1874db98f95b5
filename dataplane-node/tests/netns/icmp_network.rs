//! A client behind a router, the node, and a server.
//!
//! ```text
//! client 10.77.0.2 ── 10.77.0.1 router 10.76.0.2 ── 10.76.0.1 node 10.88.0.1 ── 10.88.0.2 server
//! ```

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use aya::{
    maps::{Array, LpmTrie, lpm_trie::Key},
    programs::{Xdp, XdpMode},
};
use lbfabric_abi::Address;
use lbfabric_node::{NodeAgent, Role};
use lbfabric_proto::v1;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    fixture::{Fixture, eventually},
    namespace::{Namespace, run},
    played_controller::PlayedController,
    specs,
};

pub(crate) const VIPS: [&str; 2] = ["10.99.0.1", "fd99::1"];
/// Of a service over UDP, behind which no server listens.
pub(crate) const UDP: u16 = 9999;
/// Where the server takes GUE.
pub(crate) const GUE_PORT: u16 = 6080;
/// What a client downloads, in bytes.
pub(crate) const DOWNLOAD: usize = 1 << 20;

/// A client behind a router, and the fixture's node and server.
pub(crate) struct Network {
    pub(crate) fixture: Fixture,
    client: Namespace,
    pub(crate) router: Namespace,
    /// On the router's link to the node: what a program sends back over a veth arrives only where a program is.
    _passing: aya::Ebpf,
}

impl Network {
    pub(crate) fn new() -> Self {
        let (fixture, client, router) = (Fixture::new(), Namespace::new("c"), Namespace::new("r"));
        let (node, server) = (&fixture.node, &fixture.peer);
        connect((&router, "r0"), (&client, "c0"), 77);
        connect((node, "cl0"), (&router, "r1"), 76);
        for (from, to, net) in [
            (&client, "default", 77),
            (server, "default", 88),
            (&router, "default", 76),
        ] {
            from.ip(&["route", "add", to, "via", &format!("10.{net}.0.1")]);
            from.ip(&["-6", "route", "add", to, "via", &format!("fd{net}::1")]);
        }
        node.ip(&["route", "add", "10.77.0.0/24", "via", "10.76.0.2"]);
        node.ip(&["-6", "route", "add", "fd77::/64", "via", "fd76::2"]);
        for namespace in [node, &router] {
            for family in ["ipv4", "ipv6"] {
                let path = format!("/proc/sys/net/{family}/conf/all/forwarding");
                within(namespace, &["sh", "-c", &format!("echo 1 >{path}")]);
            }
        }
        // Whole checksums, single packets, and links that take what XDP sends.
        for (namespace, link) in [
            (&client, "c0"),
            (&router, "r0"),
            (&router, "r1"),
            (server, "sv0"),
        ] {
            within(
                namespace,
                &[
                    "ethtool", "-K", link, "tx", "off", "gso", "off", "gro", "on",
                ],
            );
        }
        let passing = inside(&router, || attach("lbfabric_pass", "r1", &fixture.pin_dir));
        Self {
            fixture,
            client,
            router,
            _passing: passing,
        }
    }

    /// Starts the node with services of a mode, and waits until their server is healthy.
    pub(crate) async fn serve(&self, mode: v1::Mode) -> (PlayedController, NodeAgent) {
        self.serve_as(mode, |_| {}).await
    }

    /// As [`Network::serve`], with something else about the services.
    pub(crate) async fn serve_as(
        &self,
        mode: v1::Mode,
        change: impl Fn(&mut v1::ServiceSpec),
    ) -> (PlayedController, NodeAgent) {
        let mut fabric = fabric(mode);
        fabric.services.iter_mut().for_each(change);
        let mut controller = PlayedController::start().await;
        controller.apply(&fabric);
        let mut config = self.fixture.config(Role::LoadBalancer, controller.address);
        config.interfaces.push("cl0".to_owned());
        let agent = self.fixture.start(config).await;
        eventually("a healthy server", || {
            controller.report_if(|report| report.backends.iter().any(|b| b.healthy))
        })
        .await;
        (controller, agent)
    }

    /// A socket of the client.
    pub(crate) fn socket(&self, to: IpAddr, kind: Type, protocol: Protocol) -> Socket {
        let domain = if to.is_ipv4() {
            Domain::IPV4
        } else {
            Domain::IPV6
        };
        let socket = inside(&self.client, || {
            Socket::new(domain, kind, Some(protocol)).expect("a socket")
        });
        socket.set_nonblocking(true).expect("set");
        socket
    }

    /// A UDP socket of the client, connected to the service without a listener.
    pub(crate) fn udp(&self, vip: &str) -> Socket {
        let vip: IpAddr = vip.parse().expect("an address");
        let socket = self.socket(vip, Type::DGRAM, Protocol::UDP);
        let to = SocketAddr::new(vip, UDP);
        socket.connect(&to.into()).expect("UDP connects at once");
        socket
    }
}

fn fabric(mode: v1::Mode) -> v1::FabricSpec {
    let service = |name: &str, port: u16, protocol: v1::Protocol| v1::ServiceSpec {
        name: name.to_owned(),
        vips: VIPS.map(str::to_owned).to_vec(),
        ports: vec![port.to_string()],
        protocol: protocol.into(),
        mode: mode.into(),
        pool: "web".to_owned(),
        ..v1::ServiceSpec::default()
    };
    v1::FabricSpec {
        pools: vec![specs::probed_pool()],
        services: vec![
            service("web", 80, v1::Protocol::Tcp),
            service("udp", UDP, v1::Protocol::Udp),
        ],
        ..v1::FabricSpec::default()
    }
}

/// Connects two namespaces; the first is `.1`, the second `.2`.
fn connect((one, link_one): (&Namespace, &str), (other, link_other): (&Namespace, &str), net: u32) {
    one.ip(&[
        "link",
        "add",
        link_one,
        "type",
        "veth",
        "peer",
        "name",
        link_other,
        "netns",
        &other.name,
    ]);
    for (namespace, link, host) in [(one, link_one, 1), (other, link_other, 2)] {
        namespace.ip(&["addr", "add", &format!("10.{net}.0.{host}/24"), "dev", link]);
        let v6 = format!("fd{net}::{host}/64");
        namespace.ip(&["addr", "add", &v6, "dev", link, "nodad"]);
        namespace.ip(&["link", "set", link, "up"]);
    }
}

/// Attaches a program to a link of the current namespace, for as long as this lives. A server's unpacks for the VIPs.
pub(crate) fn attach(name: &str, link: &str, pin_dir: &Path) -> aya::Ebpf {
    let pins = &pin_dir.join(name);
    std::fs::create_dir_all(pins).expect("a folder on the BPF file system");
    let mut loader = aya::EbpfLoader::new();
    loader.default_map_pin_directory(pins);
    for map in [
        "SESSIONS",
        "SESSION_RECORDS",
        "SESSION_TAGS",
        "BACKENDS",
        "BACKEND_COUNTERS",
        "SERVICE_COUNTERS",
        "RINGS",
        "FLOWS",
    ] {
        loader.map_max_entries(map, 1);
    }
    let mut object = loader
        .load(lbfabric_node::object::object())
        .expect("loading needs root");
    std::fs::remove_dir_all(pins).expect("the pins go");
    let mut vips: LpmTrie<_, Address, u32> = object
        .map_mut("SERVER_VIPS")
        .expect("it is in the object")
        .try_into()
        .expect("it is a trie");
    for vip in VIPS {
        let vip: IpAddr = vip.parse().expect("an address");
        vips.insert(&Key::new(Address::BITS, vip.into()), 1, 0)
            .expect("there is room");
    }
    let mut ports: Array<_, u64> = object
        .map_mut("GUE_PORTS")
        .expect("it is in the object")
        .try_into()
        .expect("it is an array");
    let (word, bit) = (
        u32::from(GUE_PORT) / u64::BITS,
        u32::from(GUE_PORT) % u64::BITS,
    );
    ports.set(word, 1 << bit, 0).expect("the port is in it");
    let program: &mut Xdp = object
        .program_mut(name)
        .expect("it is in the object")
        .try_into()
        .expect("it is an XDP program");
    program.load().expect("the kernel takes it");
    program
        .attach(link, XdpMode::Driver)
        .expect("a veth takes it");
    object
}

fn within(namespace: &Namespace, command: &[&str]) {
    let namespace = format!("--net=/var/run/netns/{}", namespace.name);
    let args: Vec<&str> = [namespace.as_str()]
        .iter()
        .chain(command)
        .copied()
        .collect();
    run("nsenter", &args);
}

/// Makes something in a namespace that belongs to it from then on.
pub(crate) fn inside<T: Send>(namespace: &Namespace, make: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            namespace.enter();
            make()
        });
        thread.join().expect("it is made")
    })
}

/// A server that sends everybody as much as there is to download.
pub(crate) fn upload(server: &Namespace) -> tokio::task::JoinHandle<()> {
    let listener = listen(server);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // The health check takes nothing.
                let _outcome = stream.write_all(&vec![0x5a; DOWNLOAD]).await;
            });
        }
    })
}

fn listen(server: &Namespace) -> TcpListener {
    let listener = inside(server, || {
        std::net::TcpListener::bind("[::]:80").expect("port 80 in the namespace is free")
    });
    listener.set_nonblocking(true).expect("set");
    TcpListener::from_std(listener).expect("a runtime")
}

/// A server that says how many bytes it has got.
pub(crate) fn collect(server: &Namespace) -> tokio::task::JoinHandle<()> {
    let listener = listen(server);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                // The health check does not wait for an answer.
                if let Ok(count) = stream.read_to_end(&mut bytes).await {
                    let _outcome = stream.write_u64(count as u64).await;
                }
            });
        }
    })
}
