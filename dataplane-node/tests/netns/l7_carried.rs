//! What the engine relays as it comes: TCP, TLS that servers end, and datagrams.

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

use lbfabric_node::Role;
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, attached, eventually},
    l7_clients::curl,
    l7_reverse::{VIPS, certificate},
    l7_served::{document, served, service},
    namespace::Namespace,
    nginx::Nginx,
    played_controller::PlayedController,
    specs,
};

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn connections_carry_what_they_like() {
    let fixture = Fixture::new();
    fixture.route_vips();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (web_cert, web_file) = certificate("web.example", folder.path());
    let (own_cert, own_file) = certificate("own.example", folder.path());
    let directives = "
        server {
            listen 10.88.0.2:80; listen [fd88::2]:80;
            location / { return 200 \"$remote_addr|$http_x_forwarded_for|$server_protocol\\n\"; }
        }
        server {
            listen 10.88.0.2:443 ssl http2; listen [fd88::2]:443 ssl http2;
            ssl_certificate chain.pem; ssl_certificate_key key.pem;
            location / { return 200 \"$remote_addr|$ssl_server_name|$server_protocol\\n\"; }
        }";
    let files = [("chain.pem", &*own_cert.chain), ("key.pem", &*own_cert.key)];
    let listens = ["10.88.0.2:80", "[fd88::2]:443"];
    let _nginx = Nginx::start(&fixture.peer, directives, &files, &listens);

    let carrying = |carries: v1::Carries, tls: Option<&str>| v1::ProxySpec {
        carries: carries.into(),
        tls: tls.map(|name| v1::TlsSpec {
            certificates: vec![name.to_owned()],
            ..v1::TlsSpec::default()
        }),
        ..v1::ProxySpec::default()
    };
    let mut spec = document(vec![
        service("clear", "81", 80, carrying(v1::Carries::Tcp, None)),
        service("ended", "8443", 80, carrying(v1::Carries::Tcp, Some("web"))),
        service(
            "passed",
            "443",
            443,
            carrying(v1::Carries::TlsPassthrough, None),
        ),
    ]);
    spec.certificates = vec![web_cert];
    fixture.run(|| async {
        let (controller, agent) = served(&fixture, &spec).await;
        let ask = |vip: &str, port: &str, url: &str, file: &std::path::Path| {
            let host = vip.strip_suffix(":80").expect("a VIP and a port");
            let to = format!("::{host}:{port}");
            let file = file.to_str().expect("the path is UTF-8");
            curl(
                &fixture.peer,
                &["--http2", "--connect-to", &to, "--cacert", file, url],
            )
        };
        for (vip, node) in VIPS.into_iter().zip(["10.88.0.1", "fd88::1"]) {
            assert_eq!(
                ask(vip, "81", "http://web.example/", &web_file),
                Ok(format!("{node}||HTTP/1.1\nHTTP/1.1"))
            );
            assert_eq!(
                ask(vip, "8443", "https://web.example/", &web_file),
                Ok(format!("{node}||HTTP/1.1\nHTTP/1.1"))
            );
            assert_eq!(
                ask(vip, "443", "https://own.example/", &own_file),
                Ok(format!("{node}|own.example|HTTP/2.0\nHTTP/2"))
            );
        }
        let counts = |report: &v1::NodeReport| {
            let services = report.services.iter().filter_map(|it| it.proxy.clone());
            let connections: Vec<_> = services.map(|it| (it.connections, it.requests)).collect();
            (connections == [(2, 0); 3]).then_some(())
        };
        eventually("the counters", || counts(&controller.heard().report?)).await;
        agent.stop().await;
    });
}

/// Answers each datagram with the server's own address and the port that it came from, for as long as the process lives.
fn echo_in(namespace: &Namespace, address: &str) {
    let address: SocketAddr = address.parse().expect("an address and a port");
    let socket = namespace.within(|| UdpSocket::bind(address).expect("the port is free"));
    thread::spawn(move || -> io::Result<()> {
        loop {
            let mut datagram = [0; 64];
            let (_, from) = socket.recv_from(&mut datagram)?;
            let answer = format!("{} {}", address.ip(), from.port());
            // Nobody may be there any more.
            let _sent = socket.send_to(answer.as_bytes(), from);
        }
    });
}

/// Clients of the service at a VIP, each with a port of its own.
fn clients(namespace: &Namespace, vip: &str, count: usize) -> Vec<UdpSocket> {
    let vip: SocketAddr = vip.parse().expect("an address and a port");
    let any = if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let client = || {
        let client = UdpSocket::bind(any).expect("a port");
        client.connect(vip).expect("a way there");
        let timeout = Some(Duration::from_millis(200));
        client.set_read_timeout(timeout).expect("a timeout");
        client
    };
    namespace.within(|| (0..count).map(|_| client()).collect())
}

/// What a client is answered, sooner or later.
fn ask(client: &UdpSocket) -> String {
    let begun = std::time::Instant::now();
    loop {
        // What was said of an earlier one may be reported here.
        let _sent = client.send(b"ask");
        let mut answer = [0; 64];
        if let Ok(length) = client.recv(&mut answer) {
            return String::from_utf8_lossy(&answer[..length]).into_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "no answer");
    }
}

fn ask_all(clients: &[UdpSocket]) -> Vec<String> {
    clients.iter().map(ask).collect()
}

/// The servers that answers are from.
fn servers(answers: &[String]) -> BTreeSet<&str> {
    answers
        .iter()
        .filter_map(|answer| answer.split(' ').next())
        .collect()
}

#[test]
fn datagrams_keep_their_server_until_it_goes() {
    let fixture = Fixture::new();
    fixture.route_vips();
    for address in ["10.88.0.3/24", "fd88::3/64"] {
        fixture
            .peer
            .ip(&["addr", "add", address, "dev", "sv0", "nodad"]);
    }
    for server in [
        "10.88.0.2:53",
        "10.88.0.3:53",
        "[fd88::2]:53",
        "[fd88::3]:53",
    ] {
        echo_in(&fixture.peer, server);
    }
    let mut dns = service("dns", "80", 53, v1::ProxySpec::default());
    dns.protocol = v1::Protocol::Udp.into();
    let mut spec = v1::FabricSpec {
        pools: vec![specs::pool()],
        services: vec![dns],
        ..v1::FabricSpec::default()
    };
    let mut other = spec.pools[0].backends[0].clone();
    other.name = "s2".to_owned();
    other.addresses = vec!["10.88.0.3".to_owned(), "fd88::3".to_owned()];
    spec.pools[0].backends.push(other);
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec);
        let agent = fixture
            .start(fixture.config(Role::LoadBalancer, controller.address))
            .await;
        let is_there = |report: &v1::NodeReport| {
            attached(report) && report.refusals.is_empty() && report.applied_generation > 2
        };
        eventually("the service", || controller.report_if(is_there)).await;
        for (vip, both) in VIPS
            .into_iter()
            .zip([["10.88.0.2", "10.88.0.3"], ["fd88::2", "fd88::3"]])
        {
            let clients = clients(&fixture.peer, vip, 16);
            let first = ask_all(&clients);
            assert_eq!(servers(&first), both.into());
            assert_eq!(ask_all(&clients), first, "the same sessions");
        }
        let sessions = |report: &v1::NodeReport| {
            let traffic = report.services.first().and_then(|it| it.proxy.clone());
            traffic.is_some_and(|it| it.connections == 32)
        };
        eventually("the counters", || controller.report_if(sessions)).await;

        // A server that is drained keeps its sessions; one that goes gives them to the others.
        let old = clients(&fixture.peer, VIPS[0], 16);
        let first = ask_all(&old);
        spec.pools[0].backends[1].weight = Some(0);
        controller.apply(&spec);
        let is_drained = || {
            let new = ask_all(&clients(&fixture.peer, VIPS[0], 4));
            (servers(&new) == ["10.88.0.2"].into()).then_some(())
        };
        eventually("no new session at a drained server", is_drained).await;
        assert_eq!(ask_all(&old), first);
        spec.pools[0].backends.pop();
        controller.apply(&spec);
        let has_moved = || (servers(&ask_all(&old)) == ["10.88.0.2"].into()).then_some(());
        eventually("no session with a server that is gone", has_moved).await;
        let kept = first.iter().zip(ask_all(&old)).filter(|(a, b)| *a == b);
        let stayed = first.iter().filter(|it| it.starts_with("10.88.0.2 "));
        assert_eq!(kept.count(), stayed.count());
        agent.stop().await;
    });
}
