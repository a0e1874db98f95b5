//! Properties that reviewers of a layer-4 data plane try first, with real traffic. The numbers are those of the checklist.

use std::{
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use lbfabric_node::{Role, XdpModeChoice};
use lbfabric_proto::v1;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    fixture::{Fixture, eventually},
    load_balancer::{listen_in_peer, web},
    played_controller::PlayedController,
    traffic::{Conversation, Flood, aside, converse},
};

const VIP4: &str = "10.99.0.1:80";
const VIP6: &str = "[fd99::1]:80";

/// Full NAT over the peer, reported healthy, and its listener.
struct Scene {
    fixture: Fixture,
    listener: std::net::TcpListener,
}

impl Scene {
    fn new() -> Self {
        let fixture = Fixture::new();
        fixture.route_vips();
        let listener = listen_in_peer(&fixture);
        Self { fixture, listener }
    }

    /// Runs a test beside the agent, once the server is healthy in both families.
    fn run(&self, test: impl AsyncFnOnce(&Self, &mut PlayedController) + Send) {
        self.run_in(v1::Mode::L4Fullnat, test);
    }

    /// As [`Scene::run`], in another mode.
    fn run_in(&self, mode: v1::Mode, test: impl AsyncFnOnce(&Self, &mut PlayedController) + Send) {
        self.fixture.run(|| async {
            let mut controller = PlayedController::start().await;
            controller.apply(&web(mode));
            let mut config = self.fixture.config(Role::LoadBalancer, controller.address);
            // The peer has no program, so a native one could not send to it.
            config.xdp_mode = XdpModeChoice::Generic;
            config.keep_on_exit = false;
            let agent = self.fixture.start(config).await;
            let healthy =
                |report: &v1::NodeReport| report.backends.len() == 1 && report.backends[0].healthy;
            eventually("healthy", || controller.report_if(healthy)).await;
            test(self, &mut controller).await;
            agent.stop().await;
        });
    }

    /// A connection to the VIP in each family.
    async fn connections(&self) -> Vec<Conversation> {
        let mut conversations = Vec::new();
        for (vip, node) in [(VIP4, "10.88.0.1"), (VIP6, "fd88::1")] {
            let conversation = converse(&self.fixture.peer, &self.listener, vip).await;
            let conversation = conversation.unwrap_or_else(|error| panic!("{vip}: {error}"));
            let node: IpAddr = node.parse().expect("an address");
            assert_eq!(conversation.seen, node);
            conversations.push(conversation);
        }
        conversations
    }
}

fn counted(report: &v1::NodeReport, name: &str) -> u64 {
    report.counters.get(name).copied().unwrap_or(0)
}

/// What else the node is for goes on under load: neighbour discovery, its own services, routing protocols' multicast.
#[test]
fn row_18_the_nodes_own_traffic_is_untouched_under_load() {
    let scene = Scene::new();
    scene.run(async |scene, controller| {
        let node = std::net::TcpListener::bind("[::]:22").unwrap();
        let igmp = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(2))).unwrap();
        // Where hosts send their IGMPv3 reports, RFC 3376 section 4.2.14.
        let routers = Ipv4Addr::new(224, 0, 0, 22);
        igmp.join_multicast_v4(&routers, &Ipv4Addr::new(10, 88, 0, 1))
            .unwrap();
        igmp.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();

        let mut spec = web(v1::Mode::L4Fullnat);
        let mut load = spec.services[0].clone();
        (load.name, load.ports) = ("load".to_owned(), vec!["53".to_owned()]);
        load.set_protocol(v1::Protocol::Udp);
        spec.services.push(load);
        controller.apply(&spec);
        let forwarded =
            |least: u64| move |report: &v1::NodeReport| counted(report, "l4-fullnat") >= least;
        let _flood = Flood::start(&scene.fixture.peer, "10.99.0.1:53");
        let loaded = || controller.report_if(forwarded(10_000));
        let before = eventually("the load is forwarded", loaded).await;

        for to in ["10.88.0.1:22", "[fd88::1]:22"] {
            // Both have to ask for each other's link-layer address again.
            for (namespace, link) in [(&scene.fixture.node, "lb0"), (&scene.fixture.peer, "sv0")] {
                namespace.flush_neighbours(link);
            }
            let own = converse(&scene.fixture.peer, &node, to).await;
            assert!(own.is_ok(), "{to}: {:?}", own.err());
        }
        aside(&scene.fixture.peer, || {
            let socket = std::net::UdpSocket::bind("10.88.0.2:0").unwrap();
            let group = Ipv4Addr::new(239, 1, 2, 3);
            socket
                .join_multicast_v4(&group, &Ipv4Addr::new(10, 88, 0, 2))
                .unwrap();
        })
        .await;
        let heard = aside(&scene.fixture.node, move || {
            let mut igmp = igmp;
            let mut buffer = [0; 256];
            // The node's own reports come here as well.
            while igmp.read(&mut buffer)? == 0 || buffer[12..16] != [10, 88, 0, 2] {}
            io::Result::Ok(())
        })
        .await;
        assert!(heard.is_ok(), "the group's report: {:?}", heard.err());

        let least = counted(&before, "l4-fullnat") + 10_000;
        let loaded = || controller.report_if(forwarded(least));
        eventually("the load is still forwarded", loaded).await;
    });
}

