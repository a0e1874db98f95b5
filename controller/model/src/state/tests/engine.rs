//! Services of the layer-7 engine among others.

use super::*;

fn mistakes(services: Vec<v1::ServiceSpec>) -> Vec<String> {
    let spec = v1::FabricSpec {
        services,
        ..fabric()
    };
    let violations = FabricState::default().violations(&spec, false);
    violations.into_iter().map(|v| v.path).collect()
}

fn engine(name: &str, vip: &str, port: &str) -> v1::ServiceSpec {
    service(name, vip, port, v1::Mode::L7Reverse, "web")
}

fn packets(name: &str, vip: &str, port: &str) -> v1::ServiceSpec {
    service(name, vip, port, v1::Mode::L4Dsr, "web")
}

#[test]
fn what_the_engine_listens_at_is_in_no_other_vip() {
    for (vip, port, protocol) in [
        ("198.51.100.0/24", "any", v1::Protocol::Tcp),
        ("198.51.100.0/24", "1-80", v1::Protocol::Tcp),
        ("198.51.100.7", "any", v1::Protocol::Any),
        ("198.0.0.0/8", "any", v1::Protocol::Any),
    ] {
        let other = v1::ServiceSpec {
            protocol: protocol.into(),
            ..packets("p", vip, port)
        };
        let both = vec![engine("e", "198.51.100.7", "80"), other];
        assert_eq!(mistakes(both), ["services[0].vips[0]"], "{vip} {port}");
    }
    // Of one and the same endpoint it is told once.
    let same = vec![
        engine("e", "198.51.100.7", "80"),
        packets("p", "198.51.100.7", "80"),
    ];
    assert_eq!(mistakes(same), ["services[1].vips[0]"]);
    let apart = vec![
        engine("e", "198.51.100.7", "80"),
        engine("f", "198.51.100.7", "81"),
        packets("p", "198.51.100.7", "443"),
        packets("q", "198.51.100.0/24", "81-90"),
        v1::ServiceSpec {
            protocol: v1::Protocol::Udp.into(),
            ..packets("u", "198.51.100.0/24", "any")
        },
    ];
    assert_eq!(mistakes(apart), ["services[1].vips[0]"]);
}

#[test]
fn a_layer_4_service_that_would_take_the_engines_packets_later_is_refused() {
    let mut state = FabricState::default();
    let first = v1::FabricSpec {
        services: vec![engine("e", "198.51.100.7", "80")],
        ..fabric()
    };
    let outcome = state.apply(Generation(5), &apply(&first));
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    let later = v1::FabricSpec {
        services: vec![packets("p", "198.51.100.0/24", "any")],
        ..v1::FabricSpec::default()
    };
    let violations = state.violations(&later, false);
    let paths: Vec<_> = violations.iter().map(|v| v.path.as_str()).collect();
    assert_eq!(paths, ["services[0].vips"]);
}

#[test]
fn options_of_packets_are_refused() {
    let limits = v1::LimitsSpec {
        new_flows_per_second: 1,
        ..v1::LimitsSpec::default()
    };
    let wrong = v1::ServiceSpec {
        vips: vec!["198.51.100.0/24".to_owned()],
        protocol: v1::Protocol::Any.into(),
        affinity: v1::Affinity::Source.into(),
        tunnel: Some(v1::TunnelSpec::default()),
        clamp_mss: true,
        client_address_option: true,
        limits: Some(limits),
        allow_sources: vec!["192.0.2.0/24".to_owned()],
        deny_sources: vec!["192.0.2.7".to_owned()],
        ..engine("e", "198.51.100.7", "any")
    };
    let fields = [
        "protocol",
        "vips[0]",
        "ports",
        "affinity",
        "tunnel",
        "clamp_mss",
        "client_address_option",
        "limits",
        "allow_sources",
        "deny_sources",
    ];
    let paths = fields.map(|field| format!("services[0].{field}"));
    assert_eq!(mistakes(vec![wrong]), paths);
    let many = engine("e", "198.51.100.7", "1-1025");
    assert_eq!(mistakes(vec![many]), ["services[0].ports"]);
    let proxy = v1::ServiceSpec {
        proxy: Some(v1::ProxySpec::default()),
        ..packets("p", "198.51.100.7", "80")
    };
    assert_eq!(mistakes(vec![proxy]), ["services[0].proxy"]);
}

/// The services' mistakes, each with its proxy.
fn mistakes_of(protocol: v1::Protocol, proxy: v1::ProxySpec) -> Vec<String> {
    let service = v1::ServiceSpec {
        protocol: protocol.into(),
        proxy: Some(proxy),
        ..engine("e", "198.51.100.7", "80")
    };
    mistakes(vec![service])
}

