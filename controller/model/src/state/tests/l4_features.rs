//! What the fields of layer 4 allow, together with each other and with other services.

use super::*;
use crate::{PortRange, Ports, snapshot::NodeService};

/// The paths of all mistakes of services on the pool of [`fabric`].
fn mistakes(services: Vec<v1::ServiceSpec>) -> Vec<String> {
    let spec = v1::FabricSpec {
        services,
        ..fabric()
    };
    let violations = FabricState::default().violations(&spec, false);
    violations.into_iter().map(|v| v.path).collect()
}

fn dsr(name: &str, vip: &str, port: &str) -> v1::ServiceSpec {
    service(name, vip, port, v1::Mode::L4Dsr, "web")
}

fn any_protocol(name: &str, vip: &str) -> v1::ServiceSpec {
    v1::ServiceSpec {
        protocol: v1::Protocol::Any.into(),
        ..dsr(name, vip, "any")
    }
}

#[test]
fn nested_prefixes_go_to_different_services_and_equal_ones_do_not() {
    let nested = vec![
        dsr("a", "198.51.100.0/24", "80"),
        dsr("b", "198.51.100.0/25", "80"),
        dsr("c", "198.51.100.7", "80"),
        dsr("d", "198.51.100.0/24", "81"),
    ];
    assert_eq!(mistakes(nested), Vec::<String>::new());
    let equal = vec![
        dsr("a", "198.51.100.0/24", "80"),
        dsr("b", "198.51.100.0/24", "any"),
        dsr("c", "198.51.100.7/32", "80"),
        dsr("d", "198.51.100.7", "80"),
    ];
    assert_eq!(
        mistakes(equal),
        ["services[0].vips[0]", "services[3].vips[0]"]
    );
}

#[test]
fn a_port_that_is_told_of_clients_belongs_to_services_that_tell() {
    let telling = |name: &str, port: &str| v1::ServiceSpec {
        client_address_option: true,
        ..service(name, "198.51.100.1", port, v1::Mode::L4Fullnat, "web")
    };
    let other = |port: &str, mode| v1::ServiceSpec {
        backend_port: 80,
        ..service("other", "198.51.100.2", port, mode, "web")
    };
    let (dnat, fullnat) = (v1::Mode::L4Dnat, v1::Mode::L4Fullnat);
    for mode in [dnat, fullnat] {
        let shared = mistakes(vec![telling("a", "80"), other("81", mode)]);
        assert_eq!(shared, ["services[0].client_address_option"]);
    }
    let mut udp = other("81", fullnat);
    udp.set_protocol(v1::Protocol::Udp);
    let direct = dsr("d", "198.51.100.3", "80");
    let apart = vec![telling("a", "80-81"), telling("b", "82"), udp, direct];
    assert_eq!(mistakes(apart), Vec::<String>::new());

    // Whichever comes last is where it is told, also a pool that brings the server.
    let mut state = FabricState::default();
    let mut spec = fabric();
    spec.services = vec![telling("a", "80")];
    actions(&state.apply(Generation(1), &apply(&spec)));
    spec.services = vec![other("81", fullnat)];
    let (_, paths) = refusal(state.apply(Generation(2), &apply(&spec)));
    assert_eq!(paths, ["services[0].pool"]);
    let mut apart = pool("apart", vec![backend("x", &["192.0.2.77"])]);
    spec.pools.push(apart.clone());
    spec.services[0].pool = "apart".to_owned();
    actions(&state.apply(Generation(3), &apply(&spec)));
    apart.backends = spec.pools[0].backends.clone();
    let change = v1::FabricSpec {
        pools: vec![apart],
        ..v1::FabricSpec::default()
    };
    let (_, paths) = refusal(state.apply(Generation(4), &apply(&change)));
    assert_eq!(paths, ["pools[0].backends"]);
}

