//! ICMP as clients and servers meet it: their kernels send and take the messages, through a router and the node.
//!
//! ```text
//! client 10.77.0.2 ── 10.77.0.1 router 10.76.0.2 ── 10.76.0.1 node 10.88.0.1 ── 10.88.0.2 server
//! ```

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    path::Path,
};

use aya::programs::{Xdp, XdpMode};
use lbfabric_node::{NodeAgent, Role};
use lbfabric_proto::v1;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
    sockopt::{Ipv4RecvErr, Ipv6RecvErr},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
    time::timeout,
};

use crate::{
    fixture::{DEADLINE, Fixture, eventually},
    namespace::{Namespace, run},
    played_controller::PlayedController,
};

const VIPS: [&str; 2] = ["10.99.0.1", "fd99::1"];
/// Of a service over UDP, behind which no server listens.
const UDP: u16 = 9999;
/// What a client downloads, in bytes.
const DOWNLOAD: usize = 1 << 20;

/// A client behind a router, and the fixture's node and server.
struct Network {
    fixture: Fixture,
    client: Namespace,
    router: Namespace,
    /// On the router's link to the node: what a program sends back over a veth arrives only where a program is.
    _passing: aya::Ebpf,
}

impl Network {
    fn new() -> Self {
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
        let passing = inside(&router, || pass_on("r1", &fixture.pin_dir.join("passing")));
        Self {
            fixture,
            client,
            router,
            _passing: passing,
        }
    }

    /// Starts the node with services of a mode, and waits until their server is healthy.
    async fn serve(&self, mode: v1::Mode) -> (PlayedController, NodeAgent) {
        let mut controller = PlayedController::start().await;
        controller.apply(&fabric(mode));
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
    fn socket(&self, to: IpAddr, kind: Type, protocol: Protocol) -> Socket {
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
    fn udp(&self, vip: &str) -> Socket {
        let vip: IpAddr = vip.parse().expect("an address");
        let socket = self.socket(vip, Type::DGRAM, Protocol::UDP);
        let to = SocketAddr::new(vip, UDP);
        socket.connect(&to.into()).expect("UDP connects at once");
        socket
    }
}

fn fabric(mode: v1::Mode) -> v1::FabricSpec {
    let check = v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec { port: 80 });
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
        pools: vec![v1::PoolSpec {
            name: "web".to_owned(),
            backends: vec![v1::BackendSpec {
                name: "s1".to_owned(),
                addresses: vec!["10.88.0.2".to_owned(), "fd88::2".to_owned()],
                ..v1::BackendSpec::default()
            }],
            health_check: Some(v1::HealthCheckSpec {
                check: Some(check),
                interval_ms: 100,
                timeout_ms: 50,
                rise: 1,
                fall: 2,
            }),
            ..v1::PoolSpec::default()
        }],
        services: vec![
            service("web", 80, v1::Protocol::Tcp),
            service("udp", UDP, v1::Protocol::Udp),
        ],
        nodes: Vec::new(),
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

/// Attaches the program that passes everything, for as long as this lives.
fn pass_on(link: &str, pins: &Path) -> aya::Ebpf {
    std::fs::create_dir_all(pins).expect("a folder on the BPF file system");
    let mut loader = aya::EbpfLoader::new();
    loader.default_map_pin_directory(pins);
    for map in [
        "NAT_FORWARD",
        "NAT_REVERSE",
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
    let program: &mut Xdp = object
        .program_mut("lbfabric_pass")
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
fn inside<T: Send>(namespace: &Namespace, make: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            namespace.enter();
            make()
        });
        thread.join().expect("it is made")
    })
}

/// A server that sends everybody as much as there is to download.
fn upload(server: &Namespace) -> tokio::task::JoinHandle<()> {
    let listener = inside(server, || {
        std::net::TcpListener::bind("[::]:80").expect("port 80 in the namespace is free")
    });
    listener.set_nonblocking(true).expect("set");
    let listener = TcpListener::from_std(listener).expect("a runtime");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // The health check takes nothing.
                let _outcome = stream.write_all(&vec![0x5a; DOWNLOAD]).await;
            });
        }
    })
}