#[test]
fn what_nothing_looks_at_is_refused() {
    let all = v1::ProxySpec {
        forwarded: Some(v1::ForwardedSpec {
            forwarded: v1::ForwardedPolicy::Leave.into(),
            ..v1::ForwardedSpec::default()
        }),
        timeouts: Some(v1::ProxyTimeoutsSpec {
            tunnel_ms: 1,
            ..v1::ProxyTimeoutsSpec::default()
        }),
        head_limits: Some(v1::HeadLimitsSpec {
            fields: 7,
            ..v1::HeadLimitsSpec::default()
        }),
        tls: Some(v1::TlsSpec {
            certificates: vec!["web".to_owned()],
            ..v1::TlsSpec::default()
        }),
        http2: Some(v1::Http2Spec {
            clients: Some(false),
            servers: false,
        }),
        proxy_protocol: Some(v1::ProxyProtocolSpec {
            send: v1::ProxyProtocolHeader::V1.into(),
            ..v1::ProxyProtocolSpec::default()
        }),
        server_tls: Some(v1::ServerTlsSpec {
            verification: v1::ServerVerification::None.into(),
            certificate: "node".to_owned(),
            ..v1::ServerTlsSpec::default()
        }),
        ..v1::ProxySpec::default()
    };
    let carrying = |carries: v1::Carries| v1::ProxySpec {
        carries: carries.into(),
        ..all.clone()
    };
    let paths = |fields: &[&str]| -> Vec<String> {
        let path = |field: &&str| format!("services[0].proxy.{field}");
        fields.iter().map(path).collect()
    };
    let of_http = ["forwarded", "head_limits", "http2"];
    assert_eq!(
        mistakes_of(v1::Protocol::Tcp, carrying(v1::Carries::Tcp)),
        paths(&of_http)
    );
    assert_eq!(
        mistakes_of(v1::Protocol::Tcp, carrying(v1::Carries::TlsPassthrough)),
        paths(&[&of_http[..], &["server_tls", "tls"]].concat())
    );
    assert_eq!(
        mistakes_of(v1::Protocol::Udp, carrying(v1::Carries::Tcp)),
        paths(&[
            "forwarded",
            "timeouts",
            "head_limits",
            "tls",
            "http2",
            "carries",
            "proxy_protocol",
            "server_tls"
        ])
    );
    let udp = v1::ProxySpec {
        udp: Some(v1::UdpRelaySpec::default()),
        ..v1::ProxySpec::default()
    };
    assert!(mistakes_of(v1::Protocol::Udp, udp.clone()).is_empty());
    assert!(mistakes_of(v1::Protocol::Udp, v1::ProxySpec::default()).is_empty());
    assert_eq!(mistakes_of(v1::Protocol::Tcp, udp.clone()), paths(&["udp"]));
    assert_eq!(
        mistakes_of(v1::Protocol::Any, v1::ProxySpec::default()),
        ["services[0].protocol"]
    );
}

#[test]
fn datagrams_and_connections_have_ports_of_their_own() {
    let udp = |name: &str, vip: &str| v1::ServiceSpec {
        protocol: v1::Protocol::Udp.into(),
        ..engine(name, vip, "80")
    };
    let packets_of = |protocol: v1::Protocol| v1::ServiceSpec {
        protocol: protocol.into(),
        ..packets("p", "198.51.100.0/24", "any")
    };
    let vip = "198.51.100.7";
    assert!(mistakes(vec![udp("u", vip), engine("e", vip, "80")]).is_empty());
    assert!(mistakes(vec![udp("u", vip), packets_of(v1::Protocol::Tcp)]).is_empty());
    for protocol in [v1::Protocol::Udp, v1::Protocol::Any] {
        let both = vec![udp("u", vip), packets_of(protocol)];
        assert_eq!(mistakes(both), ["services[0].vips[0]"]);
    }
}

#[test]
fn certificates_that_services_name_are_there() {
    let proxy = v1::ProxySpec {
        tls: Some(v1::TlsSpec {
            certificates: vec!["a".to_owned(), "b".to_owned()],
            ..v1::TlsSpec::default()
        }),
        server_tls: Some(v1::ServerTlsSpec {
            verification: v1::ServerVerification::System.into(),
            certificate: "c".to_owned(),
            ..v1::ServerTlsSpec::default()
        }),
        ..v1::ProxySpec::default()
    };
    let fields = [
        "tls.certificates[0]",
        "tls.certificates[1]",
        "server_tls.certificate",
    ];
    let paths = fields.map(|field| format!("services[0].proxy.{field}"));
    assert_eq!(mistakes_of(v1::Protocol::Tcp, proxy), paths);
}

fn transparent(name: &str, vip: &str, port: &str) -> v1::ServiceSpec {
    service(name, vip, port, v1::Mode::L7Transparent, "web")
}

fn pool_of(addresses: &[&str]) -> v1::PoolSpec {
    pool("web", vec![backend("a", addresses)])
}

