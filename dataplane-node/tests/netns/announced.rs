//! What a router learns of the node's VIPs by BGP, and when it is taken back: bird in the peer's namespace.

use lbfabric_node::{NodeAgent, Role};
use lbfabric_proto::v1::{self, announcement_spec::By};
use tokio::net::TcpListener;

use crate::{
    bird::Bird,
    fixture::{Fixture, eventually, until},
    played_controller::PlayedController,
    specs::{pool, probed_pool},
};

const VIP: &str = "203.0.113.10";
pub(crate) const ROUTE: &str = "203.0.113.10/32";
const ROUTE6: &str = "2001:db8:10::10/128";
/// bird's words for the community of RFC 8326.
const LEAVING: &str = "(65535,0)";

/// The router, who waits for the node.
pub(crate) fn router(fixture: &Fixture, more: &str) -> Bird {
    let protocols = format!(
        "protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
         protocol bfd {{ interface \"sv0\" {{ interval 50 ms; multiplier 3; }}; }}
         protocol bgp lb1 {{ local 10.88.0.2 as 65020; neighbor 10.88.0.1 as 65010; passive on; {more}
           error wait time 1, 2;
           ipv4 {{ import all; export none; }}; ipv6 {{ import all; export none; }}; }}"
    );
    Bird::start(&fixture.peer, &protocols)
}

pub(crate) fn node() -> v1::NodeSpec {
    v1::NodeSpec {
        name: "lb1".to_owned(),
        bgp: Some(v1::BgpSpec {
            asn: 65_010,
            router_id: "10.88.0.1".to_owned(),
            neighbors: vec![v1::BgpNeighborSpec {
                name: "router".to_owned(),
                address: "10.88.0.2".to_owned(),
                asn: 65_020,
                ..v1::BgpNeighborSpec::default()
            }],
            drain_secs: 2,
            ..v1::BgpSpec::default()
        }),
        ..v1::NodeSpec::default()
    }
}

pub(crate) fn service(min_healthy_servers: u32) -> v1::ServiceSpec {
    v1::ServiceSpec {
        name: "shop".to_owned(),
        vips: vec![VIP.to_owned(), "2001:db8:10::10".to_owned()],
        ports: vec!["80".to_owned()],
        mode: v1::Mode::L4Dsr.into(),
        pool: "web".to_owned(),
        announce: Some(v1::AnnouncementSpec {
            by: Some(By::Bgp(v1::BgpRouteSpec {
                communities: vec!["65010:7".to_owned()],
                med: Some(5),
                min_healthy_servers,
                ..v1::BgpRouteSpec::default()
            })),
            nodes: vec![],
        }),
        ..v1::ServiceSpec::default()
    }
}

pub(crate) fn fabric(
    node: v1::NodeSpec,
    pool: v1::PoolSpec,
    services: Vec<v1::ServiceSpec>,
) -> v1::FabricSpec {
    v1::FabricSpec {
        pools: vec![pool],
        services,
        nodes: vec![node],
        ..v1::FabricSpec::default()
    }
}

/// Waits until the router has a route whose description has all of these.
pub(crate) async fn until_route(bird: &Bird, prefix: &str, with: &[&str]) {
    let what = format!("{prefix} with {with:?}");
    eventually(&what, || {
        let route = bird.route(prefix);
        let is_there = !route.is_empty() && with.iter().all(|part| route.contains(part));
        is_there.then_some(())
    })
    .await;
}

pub(crate) async fn until_no_route(bird: &Bird, prefix: &str) {
    let what = format!("no {prefix}");
    eventually(&what, || bird.route(prefix).is_empty().then_some(())).await;
}

/// A node that announces the service whatever its servers do.
pub(crate) async fn announcing(fixture: &Fixture) -> (PlayedController, NodeAgent) {
    let mut controller = PlayedController::start().await;
    controller.apply(&fabric(node(), pool(), vec![service(0)]));
    let config = fixture.config(Role::LoadBalancer, controller.address);
    let agent = fixture.start(config).await;
    (controller, agent)
}

#[test]
fn a_vip_is_announced_once_it_is_applied_and_withdrawn_with_its_service() {
    let fixture = Fixture::new();
    let bird = router(&fixture, "");
    fixture.run(|| async {
        let (mut controller, agent) = announcing(&fixture).await;
        until_route(&bird, ROUTE, &["via 10.88.0.1", "BGP.med: 5", "(65010,7)"]).await;
        until_route(&bird, ROUTE6, &["via fd88::1", "(65010,7)"]).await;
        let status = eventually("the session is reported", || {
            let report = controller.heard().report?;
            let status = report.bgp?;
            let up = v1::BgpSessionState::Established;
            let is_up = status.neighbors.first().is_some_and(|it| it.state() == up);
            is_up.then_some(status)
        })
        .await;
        assert_eq!((status.announced_vips, status.withheld_vips), (2, 0));
        controller.apply(&fabric(node(), pool(), vec![]));
        until_no_route(&bird, ROUTE).await;
        until_no_route(&bird, ROUTE6).await;
        agent.stop().await;
        assert!(bird.ask("show protocols lb1").contains("Passive"));
    });
}

/// A session over IPv4 on the second link: VIPs of IPv6 are announced with that link's address, not with the first one's. The router's default
/// routes are taken in, as the node asks for them, and are in no table of its kernel's.
#[test]
fn routes_lead_to_the_link_of_the_session() {
    let fixture = Fixture::new();
    let Fixture {
        node: of_node,
        peer,
        ..
    } = &fixture;
    of_node.ip(&[
        "link", "add", "lb1", "type", "veth", "peer", "name", "sv1", "netns", &peer.name,
    ]);
    for (namespace, link, host) in [(of_node, "lb1", 1), (peer, "sv1", 2)] {
        for address in [format!("10.89.0.{host}/24"), format!("fd89::{host}/64")] {
            namespace.ip(&["addr", "add", &address, "dev", link, "nodad"]);
        }
        namespace.ip(&["link", "set", link, "up"]);
    }
    // The router gives it as a next hop once it may use it.
    until("the router's link has an address of its own", || {
        let text = peer.ip(&["-6", "addr", "show", "dev", "sv1", "scope", "link"]);
        (text.contains("fe80::") && !text.contains("tentative")).then_some(())
    });
    let protocols = "protocol static { ipv4; route 0.0.0.0/0 unreachable; }
         protocol static { ipv6; route ::/0 unreachable; }
         protocol bgp lb1 { local 10.89.0.2 as 65020; neighbor 10.89.0.1 as 65010; passive on;
           ipv4 { import all; export where net = 0.0.0.0/0; };
           ipv6 { import all; export where net = ::/0; next hop address fd89::2; }; }";
    let bird = Bird::start(peer, protocols);
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let mut spec = node();
        let bgp = spec.bgp.as_mut().expect("it speaks BGP");
        bgp.neighbors[0].address = "10.89.0.2".to_owned();
        bgp.neighbors[0].import_default = true;
        controller.apply(&fabric(spec, pool(), vec![service(0)]));
        let mut config = fixture.config(Role::LoadBalancer, controller.address);
        config.interfaces.push("lb1".to_owned());
        let agent = fixture.start(config).await;
        until_route(&bird, ROUTE, &["via 10.89.0.1 on sv1"]).await;
        until_route(&bird, ROUTE6, &["via fd89::1 on sv1"]).await;
        let mut id = 0;
        let defaults = loop {
            id += 1;
            let about = v1::speaker_question::About::Neighbors(v1::NeighborsQuestion {});
            let mut answer = ask(&controller, id, about).await;
            let neighbor = answer.neighbors.pop().expect("there is one");
            if neighbor.default_routes.len() == 2 || id == 100 {
                break neighbor.default_routes;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        };
        let seen = defaults.iter().map(|it| (&*it.prefix, it.path_length));
        assert_eq!(seen.collect::<Vec<_>>(), [("0.0.0.0/0", 1), ("::/0", 1)]);
        assert_eq!(defaults[0].next_hop, "10.89.0.2");
        // Of two next hops that of the link counts (RFC 2545).
        let of_ipv6 = &defaults[1].next_hop;
        assert!(of_ipv6.starts_with("fe80::"), "{of_ipv6}");
        for family in ["-4", "-6"] {
            assert_eq!(of_node.ip(&[family, "route", "show", "default"]), "");
        }
        agent.stop().await;
    });
}

#[test]
fn a_vip_goes_with_its_last_healthy_server_if_the_service_says_so() {
    let fixture = Fixture::new();
    let bird = router(&fixture, "");
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let indifferent = v1::ServiceSpec {
            name: "indifferent".to_owned(),
            vips: vec!["203.0.113.11".to_owned()],
            ..service(0)
        };
        let services = vec![service(1), indifferent];
        controller.apply(&fabric(node(), probed_pool(), services));
        let agent = fixture
            .start(fixture.config(Role::LoadBalancer, controller.address))
            .await;
        // Nobody listens at the server yet.
        until_route(&bird, "203.0.113.11/32", &[]).await;
        assert_eq!(bird.route(ROUTE), "");
        let server = serve(&fixture);
        until_route(&bird, ROUTE, &[]).await;
        drop(server);
        until_no_route(&bird, ROUTE).await;
        let why = ask_vip(&controller, 1).await;
        let expected = "service `shop` has 0 healthy servers and needs 1";
        assert_eq!(
            (why.is_announced, &why.reasons[..]),
            (false, &[expected.to_owned()][..])
        );
        assert_ne!(bird.route("203.0.113.11/32"), "");
        agent.stop().await;
    });
}

