//! `l4-dnat` where an answer does not tell the VIP, with real connections: a service with a prefix as its VIP, and one with two
//! VIPs of each family, end at one port of a server. Every packet on the client's and on the server's link has the addresses of the
//! mode.
//!
//! ```text
//! client ct0 10.77.0.2 ──── 10.77.0.1 lb1, node, lb0 10.88.0.1 ──── 10.88.0.2 sv0, server
//! ```

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
};

use lbfabric_node::{NodeConfig, Role};
use lbfabric_proto::v1;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    fixture::{Fixture, eventually},
    icmp_network::{attach, inside},
    namespace::Namespace,
    played_controller::PlayedController,
    prefix::{client_of, curl},
    specs,
};

/// Of the prefixes, and of the other service.
const TARGETS: [&str; 9] = [
    "203.0.113.0:80",
    "203.0.113.77:80",
    "203.0.113.127:80",
    "[2001:db8:99::]:80",
    "[2001:db8:99::ffff:1]:80",
    "192.0.2.10:80",
    "192.0.2.11:80",
    "[2001:db8:77::10]:80",
    "[2001:db8:77::11]:80",
];
const PORT: u16 = 8080;

fn spec() -> v1::FabricSpec {
    let service = |name: &str, vips: &[&str]| v1::ServiceSpec {
        name: name.to_owned(),
        vips: vips.iter().map(|it| (*it).to_owned()).collect(),
        ports: vec!["80".to_owned()],
        mode: v1::Mode::L4Dnat.into(),
        pool: "web".to_owned(),
        backend_port: PORT.into(),
        ..v1::ServiceSpec::default()
    };
    v1::FabricSpec {
        pools: vec![specs::pool()],
        services: vec![
            service("prefix", &["203.0.113.0/25", "2001:db8:99::/64"]),
            service(
                "two",
                &[
                    "192.0.2.10",
                    "192.0.2.11",
                    "2001:db8:77::10",
                    "2001:db8:77::11",
                ],
            ),
        ],
        ..v1::FabricSpec::default()
    }
}

/// Answers each request with its client, as the server sees it, and the address that it came to.
struct Server {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn of(namespace: &Namespace) -> Self {
        let listener = inside(namespace, || {
            TcpListener::bind(("::", PORT)).expect("the namespace's port is free")
        });
        let own = listener.try_clone().expect("another handle");
        let thread = thread::spawn(move || {
            while let Ok((stream, client)) = own.accept() {
                answer(stream, client.ip());
            }
        });
        Self {
            listener,
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the thread, which then accepts no more.
        let woken = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if woken.is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ended = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, client: IpAddr) {
    let _read = stream.read(&mut [0; 1024]);
    let server = stream.local_addr().expect("connected").ip();
    let body = [client, server].map(|it| it.to_canonical().to_string());
    let body = body.join(" ");
    let length = body.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let _written = stream.write_all(answer.as_bytes());
}

/// Takes down what a namespace's only link carries.
struct Capture(Socket);

impl Capture {
    fn of(namespace: &Namespace) -> Self {
        const EVERYTHING: u16 = 3;
        let protocol = Protocol::from(i32::from(EVERYTHING.to_be()));
        let socket = inside(namespace, || {
            Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).expect("a socket needs root")
        });
        socket.set_nonblocking(true).expect("set");
        Self(socket)
    }

    /// Source and destination of all TCP packets so far.
    fn pairs(&self) -> BTreeSet<(IpAddr, IpAddr)> {
        let (mut frame, mut pairs) = ([0; 2048], BTreeSet::new());
        while let Ok(length) = (&self.0).read(&mut frame) {
            pairs.extend(pair(&frame[..length]));
        }
        pairs
    }
}

fn pair(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    const TCP: u8 = 6;
    let ip = frame.get(14..)?;
    let at = |from: usize, length: usize| ip.get(from..from + length);
    match frame.get(12..14)? {
        [0x08, 0x00] if *ip.get(9)? == TCP => {
            let address = |from| Some(Ipv4Addr::from(<[u8; 4]>::try_from(at(from, 4)?).ok()?));
            Some((address(12)?.into(), address(16)?.into()))
        }
        [0x86, 0xdd] if *ip.get(6)? == TCP => {
            let address = |from| Some(Ipv6Addr::from(<[u8; 16]>::try_from(at(from, 16)?).ok()?));
            Some((address(8)?.into(), address(24)?.into()))
        }
        _ => None,
    }
}

/// The client's and the server's address of a target's family.
fn ends(target: &SocketAddr) -> [IpAddr; 2] {
    let ends = if target.is_ipv4() {
        ["10.77.0.2", "10.88.0.2"]
    } else {
        ["fd77::2", "fd88::2"]
    };
    ends.map(|it| it.parse().expect("an address"))
}

fn both_ways(one: IpAddr, other: IpAddr) -> [(IpAddr, IpAddr); 2] {
    [(one, other), (other, one)]
}

#[test]
fn row_23_prefixes_and_several_vips_at_one_port_of_a_server() {
    let fixture = Fixture::new();
    let client = client_of(&fixture);
    // What a program sends over a veth arrives only where a program is.
    let _passing = [(&client, "ct0"), (&fixture.peer, "sv0")].map(|(namespace, link)| {
        inside(namespace, || {
            attach("lbfabric_pass", link, &fixture.pin_dir)
        })
    });
    let _server = Server::of(&fixture.peer);
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec());
        let config = NodeConfig {
            interfaces: vec!["lb0".to_owned(), "lb1".to_owned()],
            ..fixture.config(Role::LoadBalancer, controller.address)
        };
        let agent = fixture.start(config).await;
        eventually("the first answer", || curl(&client, TARGETS[0])).await;
        let captures = [&client, &fixture.peer].map(Capture::of);
        let (mut at_client, mut at_server) = (BTreeSet::new(), BTreeSet::new());
        for target in TARGETS.into_iter().chain(TARGETS) {
            let answer = eventually(target, || curl(&client, target)).await;
            let target: SocketAddr = target.parse().expect("an address");
            let [from, to] = ends(&target);
            assert_eq!(answer, format!("{from} {to}"), "{target}");
            at_client.extend(both_ways(from, target.ip()));
            at_server.extend(both_ways(from, to));
        }
        assert_eq!(captures[0].pairs(), at_client);
        assert_eq!(captures[1].pairs(), at_server);
        let is_told = |report: &v1::NodeReport| {
            let count = |name: &str| report.counters.get(name).copied().unwrap_or_default();
            count("l4-dnat") > 0 && count("l4-dnat-answer") > 0 && report.refusals.is_empty()
        };
        eventually("packets in both directions", || {
            controller.report_if(is_told)
        })
        .await;
        agent.stop().await;
    });
}
