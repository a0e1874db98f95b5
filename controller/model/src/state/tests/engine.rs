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
        protocol: v1::Protocol::Udp.into(),
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
    let transparent = v1::ServiceSpec {
        mode: v1::Mode::L7Transparent.into(),
        ..engine("e", "198.51.100.7", "80")
    };
    assert_eq!(mistakes(vec![transparent]), ["services[0].mode"]);
    let proxy = v1::ServiceSpec {
        proxy: Some(v1::ProxySpec::default()),
        ..packets("p", "198.51.100.7", "80")
    };
    assert_eq!(mistakes(vec![proxy]), ["services[0].proxy"]);
}
