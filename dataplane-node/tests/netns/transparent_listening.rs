//! Layer-7 services whose VIPs are configured nowhere: whole prefixes and any port, over a router that has a route for them to the node.
//!
//! ```text
//! client 10.77.0.2 ──── 10.77.0.1 router 10.66.0.1 ──── 10.66.0.2 node 10.88.0.1 ──── 10.88.0.2 server
//! ```

use std::{
    collections::BTreeSet,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use lbfabric_node::{NodeAgent, Role};
use lbfabric_proto::v1;
use tokio::task::spawn_blocking;

use crate::{
    fixture::{DEADLINE, Fixture, attached, eventually},
    icmp::eventually_pinged,
    l7_reverse::vips_of,
    namespace::Namespace,
    played_controller::PlayedController,
    prefix::{curl, curl_in},
    specs,
    transparent_site::{self, CLIENTS, Conversation},
};

const PROGRAM: &str = "lbfabric_steer";
/// The kernel lists programs of all namespaces.
pub(crate) static ALONE: Mutex<()> = Mutex::new(());

pub(crate) struct Site {
    pub(crate) fixture: Fixture,
    pub(crate) client: Namespace,
    pub(crate) router: Namespace,
}

impl Site {
    pub(crate) fn new() -> Self {
        let fixture = Fixture::new();
        let (client, router) = (Namespace::new("c"), Namespace::new("r"));
        for (link, peer, (near, host), (far, other)) in [
            ("rt0", "ct0", (&router, "77::1"), (&client, "77::2")),
            ("rt1", "up0", (&router, "66::1"), (&fixture.node, "66::2")),
        ] {
            router.ip(&[
                "link", "add", link, "type", "veth", "peer", "name", peer, "netns", &far.name,
            ]);
            for (namespace, link, address) in [(near, link, host), (far, peer, other)] {
                let (net, host) = address.split_once("::").expect("network and host");
                let v4 = format!("10.{net}.0.{host}/24");
                let v6 = format!("fd{net}::{host}/64");
                namespace.ip(&["addr", "add", &v4, "dev", link]);
                namespace.ip(&["addr", "add", &v6, "dev", link, "nodad"]);
                namespace.ip(&["link", "set", link, "up"]);
            }
        }
        for (namespace, to, via) in [
            (&client, "default", "77::1"),
            (&fixture.node, "10.77.0.0/24 fd77::/64", "66::1"),
            (&router, "10.96.0.0/12 fd99::/32", "66::2"),
            (&router, "11.0.0.0/8 fd98::/16", "66::2"),
        ] {
            let (net, host) = via.split_once("::").expect("network and host");
            let mut to = to.split(' ');
            let v4 = to.next().expect("a route");
            namespace.ip(&["route", "add", v4, "via", &format!("10.{net}.0.{host}")]);
            let v6 = to.next().unwrap_or(v4);
            let via = format!("fd{net}::{host}");
            namespace.ip(&["-6", "route", "add", v6, "via", &via]);
        }
        for family in ["ipv4", "ipv6"] {
            Fixture::write_setting(&router, &format!("net/{family}/conf/all/forwarding"), "1");
        }
        Self {
            fixture,
            client,
            router,
        }
    }

    async fn start(&self, controller: &PlayedController) -> NodeAgent {
        let config = self.fixture.config(Role::LoadBalancer, controller.address);
        let agent = self.fixture.start(config).await;
        eventually("the services", || {
            controller.report_if(|it| attached(it) && it.refusals.is_empty())
        })
        .await;
        agent
    }

    /// What a client gets from there, as soon as it gets something.
    pub(crate) async fn ask(&self, target: &str) -> String {
        let begun = Instant::now();
        loop {
            let (client, to) = (self.client.name.clone(), target.to_owned());
            // The agent and its controller run on this thread: it must not wait for clients.
            let got = spawn_blocking(move || curl_in(&client, &to)).await;
            if let Some(answer) = got.expect("curl runs") {
                return answer;
            }
            assert!(begun.elapsed() < DEADLINE, "no answer from {target}");
        }
    }

    /// What comes back from there for a datagram, as soon as something does.
    pub(crate) async fn say(&self, target: &str) -> String {
        let to: SocketAddr = target.parse().expect("an address and a port");
        let begun = Instant::now();
        loop {
            let socket = self.client.within(|| {
                let any: IpAddr = match to.ip() {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                // Connected, it hears nobody else.
                let socket = UdpSocket::bind((any, 0)).expect("a port");
                socket.connect(to).map(|()| socket).expect("a way there")
            });
            let answer = spawn_blocking(move || {
                socket.set_read_timeout(Some(Duration::from_secs(1)))?;
                socket.send(b"said")?;
                let mut answer = [0; 64];
                let length = socket.recv(&mut answer)?;
                io::Result::Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
            });
            if let Ok(answer) = answer.await.expect("no panic") {
                return answer;
            }
            assert!(begun.elapsed() < DEADLINE, "no answer from {target}");
        }
    }

    /// What an agent may have put there.
    fn machine(&self) -> BTreeSet<String> {
        let node = &self.fixture.node;
        let mut lines = BTreeSet::new();
        for family in ["-4", "-6"] {
            let routes = node.ip(&[family, "route", "list", "table", "all"]);
            let routes = routes.lines().filter(|it| !it.contains("proto kernel"));
            lines.extend(routes.map(str::to_owned));
            let rules = node.ip(&[family, "rule", "list"]);
            lines.extend(rules.lines().map(str::to_owned));
        }
        lines
    }
}

/// Answers every request at a port of the server with a word.
pub(crate) fn serve(site: &Site, address: &str, word: &'static str) {
    let listener = site.fixture.peer.within(|| TcpListener::bind(address));
    let listener = listener.expect("the port is free");
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut head = [0; 4096];
                while client.read(&mut head).is_ok_and(|read| read > 0) {
                    let length = word.len();
                    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{word}");
                    if client.write_all(text.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Answers every datagram at a port of the server with a word.
pub(crate) fn answer(site: &Site, address: &str, word: &'static str) {
    let socket = site.fixture.peer.within(|| UdpSocket::bind(address));
    let socket = socket.expect("the port is free");
    thread::spawn(move || -> io::Result<()> {
        loop {
            let (_, from) = socket.recv_from(&mut [0; 64])?;
            socket.send_to(word.as_bytes(), from)?;
        }
    });
}

pub(crate) fn service(name: &str, vips: &[&str], port: &str, to: u32) -> v1::ServiceSpec {
    v1::ServiceSpec {
        name: name.to_owned(),
        vips: vips.iter().map(|it| (*it).to_owned()).collect(),
        ports: vec![port.to_owned()],
        mode: v1::Mode::L7Reverse.into(),
        pool: "web".to_owned(),
        backend_port: to,
        ..v1::ServiceSpec::default()
    }
}

pub(crate) fn transparent(service: v1::ServiceSpec) -> v1::ServiceSpec {
    let proxy = v1::ProxySpec {
        listening: v1::Listening::Transparent.into(),
        ..v1::ProxySpec::default()
    };
    v1::ServiceSpec {
        proxy: Some(proxy),
        ..service
    }
}

pub(crate) fn datagrams(name: &str, vips: &[&str], port: &str, to: u32) -> v1::ServiceSpec {
    v1::ServiceSpec {
        protocol: v1::Protocol::Udp.into(),
        ..transparent(service(name, vips, port, to))
    }
}

fn spec() -> v1::FabricSpec {
    v1::FabricSpec {
        pools: vec![specs::pool()],
        services: vec![
            transparent(service("all", &["10.99.0.0/16", "fd99::/32"], "any", 80)),
            transparent(service("wide", &["11.0.0.0/8", "fd98::/16"], "any", 80)),
            transparent(service("part", &["10.99.8.0/24"], "8080", 81)),
            service("listens", &["10.99.7.7"], "80", 82),
            datagrams("dns", &["10.99.0.0/16", "fd99::/32"], "53", 5301),
            datagrams("other", &["10.99.8.0/24"], "53-54", 5302),
        ],
        ..v1::FabricSpec::default()
    }
}

pub(crate) fn programs() -> usize {
    let all = aya::programs::loaded_programs().filter_map(Result::ok);
    all.filter(|it| it.name_as_str() == Some(PROGRAM)).count()
}

#[test]
fn whole_prefixes_and_any_port_are_served_and_nothing_stays_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let site = Site::new();
    for (address, word) in [
        ("10.88.0.2:80", "all4"),
        ("[fd88::2]:80", "all6"),
        ("10.88.0.2:81", "part"),
        ("10.88.0.2:82", "listens"),
    ] {
        serve(&site, address, word);
    }
    for (address, word) in [
        ("10.88.0.2:5301", "dns4"),
        ("[fd88::2]:5301", "dns6"),
        ("10.88.0.2:5302", "other"),
    ] {
        answer(&site, address, word);
    }
    site.fixture.run(|| async {
        let before = site.machine();
        let mut controller = PlayedController::start().await;
        controller.apply(&spec());
        let mut agent = site.start(&controller).await;
        for again in [false, true] {
            for (target, word) in [
                ("10.99.1.2:8080", "all4"),
                ("10.99.0.0:80", "all4"),
                ("10.99.255.255:65535", "all4"),
                ("[fd99::1]:443", "all6"),
                ("[fd99:0:ffff::9]:7", "all6"),
                ("11.255.255.254:1", "all4"),
                ("[fd98:ffff::9]:1", "all6"),
                // The longer prefix that has the port.
                ("10.99.8.1:8080", "part"),
                ("10.99.8.1:8081", "all4"),
                // What a service listens at by itself, inside of the prefix.
                ("10.99.7.7:80", "listens"),
                ("10.99.7.7:81", "all4"),
            ] {
                assert_eq!(site.ask(target).await, word, "{target}");
            }
            for (target, word) in [
                ("10.99.0.0:53", "dns4"),
                ("10.99.255.255:53", "dns4"),
                ("[fd99:0:ffff::9]:53", "dns6"),
                ("10.99.8.1:53", "other"),
                ("10.99.8.255:54", "other"),
            ] {
                assert_eq!(site.say(target).await, word, "{target}");
            }
            for address in ["10.99.3.4", "fd99:0:1::5"] {
                eventually_pinged(&site.client, address).await;
            }
            assert_eq!(
                vips_of(&site.fixture.node),
                ["10.99.7.7/32".to_owned()].into()
            );
            if again {
                break;
            }
            // Without tidying up, as a crash would.
            drop(agent);
            controller.forget_agent();
            agent = site.start(&controller).await;
        }
        let steered =
            |it: &v1::NodeReport| it.counters.get("engine-steered").is_some_and(|it| *it > 6);
        eventually("counters", || controller.report_if(steered)).await;
        let lost = |it: &v1::NodeReport| it.counters.get("engine-no-socket") != Some(&0);
        assert!(controller.report_if(lost).is_none());

        // The prefix is another one.
        let mut other = spec();
        other.services[0].vips = vec!["10.98.0.0/16".to_owned()];
        let named = |name: &str| other.services.iter().position(|it| it.name == name);
        let dns = named("dns").expect("it is one of them");
        other.services[dns].vips = vec!["10.98.0.0/16".to_owned()];
        controller.apply(&other);
        assert_eq!(site.ask("10.98.1.1:9").await, "all4");
        assert_eq!(site.say("10.98.1.1:53").await, "dns4");
        assert_eq!(site.say("10.99.8.1:53").await, "other");
        let refused = || curl(&site.client, "10.99.1.2:8080").is_none().then_some(());
        eventually("nobody at the old one", refused).await;
        assert_eq!(site.ask("10.99.8.1:8080").await, "part");
        agent.stop().await;
        assert_eq!(site.machine(), before);
        eventually("no program", || (programs() == 0).then_some(())).await;
    });
}

#[test]
fn servers_see_clients_of_a_whole_prefix() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let site = transparent_site::Site::new();
    site.fixture.run(|| async {
        let before = site.machine();
        let mut controller = PlayedController::start().await;
        let all = v1::ServiceSpec {
            mode: v1::Mode::L7Transparent.into(),
            ..transparent(service("all", &["10.99.0.0/16", "fd99::/32"], "any", 80))
        };
        controller.apply(&v1::FabricSpec {
            pools: vec![specs::probed_pool()],
            services: vec![all],
            ..v1::FabricSpec::default()
        });
        let config = site.fixture.config(Role::LoadBalancer, controller.address);
        let agent = site.fixture.start(config).await;
        eventually("the service", || {
            controller.report_if(transparent_site::is_applied)
        })
        .await;
        for (vips, at) in [
            (["10.99.0.0:80", "10.99.255.7:8080"], 0),
            (["[fd99::]:443", "[fd99:0:ffff::7]:80"], 1),
        ] {
            for (vip, client) in vips.into_iter().zip(CLIENTS) {
                let conversation = || -> io::Result<_> {
                    let mut client = Conversation::open(client[at], vip)?;
                    Ok((client.address(), client.ask()?.1, client.ask()?.1))
                };
                let (own, first, second) = site.clients.within(conversation).expect("answers");
                assert_eq!([first, second], [own; 2], "{vip}");
            }
        }
        assert_eq!(vips_of(&site.fixture.node), BTreeSet::new());
        agent.stop().await;
        assert_eq!(site.machine(), before);
    });
}

#[test]
fn a_prefix_around_the_nodes_own_network_is_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let site = Site::new();
    serve(&site, "10.88.0.2:80", "all4");
    site.fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let mut wide = spec();
        wide.services[0].vips = vec!["10.66.0.0/16".to_owned()];
        controller.apply(&wide);
        let config = site.fixture.config(Role::LoadBalancer, controller.address);
        let agent = site.fixture.start(config).await;
        let refusal = |it: &v1::NodeReport| it.refusals.len() == 1;
        let report = eventually("a refusal", || controller.report_if(refusal)).await;
        let reason = &report.refusals[0].reason;
        assert!(
            reason.starts_with("VIP 10.66.0.0/16 has this node's own network 10.66.0.0/24 in it"),
            "{reason}"
        );
        agent.stop().await;
    });
}

