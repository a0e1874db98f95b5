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
        }),
        http2: Some(v1::Http2Spec {
            clients: Some(false),
        }),
        carries: v1::Carries::Tcp.into(),
        udp: Some(v1::UdpRelaySpec {
            idle_ms: 1,
            max_sessions: 65_536,
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
        }),
        http2: None,
        carries: 4,
        udp: Some(v1::UdpRelaySpec {
            idle_ms: TIMEOUT_MS_MAX + 1,
            max_sessions: 65_537,
        }),
        balancing: Some(v1::BalancingSpec {
            algorithm: 7,
            slow_start_ms: TIMEOUT_MS_MAX + 1,
            ..Default::default()
        }),
        access_log: None,
        trace: None,
    };
    assert_eq!(
        parse(&spec).unwrap_err(),
        [
            "proxy.carries",
            "proxy.udp.idle_ms",
            "proxy.udp.max_sessions",
            "proxy.forwarded.x_forwarded",
            "proxy.timeouts.tunnel_ms",
            "proxy.timeouts.silence_ms",
            "proxy.head_limits.head_bytes",
            "proxy.head_limits.target_bytes",
            "proxy.head_limits.fields",
            "proxy.tls.certificates[1]",
            "proxy.tls.certificates[2]",
            "proxy.tls.min_version",
            "proxy.balancing.algorithm",
            "proxy.balancing.slow_start_ms",
        ]
    );
}