/// An error in a socket's queue: its number, what it says, and whom it comes from.
fn queued(socket: &Socket) -> Option<(i32, u32, IpAddr)> {
    let mut buffer = nix::cmsg_space!([u8; 256]);
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut [],
        Some(&mut buffer),
        MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
    )
    .ok()?;
    message.cmsgs().ok()?.find_map(|it| match it {
        ControlMessageOwned::Ipv4RecvErr(error, from) => {
            let from = u32::from_be(from?.sin_addr.s_addr);
            Some((
                error.ee_errno.cast_signed(),
                error.ee_info,
                IpAddr::V4(from.into()),
            ))
        }
        ControlMessageOwned::Ipv6RecvErr(error, from) => Some((
            error.ee_errno.cast_signed(),
            error.ee_info,
            IpAddr::V6(from?.sin6_addr.s6_addr.into()),
        )),
        _ => None,
    })
}

fn queue_errors(socket: &Socket, vip: &str) {
    if vip.contains(':') {
        setsockopt(socket, Ipv6RecvErr, &true).expect("set");
    } else {
        setsockopt(socket, Ipv4RecvErr, &true).expect("set");
    }
}

#[test]
fn row_11_a_vip_is_pinged_while_its_server_is_healthy() {
    let network = Network::new();
    network.fixture.run(|| async {
        let server = upload(&network.fixture.peer);
        let (_controller, agent) = network.serve(v1::Mode::L4Dsr).await;
        let pings = VIPS.map(|vip| {
            let vip: IpAddr = vip.parse().expect("an address");
            let protocol = if vip.is_ipv4() {
                Protocol::ICMPV4
            } else {
                Protocol::ICMPV6
            };
            let socket = network.socket(vip, Type::RAW, protocol);
            (vip, UdpSocket::from(socket))
        });
        for (vip, socket) in &pings {
            eventually("a reply", || ping(socket, *vip).then_some(())).await;
        }
        server.abort();
        for (vip, socket) in &pings {
            // Late replies are over once a second passes without any.
            let mut last = tokio::time::Instant::now();
            eventually("silence", || {
                if ping(socket, *vip) {
                    last = tokio::time::Instant::now();
                }
                (last.elapsed().as_millis() > 300).then_some(())
            })
            .await;
        }
        agent.stop().await;
    });
}

/// Sends an echo request and takes what has come back so far; whether there was a reply.
fn ping(socket: &UdpSocket, vip: IpAddr) -> bool {
    let (request, reply, header) = if vip.is_ipv4() {
        // With its checksum; over IPv6, the kernel makes it.
        ([8, 0, 0xe5, 0xcb, 0x12, 0x34, 0, 0], 0, 20)
    } else {
        ([128, 0, 0, 0, 0x12, 0x34, 0, 0], 129, 0)
    };
    socket
        .send_to(&request, SocketAddr::new(vip, 0))
        .expect("it can be sent");
    let mut replied = false;
    let mut bytes = [0; 1500];
    while let Ok((_, from)) = socket.recv_from(&mut bytes) {
        replied |= from.ip() == vip && bytes[header] == reply;
    }
    replied
}

/// The server's kernel says that nobody listens; the client's believes it.
#[test]
fn row_05_a_refusal_of_the_server_reaches_the_clients_socket() {
    for mode in [v1::Mode::L4Dnat, v1::Mode::L4Fullnat] {
        let network = Network::new();
        network.fixture.run(|| async {
            let server = upload(&network.fixture.peer);
            let (_controller, agent) = network.serve(mode).await;
            for vip in VIPS {
                let socket = network.udp(vip);
                let refused = |outcome: io::Result<usize>| {
                    outcome.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
                };
                eventually("connection refused", || {
                    (refused(socket.send(b"anybody?")) || refused(socket.send(b"?"))).then_some(())
                })
                .await;
            }
            server.abort();
            agent.stop().await;
        });
    }
}