#[test]
fn prefixes_lie_within_one_another_only_as_deep_as_packets_look() {
    let nested = |bits: &[u8]| -> Vec<_> {
        let services = (0..).zip(bits).map(|(n, bits)| {
            let name = format!("{}", char::from(b'a' + n));
            dsr(&name, &format!("198.51.0.0/{bits}"), "80")
        });
        services.collect()
    };
    assert_eq!(mistakes(nested(&[16, 18, 20, 22])), Vec::<String>::new());
    // A single address is no level, and neither is one that lies beside.
    let mut beside = nested(&[16, 18, 20, 22]);
    beside.push(dsr("x", "198.51.0.1", "80"));
    beside.push(dsr("y", "198.51.4.0/24", "80"));
    assert_eq!(mistakes(beside), Vec::<String>::new());
    let deep = mistakes(nested(&[16, 24, 18, 20, 22]));
    assert_eq!(deep, ["services[1].vips[0]"]);

    // One that comes to those that are there is told of, wherever it lies among them.
    let mut state = FabricState::default();
    let spec = |services| v1::FabricSpec {
        services,
        ..fabric()
    };
    actions(&state.apply(Generation(1), &apply(&spec(nested(&[18, 20, 22, 24])))));
    let wide = spec(vec![dsr("wide", "198.51.0.0/16", "80")]);
    let (kind, paths) = refusal(state.apply(Generation(2), &apply(&wide)));
    assert_eq!(
        (kind, paths),
        (RefusalKind::Invalid, vec!["services[0].vips[0]".into()])
    );
}

#[test]
fn the_same_vip_may_have_every_protocol_once_and_others_beside_it() {
    let tcp = dsr("b", "198.51.100.7", "any");
    let beside = vec![any_protocol("a", "198.51.100.7"), tcp.clone()];
    assert_eq!(mistakes(beside), Vec::<String>::new());
    let twice = vec![
        any_protocol("a", "198.51.100.7"),
        tcp,
        any_protocol("c", "198.51.100.7"),
    ];
    assert_eq!(mistakes(twice), ["services[2].vips[0]"]);
}

#[test]
fn a_server_in_a_vip_prefix_is_refused() {
    assert_eq!(
        mistakes(vec![dsr("a", "10.0.0.0/24", "80")]),
        [
            "pools[0].backends[0].addresses",
            "pools[0].backends[1].addresses"
        ]
    );
}

#[test]
fn every_option_that_does_not_fit_is_told() {
    let any = v1::ServiceSpec {
        mode: v1::Mode::L4Dnat.into(),
        ports: vec!["80".into()],
        affinity: v1::Affinity::QuicCid.into(),
        clamp_mss: true,
        client_address_option: true,
        limits: Some(v1::LimitsSpec {
            new_flows_per_second: 1,
            ..Default::default()
        }),
        tunnel: Some(v1::TunnelSpec::default()),
        ..any_protocol("a", "198.51.100.7")
    };
    assert_eq!(
        mistakes(vec![any]),
        [
            "services[0].ports",
            "services[0].protocol",
            "services[0].limits",
            "services[0].affinity",
            "services[0].clamp_mss",
            "services[0].client_address_option",
            "services[0].tunnel",
            "services[0].client_address_option",
        ]
    );
    let udp = v1::ServiceSpec {
        protocol: v1::Protocol::Udp.into(),
        clamp_mss: true,
        backend_port: 8080,
        ..service("b", "198.51.100.7", "any", v1::Mode::L4Fullnat, "web")
    };
    assert_eq!(
        mistakes(vec![udp]),
        ["services[0].clamp_mss", "services[0].backend_port"]
    );
}

#[test]
fn quic_servers_are_told_apart_by_their_ids() {
    let mut spec = fabric();
    spec.services = vec![v1::ServiceSpec {
        protocol: v1::Protocol::Udp.into(),
        affinity: v1::Affinity::QuicCid.into(),
        ..dsr("quic", "198.51.100.7", "443")
    }];
    let mut paths = |ids: [&str; 2]| -> Vec<String> {
        for (backend, id) in spec.pools[0].backends.iter_mut().zip(ids) {
            backend.quic_server_id = id.into();
        }
        let violations = FabricState::default().violations(&spec, false);
        violations.into_iter().map(|v| v.path).collect()
    };
    let at = |i| vec![format!("pools[0].backends[{i}].quic_server_id")];
    assert_eq!(paths(["0a", "0b"]), Vec::<String>::new());
    assert_eq!(paths(["0a", ""]), at(1));
    assert_eq!(paths(["0a", "0A"]), at(1));
    assert_eq!(paths(["0a", "0b0b"]), at(1));
    assert_eq!(paths(["a", "0b"]), at(0));
}