#[test]
fn a_drained_node_says_that_it_leaves_before_it_does() {
    let fixture = Fixture::new();
    let bird = router(&fixture, "");
    fixture.run(|| async {
        let (mut controller, agent) = announcing(&fixture).await;
        until_route(&bird, ROUTE, &[]).await;
        let mut drained = node();
        drained.drained = true;
        controller.apply(&fabric(drained, pool(), vec![service(0)]));
        until_route(&bird, ROUTE, &[LEAVING]).await;
        until_no_route(&bird, ROUTE).await;
        let why = ask_vip(&controller, 1).await;
        assert_eq!(why.reasons, ["the node is drained"]);
        controller.apply(&fabric(node(), pool(), vec![service(0)]));
        until_route(&bird, ROUTE, &[]).await;
        assert!(!bird.route(ROUTE).contains(LEAVING));
        agent.stop().await;
    });
}

/// Something at port 80 of the server, in both families.
fn serve(fixture: &Fixture) -> Vec<TcpListener> {
    let listen = |address: &str| {
        let listener = std::net::TcpListener::bind(address).expect("the port is free");
        listener.set_nonblocking(true).expect("it can be");
        listener
    };
    let listeners = fixture
        .peer
        .within(|| ["10.88.0.2:80", "[fd88::2]:80"].map(listen));
    let adopt = |listener| TcpListener::from_std(listener).expect("the runtime takes it");
    listeners.map(adopt).into()
}

/// What the node makes of the VIP.
pub(crate) async fn ask_vip(controller: &PlayedController, id: u64) -> v1::VipAnnouncement {
    let about = v1::speaker_question::About::Vip(v1::VipQuestion {
        vip: VIP.to_owned(),
    });
    let answer = ask(controller, id, about).await;
    answer.vip.expect("a service has the VIP")
}

async fn ask(
    controller: &PlayedController,
    id: u64,
    about: v1::speaker_question::About,
) -> v1::SpeakerAnswer {
    let question = v1::SpeakerQuestion { about: Some(about) };
    controller.say(v1::sync_response::Message::Speaker(v1::SpeakerQuery {
        id,
        question: Some(question),
    }));
    let outcome = eventually("the node answers", || {
        let spoken = controller.heard().spoken;
        spoken.into_iter().find(|it| it.id == id)?.outcome
    })
    .await;
    match outcome {
        v1::speaker_reply::Outcome::Answer(answer) => answer,
        v1::speaker_reply::Outcome::Error(reason) => panic!("{reason}"),
    }
}