/// A trace of the way: the router, the node, and the server in the VIP's name.
#[test]
fn row_14_a_trace_shows_the_node_as_a_hop() {
    for mode in [v1::Mode::L4Dnat, v1::Mode::L4Fullnat] {
        let network = Network::new();
        network.fixture.run(|| async {
            let server = upload(&network.fixture.peer);
            let (_controller, agent) = network.serve(mode).await;
            for (vip, hops) in [
                (VIPS[0], ["10.77.0.1", "10.88.0.1", VIPS[0]]),
                (VIPS[1], ["fd77::1", "fd88::1", VIPS[1]]),
            ] {
                let socket = network.udp(vip);
                queue_errors(&socket, vip);
                for (ttl, hop) in (1..).zip(hops) {
                    if vip.contains(':') {
                        socket.set_unicast_hops_v6(ttl).expect("set");
                    } else {
                        socket.set_ttl_v4(ttl).expect("set");
                    }
                    let hop: IpAddr = hop.parse().expect("an address");
                    eventually(&format!("{mode:?}: {hop}"), || {
                        let _sent = socket.send(b"trace");
                        queued(&socket).filter(|(_, _, from)| *from == hop)
                    })
                    .await;
                }
            }
            server.abort();
            agent.stop().await;
        });
    }
}

/// The link to the server takes less than the client's: the client's kernel learns how much, from the VIP.
#[test]
fn row_09_a_clients_kernel_takes_our_too_big_messages() {
    for mode in [v1::Mode::L4Dnat, v1::Mode::L4Fullnat, v1::Mode::L4Tunnel] {
        let network = Network::new();
        network.fixture.run(|| async {
            let server = upload(&network.fixture.peer);
            let (_controller, agent) = network.serve(mode).await;
            network
                .fixture
                .node
                .ip(&["link", "set", "lb0", "mtu", "1400"]);
            for vip in VIPS {
                let from: IpAddr = vip.parse().expect("an address");
                let overhead = match (mode, from) {
                    (v1::Mode::L4Tunnel, IpAddr::V4(_)) => 20,
                    (v1::Mode::L4Tunnel, IpAddr::V6(_)) => 40,
                    _ => 0,
                };
                let socket = network.udp(vip);
                queue_errors(&socket, vip);
                let expected = (nix::libc::EMSGSIZE, 1400 - overhead, from);
                eventually(&format!("{mode:?}: {expected:?}"), || {
                    let _sent = socket.send(&[0x5a; 1450]);
                    queued(&socket).filter(|error| *error == expected)
                })
                .await;
            }
            server.abort();
            agent.stop().await;
        });
    }
}

/// The router's other link takes less than the server's: its too-big messages to the VIP reach the server, or the download
/// would stop at the first full packet.
#[test]
fn row_06_a_download_over_a_narrow_path_completes() {
    for mode in [v1::Mode::L4Dnat, v1::Mode::L4Fullnat, v1::Mode::L4Dsr] {
        let network = Network::new();
        network.router.ip(&["link", "set", "r0", "mtu", "1300"]);
        if mode == v1::Mode::L4Dsr {
            for vip in VIPS {
                network.fixture.peer.ip(&["addr", "add", vip, "dev", "lo"]);
            }
        }
        network.fixture.run(|| async {
            let server = upload(&network.fixture.peer);
            let (controller, agent) = network.serve(mode).await;
            for vip in VIPS {
                let vip: IpAddr = vip.parse().expect("an address");
                let socket = network.socket(vip, Type::STREAM, Protocol::TCP);
                let socket = TcpSocket::from_std_stream(socket.into());
                let download = async {
                    let mut stream = socket.connect(SocketAddr::new(vip, 80)).await?;
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes).await
                };
                let received = timeout(DEADLINE, download)
                    .await
                    .unwrap_or_else(|_| panic!("{mode:?}: {vip} stalls"))
                    .expect("it is downloaded");
                assert_eq!(received, DOWNLOAD, "{mode:?} {vip}");
            }
            // They did go through the node.
            let counted = |report: &v1::NodeReport| {
                report.counters.get("icmp-error").is_some_and(|n| *n >= 2)
            };
            eventually("errors counted", || controller.report_if(counted)).await;
            server.abort();
            agent.stop().await;
        });
    }
}