#[test]
fn a_pool_that_is_there_already_has_to_fit_a_quic_service() {
    let mut spec = fabric();
    spec.pools.clear();
    spec.services = vec![v1::ServiceSpec {
        protocol: v1::Protocol::Udp.into(),
        affinity: v1::Affinity::QuicCid.into(),
        ..dsr("quic", "198.51.100.7", "443")
    }];
    let violations = loaded().violations(&spec, false);
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0].path, "services[0].affinity");
}

/// The services that nodes get, by name.
fn compiled(fabric: &CompiledFabric) -> BTreeMap<String, NodeService> {
    let snapshot = fabric.for_node(&NodeFacts {
        name: "n1".into(),
        role: Role::LoadBalancer,
        addresses: vec![],
    });
    let objects = snapshot.objects.values();
    objects
        .filter_map(|object| {
            let object = SnapshotObject::decode(&object.bytes).unwrap();
            match object.body {
                SnapshotBody::Service(service) => Some((object.name, service)),
                _ => None,
            }
        })
        .collect()
}

fn dnat(name: &str, vip: &str, port: &str) -> v1::ServiceSpec {
    service(name, vip, port, v1::Mode::L4Dnat, "web")
}

#[test]
fn destination_nat_needs_exact_state_where_an_answer_does_not_tell_the_vip() {
    let several = v1::ServiceSpec {
        vips: vec!["192.0.2.1".into(), "192.0.2.2".into()],
        ..dnat("several", "192.0.2.1", "1")
    };
    let both_families = v1::ServiceSpec {
        vips: vec!["192.0.2.1".into(), "2001:db8::9".into()],
        ..dnat("families", "192.0.2.1", "2")
    };
    let moved = v1::ServiceSpec {
        backend_port: 8080,
        ..dnat("moved", "192.0.2.9", "7")
    };
    let spec = v1::FabricSpec {
        services: vec![
            several,
            both_families,
            dnat("prefix", "198.51.100.0/24", "3"),
            dnat("low", "192.0.2.5", "10-20"),
            dnat("middle", "192.0.2.6", "15-40"),
            dnat("high", "192.0.2.7", "30-50"),
            dnat("apart", "192.0.2.8", "51"),
            // Over IPv6 the same servers are others.
            dnat("v6", "2001:db8::7", "51"),
            v1::ServiceSpec {
                protocol: v1::Protocol::Udp.into(),
                ..dnat("udp", "192.0.2.10", "51")
            },
            moved,
            service("fullnat", "192.0.2.11", "8080", v1::Mode::L4Fullnat, "web"),
        ],
        ..fabric()
    };
    let mut state = loaded();
    actions(&state.apply(Generation(6), &apply_with(&spec, true, None)));
    let first = CompiledFabric::compile(&state, None);
    let exact = |fabric: &CompiledFabric| -> Vec<String> {
        let services = compiled(fabric).into_iter();
        services
            .filter(|(_, s)| s.exact_state)
            .map(|(name, _)| name)
            .collect()
    };
    assert_eq!(
        exact(&first),
        ["high", "low", "middle", "prefix", "several"]
    );
    // Without the one in the middle, the others on either side are as they were, and their objects follow.
    actions(&state.apply(Generation(7), &delete(&[(v1::Kind::Service, "middle")])));
    let second = CompiledFabric::compile(&state, Some(&first));
    assert_eq!(exact(&second), ["prefix", "several"]);
}