fn mistakes_with(pool: v1::PoolSpec, services: Vec<v1::ServiceSpec>) -> Vec<String> {
    let spec = v1::FabricSpec {
        pools: vec![pool],
        services,
        ..v1::FabricSpec::default()
    };
    let violations = FabricState::default().violations(&spec, false);
    violations.into_iter().map(|v| v.path).collect()
}

#[test]
fn servers_that_see_clients_have_addresses_of_every_vips_family() {
    let both = || v1::ServiceSpec {
        vips: vec!["198.51.100.7".to_owned(), "2001:db8::7".to_owned()],
        ..transparent("t", "198.51.100.7", "80")
    };
    assert_eq!(
        mistakes_with(pool_of(&["192.0.2.1"]), vec![both()]),
        ["pools[0].backends[0].addresses"]
    );
    let of_both = pool_of(&["192.0.2.1", "2001:db8::2:1"]);
    assert_eq!(mistakes_with(of_both, vec![both()]), [""; 0]);
    let reverse = v1::ServiceSpec {
        mode: v1::Mode::L7Reverse.into(),
        ..both()
    };
    let one = pool_of(&["192.0.2.1"]);
    assert_eq!(mistakes_with(one, vec![reverse]), [""; 0]);
}

#[test]
fn a_servers_port_answers_clients_for_one_kind_of_service() {
    let dnat = |port: &str| service("d", "198.51.100.8", port, v1::Mode::L4Dnat, "web");
    let pool = || pool_of(&["192.0.2.1"]);
    let with = |other| mistakes_with(pool(), vec![other, transparent("t", "198.51.100.7", "80")]);
    assert_eq!(with(dnat("80")), ["services[1].pool"]);
    assert_eq!(with(dnat("79-81")), ["services[1].pool"]);
    assert_eq!(with(dnat("81")), [""; 0]);
    let udp = v1::ServiceSpec {
        protocol: v1::Protocol::Udp.into(),
        ..dnat("80")
    };
    assert_eq!(with(udp), [""; 0]);
    let fullnat = v1::ServiceSpec {
        mode: v1::Mode::L4Fullnat.into(),
        ..dnat("80")
    };
    assert_eq!(with(fullnat), [""; 0]);

    // Who comes later is told.
    let mut state = FabricState::default();
    let first = v1::FabricSpec {
        pools: vec![pool()],
        services: vec![transparent("t", "198.51.100.7", "80")],
        ..v1::FabricSpec::default()
    };
    let outcome = state.apply(Generation(5), &apply(&first));
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    let later = v1::FabricSpec {
        services: vec![dnat("80")],
        ..v1::FabricSpec::default()
    };
    let violations = state.violations(&later, false);
    let paths: Vec<_> = violations.iter().map(|v| v.path.as_str()).collect();
    assert_eq!(paths, ["services[0].pool"]);
}

fn steered(service: v1::ServiceSpec) -> v1::ServiceSpec {
    v1::ServiceSpec {
        proxy: Some(v1::ProxySpec {
            listening: v1::Listening::Transparent.into(),
            ..v1::ProxySpec::default()
        }),
        ..service
    }
}

#[test]
fn prefixes_and_every_port_are_listened_at_transparently() {
    let to = |port, service| v1::ServiceSpec {
        backend_port: port,
        ..service
    };
    let good = [
        to(80, steered(engine("e", "198.0.0.0/8", "any"))),
        steered(engine("e", "2001:db8::/32", "80")),
        steered(engine("e", "198.51.100.7", "1-1024")),
    ];
    for service in good {
        assert_eq!(mistakes(vec![service.clone()]), [""; 0], "{service:?}");
    }
    let udp = |ports| v1::ServiceSpec {
        protocol: v1::Protocol::Udp.into(),
        ..steered(engine("e", "198.51.0.0/16", ports))
    };
    assert_eq!(mistakes(vec![udp("53")]), [""; 0]);
    for (service, field) in [
        (engine("e", "198.51.0.0/16", "80"), "vips[0]"),
        (to(80, engine("e", "198.51.100.7", "any")), "ports"),
        (steered(engine("e", "198.51.0.0/16", "any")), "backend_port"),
        (steered(engine("e", "198.51.0.0/16", "1-1025")), "ports"),
        (udp("any"), "ports"),
    ] {
        let path = format!("services[0].{field}");
        assert_eq!(mistakes(vec![service.clone()]), [path], "{service:?}");
    }
}

#[test]
fn packets_inside_of_the_engines_prefix_are_whose_they_are() {
    let whole = || steered(engine("e", "198.51.0.0/16", "80"));
    let inside = vec![whole(), packets("p", "198.51.100.0/24", "80")];
    assert_eq!(mistakes(inside), [""; 0]);
    let around = vec![whole(), packets("p", "198.0.0.0/8", "any")];
    assert_eq!(mistakes(around), ["services[0].vips[0]"]);
    let same = vec![whole(), packets("p", "198.51.0.0/16", "80")];
    assert_eq!(mistakes(same), ["services[1].vips[0]"]);
}
