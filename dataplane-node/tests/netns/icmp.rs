//! ICMP as clients and servers meet it: their kernels send and take the messages, through a router and the node.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use lbfabric_proto::v1;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
    sockopt::{Ipv4RecvErr, Ipv6RecvErr},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    time::timeout,
};

use crate::{
    fixture::{DEADLINE, eventually},
    icmp_network::{DOWNLOAD, Network, VIPS, attach, collect, inside, upload},
    namespace::Namespace,
};

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
            // The node has to find out first; until then, replies come within milliseconds.
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

/// Pings an address from a namespace until it answers.
pub(crate) async fn eventually_pinged(client: &Namespace, address: &str) {
    let vip: IpAddr = address.parse().expect("an address");
    let socket = client.within(|| {
        let (domain, protocol) = if vip.is_ipv4() {
            (Domain::IPV4, Protocol::ICMPV4)
        } else {
            (Domain::IPV6, Protocol::ICMPV6)
        };
        Socket::new(domain, Type::RAW, Some(protocol)).expect("the tests run as root")
    });
    socket.set_nonblocking(true).expect("set");
    let socket = UdpSocket::from(socket);
    eventually("an echo", || ping(&socket, vip).then_some(())).await;
}

/// Sends an echo request and takes what has come back so far; whether there was a reply.
pub(crate) fn ping(socket: &UdpSocket, vip: IpAddr) -> bool {
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

/// The link to the server takes less than the client sends, and less again by the outer headers: the client is told.
#[test]
fn row_07_an_upload_through_a_tunnel_completes() {
    for encapsulation in [v1::Encapsulation::Ipip, v1::Encapsulation::Gue] {
        let told = upload_over_narrow_link(v1::Mode::L4Tunnel, |service| {
            service.tunnel = Some(v1::TunnelSpec {
                encapsulation: encapsulation.into(),
                ..v1::TunnelSpec::default()
            });
        });
        assert!(told >= 2, "{encapsulation:?}: {told} messages");
    }
}

/// As above, where the server's SYN-ACK comes through the node: with `clamp_mss` the client sends no more to begin with.
#[test]
fn row_07_row_08_an_upload_with_clamped_mss_meets_no_limit() {
    for mode in [v1::Mode::L4Dnat, v1::Mode::L4Fullnat] {
        for clamps in [false, true] {
            let told = upload_over_narrow_link(mode, |service| {
                // UDP has no MSS.
                service.clamp_mss = clamps && service.protocol() == v1::Protocol::Tcp;
            });
            assert_eq!(told == 0, clamps, "{mode:?}: {told} messages");
        }
    }
}

/// Uploads to both VIPs over a link of 1400 bytes; how often the client was told that a packet is too big.
fn upload_over_narrow_link(mode: v1::Mode, change: impl Fn(&mut v1::ServiceSpec) + Send) -> u64 {
    let network = Network::new();
    let Network { fixture, .. } = &network;
    fixture.node.ip(&["link", "set", "lb0", "mtu", "1400"]);
    let _unpacking = (mode == v1::Mode::L4Tunnel).then(|| {
        for vip in VIPS {
            fixture.peer.ip(&["addr", "add", vip, "dev", "lo"]);
        }
        inside(&fixture.peer, || {
            attach("lbfabric_server", "sv0", &fixture.pin_dir)
        })
    });
    let mut told = 0;
    fixture.run(|| async {
        let server = collect(&fixture.peer);
        let (controller, agent) = network.serve_as(mode, change).await;
        for vip in VIPS {
            let vip: IpAddr = vip.parse().expect("an address");
            let socket = network.socket(vip, Type::STREAM, Protocol::TCP);
            let socket = TcpSocket::from_std_stream(socket.into());
            let upload = async {
                let mut stream = socket.connect(SocketAddr::new(vip, 80)).await?;
                stream.write_all(&vec![0x5a; DOWNLOAD]).await?;
                stream.shutdown().await?;
                stream.read_u64().await
            };
            let received = timeout(DEADLINE, upload)
                .await
                .unwrap_or_else(|_| panic!("{mode:?} {vip} stalls"))
                .expect("it is uploaded");
            assert_eq!(received, DOWNLOAD as u64, "{mode:?} {vip}");
        }
        let counter = |report: &v1::NodeReport, name| report.counters.get(name).copied();
        let verdict = match mode {
            v1::Mode::L4Dnat => "l4-dnat",
            v1::Mode::L4Fullnat => "l4-fullnat",
            _ => "l4-tunnel",
        };
        // Both uploads in full packets.
        let all = 2 * DOWNLOAD as u64 / 1400;
        let report = eventually("packets counted", || {
            controller.report_if(|it| counter(it, verdict).is_some_and(|n| n >= all))
        })
        .await;
        told = counter(&report, "icmp-too-big").unwrap_or(0);
        server.abort();
        agent.stop().await;
    });
    told
}