#[test]
fn nodes_get_every_option() {
    let full = v1::ServiceSpec {
        vips: vec!["198.51.100.0/24".into(), "2001:db8:9::/48".into()],
        limits: Some(v1::LimitsSpec {
            new_flows_per_second: 1000,
            source_new_flows_per_second: 10,
            source_new_flow_burst: 20,
            ..Default::default()
        }),
        allow_sources: vec!["10.0.0.0/8".into()],
        deny_sources: vec!["10.9.0.0/16".into(), "::/0".into()],
        clamp_mss: true,
        tunnel: Some(v1::TunnelSpec {
            encapsulation: v1::Encapsulation::Gue.into(),
            ..Default::default()
        }),
        ..service("full", "198.51.100.0/24", "any", v1::Mode::L4Tunnel, "web")
    };
    let spec = v1::FabricSpec {
        services: vec![full],
        ..fabric()
    };
    let mut state = loaded();
    actions(&state.apply(Generation(6), &apply_with(&spec, true, None)));
    let fabric = CompiledFabric::compile(&state, None);
    let service = compiled(&fabric).remove("full").unwrap();
    assert_eq!(service.vips[0].to_string(), "198.51.100.0/24");
    assert_eq!(service.ports, Ports::Any);
    assert_eq!(service.tunnel.unwrap().gue_port.unwrap().get(), 6080);
    assert_eq!(service.limits.new_flows.unwrap().burst.get(), 1000);
    assert_eq!(service.source_rules.len(), 3);
    assert!(service.clamp_mss && !service.exact_state);
    let snapshot = fabric.for_node(&NodeFacts {
        name: "s".into(),
        role: Role::Server,
        addresses: vec!["10.0.0.1".parse().unwrap()],
    });
    let object = snapshot.objects.into_values().next().unwrap();
    let SnapshotBody::ServerVips(server) = SnapshotObject::decode(&object.bytes).unwrap().body
    else {
        panic!("a server gets its VIPs")
    };
    assert_eq!(server.vips, service.vips);
    assert_eq!(server.gue_ports[0].get(), 6080);
}

/// A server that has to believe nobody gets no node's address either.
#[test]
fn servers_know_which_nodes_tell_them_clients_and_where() {
    let fullnat = |name: &str, vip: &str, ports: &[&str]| v1::ServiceSpec {
        ports: ports.iter().map(|port| (*port).to_owned()).collect(),
        client_address_option: true,
        ..service(name, vip, "1", v1::Mode::L4Fullnat, "web")
    };
    let told = |services: Vec<v1::ServiceSpec>| {
        let spec = v1::FabricSpec {
            services,
            nodes: vec![
                v1::NodeSpec {
                    name: "lb1".to_owned(),
                    source_addresses: vec!["192.0.2.1".to_owned(), "2001:db8::1".to_owned()],
                    ..v1::NodeSpec::default()
                },
                v1::NodeSpec {
                    name: "lb2".to_owned(),
                    source_addresses: vec!["192.0.2.2".to_owned()],
                    ..v1::NodeSpec::default()
                },
            ],
            ..fabric()
        };
        let mut state = loaded();
        actions(&state.apply(Generation(6), &apply_with(&spec, true, None)));
        let snapshot = CompiledFabric::compile(&state, None).for_node(&NodeFacts {
            name: "s".into(),
            role: Role::Server,
            addresses: vec!["10.0.0.1".parse().unwrap()],
        });
        let object = snapshot.objects.into_values().next().unwrap();
        let SnapshotBody::ServerVips(server) = SnapshotObject::decode(&object.bytes).unwrap().body
        else {
            panic!("a server gets what it takes in")
        };
        assert_eq!(server.vips, []);
        let nodes = server.client_address_nodes.iter().map(ToString::to_string);
        (nodes.collect::<Vec<_>>(), server.client_address_ports)
    };
    // The first one is of the node that was there before.
    let all = ["10.0.0.9", "192.0.2.1", "192.0.2.2", "2001:db8::1"].map(str::to_owned);
    let range = |first, last| PortRange::new(first, last).unwrap();

    let mut silent = fullnat("a", "198.51.100.1", &["80"]);
    silent.client_address_option = false;
    assert_eq!(told(vec![silent.clone()]), (vec![], None));
    let mut mapped = fullnat("b", "198.51.100.2", &["443"]);
    mapped.backend_port = 8443;
    let several = fullnat("c", "198.51.100.3", &["81", "90-99"]);
    let ranges = vec![range(81, 81), range(90, 99), range(8443, 8443)];
    assert_eq!(
        told(vec![silent, mapped.clone(), several]),
        (all.to_vec(), Some(Ports::Ranges(ranges)))
    );
    let any = fullnat("d", "198.51.100.4", &["any"]);
    assert_eq!(told(vec![mapped, any]), (all.to_vec(), Some(Ports::Any)));
}
