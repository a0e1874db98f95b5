//! What services say of how their VIPs are announced, and what nodes get of it.

use lbfabric_proto::v1::announcement_spec::By;

use super::*;
use crate::{Announcement, Labels, snapshot::SnapshotBody};

fn announced(by: By, vip: &str, port: &str) -> v1::ServiceSpec {
    v1::ServiceSpec {
        announce: Some(v1::AnnouncementSpec {
            by: Some(by),
            nodes: vec![],
        }),
        ..service(&format!("s{port}"), vip, port, v1::Mode::L4Dsr, "web")
    }
}

fn bgp(med: u32, min_healthy_servers: u32) -> By {
    By::Bgp(v1::BgpRouteSpec {
        med: Some(med),
        min_healthy_servers,
        ..v1::BgpRouteSpec::default()
    })
}

fn lease() -> By {
    By::Lease(v1::LeaseSpec::default())
}

fn spec(services: Vec<v1::ServiceSpec>) -> v1::FabricSpec {
    v1::FabricSpec {
        services,
        ..fabric()
    }
}

fn mistakes(state: &FabricState, services: Vec<v1::ServiceSpec>) -> Vec<String> {
    let violations = state.violations(&spec(services), false);
    violations.into_iter().map(|it| it.path).collect()
}

#[test]
fn services_of_one_vip_say_the_same_or_nothing() {
    let empty = FabricState::default();
    let vip = "192.0.2.7";
    let silent = service("silent", vip, "1", v1::Mode::L4Dsr, "web");
    let alike = vec![
        announced(bgp(1, 0), vip, "2"),
        silent,
        announced(bgp(1, 2), vip, "3"),
    ];
    assert_eq!(mistakes(&empty, alike.clone()), Vec::<String>::new());
    for other in [bgp(2, 0), lease()] {
        let apart = vec![
            announced(bgp(1, 0), vip, "2"),
            announced(other.clone(), vip, "3"),
        ];
        assert_eq!(mistakes(&empty, apart), ["services[1].announce"]);
        let elsewhere = vec![
            announced(bgp(1, 0), vip, "2"),
            announced(other, "192.0.2.8", "3"),
        ];
        assert_eq!(mistakes(&empty, elsewhere), Vec::<String>::new());
    }
    // Whoever comes second is to change.
    let mut state = empty;
    let outcome = state.apply(Generation(1), &apply(&spec(alike)));
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    let first = vec![announced(lease(), vip, "10")];
    assert_eq!(mistakes(&state, first), ["services[0].announce"]);
}

#[test]
fn a_lease_is_of_an_address() {
    let empty = FabricState::default();
    let prefix = vec![announced(lease(), "192.0.2.0/29", "2")];
    assert_eq!(mistakes(&empty, prefix), ["services[0].announce.lease"]);
    let announced = vec![announced(bgp(1, 0), "192.0.2.0/29", "2")];
    assert_eq!(mistakes(&empty, announced), Vec::<String>::new());
}

#[test]
fn nodes_are_told_of_announcements_and_of_themselves() {
    let mut spec = spec(vec![announced(bgp(7, 1), "192.0.2.7", "80")]);
    spec.nodes[0].labels = vec!["rack=a".to_owned()];
    spec.nodes[0].drained = true;
    let mut state = loaded();
    state.apply(Generation(9), &apply(&spec));
    let facts = |name: &str| NodeFacts {
        name: name.to_owned(),
        role: Role::LoadBalancer,
        addresses: vec![],
    };
    let compiled = CompiledFabric::compile(&state, None);
    for (name, labels, is_drained) in [("n1", &["rack=a"] as &[&str], true), ("n2", &[], false)] {
        let objects = compiled.for_node(&facts(name)).objects;
        let objects = objects
            .values()
            .map(|it| SnapshotObject::decode(&it.bytes).unwrap());
        let objects: Vec<_> = objects.collect();
        let settings = objects.iter().find_map(|it| match &it.body {
            SnapshotBody::Settings(settings) => Some(settings),
            _ => None,
        });
        let settings = settings.unwrap();
        let labels: Vec<_> = labels.iter().map(|&it| it.to_owned()).collect();
        let labels = Labels::parse(&labels, "", &mut Vec::new());
        assert_eq!(
            (&settings.labels, settings.is_drained),
            (&labels, is_drained)
        );
        let service = objects.iter().find(|it| it.name == "s80").unwrap();
        let announcement = service.announcement.as_ref().map(Announcement::to_spec);
        assert_eq!(announcement, spec.services[0].announce);
    }
}
