use lbfabric_proto::v1;

/// A service of layer 7 without mistakes.
pub(super) fn sound_proxy(
    at: usize,
    ports: &std::collections::BTreeSet<u16>,
    width: u16,
    mode: i32,
    pool: usize,
    proxy: Option<v1::ProxySpec>,
) -> v1::ServiceSpec {
    let timeouts = proxy.as_ref().and_then(|proxy| proxy.timeouts);
    let (protocol, proxy) = match width {
        // What connections carry.
        0 | 1 => (
            v1::Protocol::Tcp,
            Some(v1::ProxySpec {
                timeouts,
                carries: i32::from(width) + 2,
                sni: (width == 1).then(|| v1::SniSpec {
                    routes: (0..at)
                        .map(|n| v1::SniRouteSpec {
                            names: vec![format!("{n}.Example"), format!("*.{n}.example")],
                            pool: format!("p{pool}"),
                        })
                        .collect(),
                    others: mode % 3,
                }),
                ..v1::ProxySpec::default()
            }),
        ),
        2 => (
            v1::Protocol::Udp,
            timeouts.map(|timeouts| v1::ProxySpec {
                udp: Some(v1::UdpRelaySpec {
                    idle_ms: timeouts.connect_ms,
                    max_sessions: timeouts.silence_ms % 65_536,
                }),
                ..v1::ProxySpec::default()
            }),
        ),
        _ => (v1::Protocol::Unspecified, proxy),
    };
    v1::ServiceSpec {
        name: format!("v{at}"),
        vips: vec![
            format!("192.0.2.{}", at << 4),
            format!("2001:db8:{at}::{width}"),
        ],
        ports: ports.iter().map(u16::to_string).collect(),
        protocol: protocol.into(),
        mode,
        pool: format!("p{pool}"),
        backend_port: width.into(),
        proxy,
        ..v1::ServiceSpec::default()
    }
}