/// The process's memory in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    number.expect("a number")
}

/// No two of them lie together, so that each needs an entry and a route of its own.
#[test]
#[expect(clippy::print_stdout, reason = "figures for whoever asks for them")]
fn a_hundred_thousand_vips_on_a_node_with_one_address() {
    const SERVICES: u32 = 1_563;
    const VIPS: u32 = 64;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let site = Site::new();
    serve(&site, "10.88.0.2:80", "all4");
    let vip = |number: u32| {
        let [_, b, c, d] = (2 * number).to_be_bytes();
        format!("10.{}.{c}.{d}", 100 + b)
    };
    let services = (0..SERVICES).map(|number| {
        let vips: Vec<String> = (0..VIPS).map(|it| vip(VIPS * number + it)).collect();
        let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
        transparent(service(&format!("s{number}"), &vips, "80", 80))
    });
    let spec = v1::FabricSpec {
        pools: vec![specs::pool()],
        services: services.collect(),
        ..v1::FabricSpec::default()
    };
    site.fixture.run(|| async {
        let before = site.machine();
        let mut controller = PlayedController::start().await;
        let agent = site.start(&controller).await;
        controller.apply(&spec);
        let (begun, memory_before) = (Instant::now(), memory());
        let last = vip(SERVICES * VIPS - 1) + ":80";
        assert_eq!(site.ask(&last).await, "all4");
        let took = begun.elapsed();
        let grown = memory().saturating_sub(memory_before) / 1024;
        println!(
            "{} VIPs of {SERVICES} services: {took:?} until the last one answers, {grown} MiB more in the process, the played controller's included",
            SERVICES * VIPS
        );
        assert!(took < DEADLINE);
        assert_eq!(vips_of(&site.fixture.node), BTreeSet::new());
        agent.stop().await;
        assert_eq!(site.machine(), before);
    });
}
