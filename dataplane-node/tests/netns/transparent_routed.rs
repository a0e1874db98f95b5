//! Whole prefixes that are configured nowhere, and that a router learns of from the node: bird, with a kernel that forwards by it.

use std::sync::PoisonError;

use lbfabric_node::{NodeConfig, Role, XdpModeChoice};
use lbfabric_proto::v1::{self, announcement_spec::By};

use crate::{
    bird::Bird,
    fixture::{Fixture, eventually},
    icmp::eventually_pinged,
    namespace::run,
    played_controller::PlayedController,
    prefix::curl,
    specs,
    transparent_listening::{ALONE, Site, answer, datagrams, serve, service, transparent},
};

const ROUTER: &str = "
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
protocol bgp lb1 { local 10.66.0.1 as 65020; neighbor 10.66.0.2 as 65010; passive on;
  ipv4 { import all; export none; }; ipv6 { import all; export none; }; }";

fn announced(service: v1::ServiceSpec) -> v1::ServiceSpec {
    v1::ServiceSpec {
        announce: Some(v1::AnnouncementSpec {
            by: Some(By::Bgp(v1::BgpRouteSpec::default())),
            nodes: Vec::new(),
        }),
        ..service
    }
}

fn spec(services: Vec<v1::ServiceSpec>) -> v1::FabricSpec {
    let neighbor = v1::BgpNeighborSpec {
        name: "router".to_owned(),
        address: "10.66.0.1".to_owned(),
        asn: 65_020,
        next_hops: vec!["10.66.0.2".to_owned(), "fd66::2".to_owned()],
        ..v1::BgpNeighborSpec::default()
    };
    let bgp = v1::BgpSpec {
        asn: 65_010,
        router_id: "10.66.0.2".to_owned(),
        neighbors: vec![neighbor],
        ..v1::BgpSpec::default()
    };
    v1::FabricSpec {
        pools: vec![specs::probed_pool()],
        services: services.into_iter().map(announced).collect(),
        nodes: vec![v1::NodeSpec {
            name: "lb1".to_owned(),
            bgp: Some(bgp),
            ..v1::NodeSpec::default()
        }],
        ..v1::FabricSpec::default()
    }
}

fn services() -> Vec<v1::ServiceSpec> {
    let of_packets = v1::ServiceSpec {
        mode: v1::Mode::L4Fullnat.into(),
        backend_port: 0,
        ..service("packets", &["203.0.113.0/24", "2001:db8:7::/48"], "any", 0)
    };
    vec![
        transparent(service(
            "all",
            &["198.18.0.0/15", "2001:db8:8::/48"],
            "any",
            80,
        )),
        datagrams("dns", &["198.18.0.0/15"], "53", 5301),
        of_packets,
    ]
}

#[test]
fn clients_come_to_prefixes_that_a_router_has_learned() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let site = Site::new();
    for (namespace, link) in [(&site.client, "ct0"), (&site.fixture.peer, "sv0")] {
        let inside = format!("--net=/var/run/netns/{}", namespace.name);
        run("nsenter", &[&inside, "ethtool", "-K", link, "tx", "off"]);
    }
    for family in ["ipv4", "ipv6"] {
        // What layer 4 looks routes up by.
        let setting = format!("net/{family}/conf/all/forwarding");
        Fixture::write_setting(&site.fixture.node, &setting, "1");
    }
    for (address, word) in [("10.88.0.2:80", "web4"), ("[fd88::2]:80", "web6")] {
        serve(&site, address, word);
    }
    answer(&site, "10.88.0.2:5301", "dns4");
    let bird = Bird::start(&site.router, ROUTER);
    site.fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec(services()));
        let config = NodeConfig {
            interfaces: vec!["lb0".to_owned(), "up0".to_owned()],
            xdp_mode: XdpModeChoice::Generic,
            ..site.fixture.config(Role::LoadBalancer, controller.address)
        };
        let agent = site.fixture.start(config).await;
        for (target, word) in [
            ("198.18.0.0:80", "web4"),
            ("198.19.255.255:8443", "web4"),
            ("[2001:db8:8:ffff::1]:443", "web6"),
            ("203.0.113.255:80", "web4"),
            ("[2001:db8:7::]:80", "web6"),
        ] {
            assert_eq!(site.ask(target).await, word, "{target}");
        }
        assert_eq!(site.say("198.19.7.7:53").await, "dns4");
        for vip in [
            "198.18.99.1",
            "2001:db8:8::99",
            "203.0.113.99",
            "2001:db8:7::99",
        ] {
            eventually_pinged(&site.client, vip).await;
        }
        // As many routes as prefixes.
        let routes = bird.ask("show route protocol lb1");
        let prefixes = [
            "198.18.0.0/15",
            "203.0.113.0/24",
            "2001:db8:7::/48",
            "2001:db8:8::/48",
        ];
        assert_eq!(
            routes.matches("unicast").count(),
            prefixes.len(),
            "{routes}"
        );
        assert!(prefixes.iter().all(|it| routes.contains(it)), "{routes}");

        let mut left = services();
        left.truncate(2);
        controller.apply(&spec(left));
        let is_gone = || bird.route("203.0.113.0/24").is_empty().then_some(());
        eventually("no route", is_gone).await;
        assert_eq!(curl(&site.client, "203.0.113.255:80"), None);
        assert_eq!(site.ask("198.18.0.1:81").await, "web4");
        agent.stop().await;
    });
}
