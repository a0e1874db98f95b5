use super::*;

fn parse(spec: &v1::ProxySpec) -> Result<Proxy, Vec<String>> {
    let mut violations = Vec::new();
    let parsed = Proxy::parse(spec, "proxy", &mut violations);
    let paths: Vec<_> = violations.into_iter().map(|v| v.path).collect();
    parsed.filter(|_| paths.is_empty()).ok_or(paths)
}

#[test]
fn defaults() {
    assert_eq!(parse(&v1::ProxySpec::default()), Ok(Proxy::default()));
    let filled = Proxy::default().to_spec();
    assert_eq!(parse(&filled), Ok(Proxy::default()));
    assert_eq!(filled.head_limits.unwrap().head_bytes, 16_384);
}

#[test]
fn what_is_said_is_kept() {
    let spec = v1::ProxySpec {
        forwarded: Some(v1::ForwardedSpec {
            x_forwarded: v1::ForwardedPolicy::Append.into(),
            forwarded: v1::ForwardedPolicy::Leave.into(),
        }),
        timeouts: Some(v1::ProxyTimeoutsSpec {
            connect_ms: 1,
            head_ms: 2,
            idle_ms: 3,
            silence_ms: TIMEOUT_MS_MAX,
            tunnel_ms: TUNNEL_MS_MAX,
        }),
        head_limits: Some(v1::HeadLimitsSpec {
            head_bytes: 256,
            target_bytes: 16,
            fields: 128,
        }),
        tls: Some(v1::TlsSpec {
            certificates: vec!["a".to_owned(), "b".to_owned()],
            min_version: v1::TlsVersion::Tls13.into(),
            strict_names: true,
            client_certificates: None,
        }),
        http2: Some(v1::Http2Spec {
            clients: Some(false),
            servers: true,
        }),
        carries: v1::Carries::Tcp.into(),
        listening: v1::Listening::Transparent.into(),
        udp: Some(v1::UdpRelaySpec {
            idle_ms: 1,
            max_sessions: 65_536,
        }),
        proxy_protocol: Some(v1::ProxyProtocolSpec {
            sources: vec!["10.0.0.0/8".to_owned(), "2001:db8::7".to_owned()],
            others: v1::ProxyProtocolOthers::Refuse.into(),
            send: v1::ProxyProtocolHeader::V2.into(),
        }),
        server_tls: Some(v1::ServerTlsSpec {
            verification: v1::ServerVerification::None.into(),
            authorities: String::new(),
            name: "server.example".to_owned(),
            min_version: v1::TlsVersion::Tls13.into(),
            certificate: "node".to_owned(),
        }),
        sni: Some(v1::SniSpec {
            routes: vec![v1::SniRouteSpec {
                names: vec!["a.example".to_owned()],
                pool: "a".to_owned(),
            }],
            others: v1::SniOthers::Refuse.into(),
        }),
        balancing: Some(Balancing::default().to_spec()),
        access_log: Some(v1::AccessLogSpec {
            format: v1::AccessLogFormat::Combined.into(),
            sample_one_in: Some(10),
            errors: Some(false),
        }),
        trace: Some(v1::TraceSpec {
            sample_one_in: Some(0),
        }),
        routes: vec![v1::RouteSpec {
            name: "all".to_owned(),
            forward: Some(v1::RouteForwardSpec::default()),
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(parse(&spec).unwrap().to_spec(), spec);
}

#[test]
fn mistakes_are_told_by_their_paths() {
    let spec = v1::ProxySpec {
        forwarded: Some(v1::ForwardedSpec {
            x_forwarded: 9,
            forwarded: 0,
        }),
        timeouts: Some(v1::ProxyTimeoutsSpec {
            silence_ms: TIMEOUT_MS_MAX + 1,
            tunnel_ms: TUNNEL_MS_MAX + 1,
            ..Default::default()
        }),
        head_limits: Some(v1::HeadLimitsSpec {
            head_bytes: 255,
            target_bytes: 16_385,
            fields: 129,
        }),
        tls: Some(v1::TlsSpec {
            certificates: vec!["a".to_owned(), "A".to_owned(), "a".to_owned()],
            min_version: 3,
            strict_names: false,
            client_certificates: Some(v1::ClientCertificatesSpec {
                policy: 3,
                authorities: String::new(),
                subject_field: "Connection".to_owned(),
                fingerprint_field: "a b".to_owned(),
            }),
        }),
        http2: None,
        carries: 4,
        udp: Some(v1::UdpRelaySpec {
            idle_ms: TIMEOUT_MS_MAX + 1,
            max_sessions: 65_537,
        }),
        proxy_protocol: Some(v1::ProxyProtocolSpec {
            sources: vec!["10.0.0.1/8".to_owned()],
            others: 3,
            send: 4,
        }),
        server_tls: Some(v1::ServerTlsSpec {
            verification: v1::ServerVerification::System.into(),
            authorities: "x".to_owned(),
            name: "a b".to_owned(),
            min_version: 3,
            certificate: "A".to_owned(),
        }),
        balancing: Some(v1::BalancingSpec {
            algorithm: 7,
            slow_start_ms: TIMEOUT_MS_MAX + 1,
            ..Default::default()
        }),
        access_log: None,
        trace: None,
        deny_sources: vec!["nobody".to_owned()],
        ..Default::default()
    };
    assert_eq!(
        parse(&spec).unwrap_err(),
        [
            "proxy.proxy_protocol.sources[0]",
            "proxy.proxy_protocol.others",
            "proxy.proxy_protocol.send",
            "proxy.server_tls.authorities",
            "proxy.server_tls.name",
            "proxy.server_tls.min_version",
            "proxy.server_tls.certificate",
            "proxy.carries",
            "proxy.udp.idle_ms",
            "proxy.udp.max_sessions",
            "proxy.forwarded.x_forwarded",
            "proxy.timeouts.tunnel_ms",
            "proxy.timeouts.silence_ms",
            "proxy.head_limits.head_bytes",
            "proxy.head_limits.target_bytes",
            "proxy.head_limits.fields",
            "proxy.tls.client_certificates.policy",
            "proxy.tls.client_certificates.authorities",
            "proxy.tls.client_certificates.subject_field",
            "proxy.tls.client_certificates.fingerprint_field",
            "proxy.tls.certificates[1]",
            "proxy.tls.certificates[2]",
            "proxy.tls.min_version",
            "proxy.balancing.algorithm",
            "proxy.balancing.slow_start_ms",
            "proxy.deny_sources[0]",
        ]
    );
}