/// A neighbour that the kernel forgets is still the servers' next hop: nothing is lost. One that was never resolved is asked
/// for at once, before any packet, and what comes too early is counted.
#[test]
fn row_20_an_unresolved_neighbour_is_asked_for_and_counted() {
    let scene = Scene::new();
    scene.run(async |scene, controller| {
        let Scene { fixture, listener } = scene;
        scene.connections().await;
        fixture.node.flush_neighbours("lb0");
        scene.connections().await;
        let report = controller.heard().report.unwrap_or_default();
        assert_eq!(counted(&report, "drop-next-hop-unresolved"), 0);

        // Without a check, a server that nobody has ever heard of gets its flows all the same.
        let mut spec = web(v1::Mode::L4Fullnat);
        spec.services[0].vips = vec!["10.99.0.1".to_owned()];
        spec.pools[0].health_check = None;
        spec.pools[0].backends[0].addresses = vec!["10.88.0.77".to_owned()];
        controller.apply(&spec);
        eventually("the kernel asks for it", || {
            let known = fixture.node.ip(&["neigh", "show", "10.88.0.77"]);
            (known.contains("INCOMPLETE") || known.contains("FAILED")).then_some(())
        })
        .await;
        let early = converse(&fixture.peer, listener, VIP4).await;
        assert!(early.is_err());
        let dropped = |report: &v1::NodeReport| counted(report, "drop-next-hop-unresolved") > 0;
        eventually("the drop", || controller.report_if(dropped)).await;

        fixture
            .peer
            .ip(&["addr", "add", "10.88.0.77/24", "dev", "sv0"]);
        eventually("resolved", || {
            let backend =
                (0..4).find_map(|id| fixture.backend(id).filter(|it| it.ipv4 == [10, 88, 0, 77]));
            backend.filter(|it| it.hop4.is_resolved()).map(|_| ())
        })
        .await;
        let open = converse(&fixture.peer, listener, VIP4).await;
        assert!(open.is_ok(), "{:?}", open.err());
    });
}

/// Established connections go on when the server's link-layer address changes, and when the way to it does.
#[test]
fn row_21_a_next_hop_may_change_under_connections() {
    let scene = Scene::new();
    scene.run(async |scene, _controller| {
        let Scene { fixture, .. } = scene;
        let mut conversations = scene.connections().await;
        let peer = &fixture.peer;
        peer.ip(&["link", "set", "sv0", "address", "02:00:00:00:88:02"]);
        conversations = talk(fixture, conversations).await;
        assert_eq!(fixture.peer_mac(), [2, 0, 0, 0, 0x88, 2]);

        // Another router: the peer's second address on a link of its own.
        fixture.node.ip(&[
            "link", "add", "lb1", "type", "veth", "peer", "name", "sv1", "netns", &peer.name,
        ]);
        for (namespace, link, host) in [(&fixture.node, "lb1", 1), (peer, "sv1", 2)] {
            namespace.ip(&["addr", "add", &format!("10.89.0.{host}/24"), "dev", link]);
            namespace.ip(&[
                "addr",
                "add",
                &format!("fd89::{host}/64"),
                "dev",
                link,
                "nodad",
            ]);
            namespace.ip(&["link", "set", link, "up"]);
        }
        fixture
            .node
            .ip(&["route", "add", "10.88.0.2/32", "via", "10.89.0.2"]);
        fixture
            .node
            .ip(&["-6", "route", "add", "fd88::2/128", "via", "fd89::2"]);
        let index = fixture.ifindex("lb1");
        eventually("the way over the other link", || {
            let backend = fixture.backend(0)?;
            (backend.hop4.ifindex == index && backend.hop6.ifindex == index).then_some(())
        })
        .await;
        talk(fixture, conversations).await;
    });
}

/// The only server of a VIP asks for that VIP, and gets the answer of itself, which sees the node: by full NAT neither the way there
/// nor the way back is a packet from the server to the server. Destination NAT leaves it to full NAT.
#[test]
fn row_24_a_server_is_a_client_of_its_own_vip() {
    for mode in [v1::Mode::L4Fullnat, v1::Mode::L4Dnat] {
        is_client_of_itself(mode);
    }
}

fn is_client_of_itself(mode: v1::Mode) {
    let scene = Scene::new();
    scene.run_in(mode, async |scene, controller| {
        for (conversation, own) in scene
            .connections()
            .await
            .iter()
            .zip(["10.88.0.2", "fd88::2"])
        {
            let own: IpAddr = own.parse().expect("an address");
            assert_eq!(
                conversation.client(),
                own,
                "the server itself is the client"
            );
        }
        let both_ways = |report: &v1::NodeReport| {
            counted(report, "l4-fullnat") > 0 && counted(report, "l4-fullnat-answer") > 0
        };
        eventually("counted both ways", || controller.report_if(both_ways)).await;
        let subnet = scene
            .fixture
            .backend(0)
            .map(|it| (it.host_bits4, it.host_bits6));
        assert_eq!(subnet, Some((8, 64)), "as the node's own addresses say");
    });
}

/// Neither the node's checks nor what it forwards needs a loose reverse-path filter.
#[test]
fn row_48_strict_reverse_path_filters_are_no_obstacle() {
    let scene = Scene::new();
    for (namespace, link) in [(&scene.fixture.node, "lb0"), (&scene.fixture.peer, "sv0")] {
        for name in ["all", link] {
            let setting = format!("net/ipv4/conf/{name}/rp_filter");
            Fixture::write_setting(namespace, &setting, "1");
        }
    }
    scene.run(async |scene, _controller| {
        scene.connections().await;
    });
}

/// Has every conversation exchange words once more.
async fn talk(fixture: &Fixture, conversations: Vec<Conversation>) -> Vec<Conversation> {
    aside(&fixture.peer, move || {
        for conversation in &conversations {
            let spoken = conversation.talk();
            assert!(spoken.is_ok(), "{}: {:?}", conversation.seen, spoken.err());
        }
        conversations
    })
    .await
}
