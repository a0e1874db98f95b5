//! Specifications: sound ones, and ones of anything at all.

use lbfabric_proto::v1;
use proptest::prelude::*;

use super::{
    announcement::{announcement, node, sound_announcement},
    balancing::balancing,
    routes::routes,
    sound_proxy::sound_proxy,
};

pub(super) fn name() -> impl Strategy<Value = String> {
    prop_oneof![9 => "[a-d]", 1 => "[a-c-]{0,2}|\\PC{0,4}"]
}

pub(super) fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0u8..8).prop_map(|n| format!("10.0.0.{n}")),
        4 => (0u8..8).prop_map(|n| format!("fd00::{n}")),
        1 => "[0-9.:a-f]{0,12}",
    ]
}

fn vip() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => (0u8..8).prop_map(|n| format!("192.0.2.{n}")),
        5 => (0u8..8).prop_map(|n| format!("2001:db8::{n}")),
        2 => prefix(),
        1 => address(),
    ]
}

/// A prefix, often with bits set behind it.
fn prefix() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (0u8..8, 24u8..33).prop_map(|(n, bits)| format!("192.0.2.{}/{bits}", n << 4)),
        3 => (0u8..4, 0u8..130).prop_map(|(n, bits)| format!("2001:db8:{n}::/{bits}")),
        1 => (0u8..34).prop_map(|bits| format!("0.0.0.0/{bits}")),
        1 => "[0-9.:a-f]{0,12}/[0-9]{0,3}",
    ]
}

fn port() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => (1u16..).prop_map(|n| n.to_string()),
        3 => (1u16.., 1u16..).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => Just("any".to_owned()),
        1 => "[0-9-]{0,6}",
    ]
}

fn backend() -> impl Strategy<Value = v1::BackendSpec> {
    (
        name(),
        prop::collection::vec(address(), 0..3),
        prop::option::of(prop_oneof![0u32..300, any::<u32>()]),
        prop_oneof![4 => Just(String::new()), 2 => "[0-3a-c]{2}", 1 => "\\PC{0,18}"],
    )
        .prop_map(
            |(name, addresses, weight, quic_server_id)| v1::BackendSpec {
                name,
                addresses,
                weight,
                quic_server_id,
            },
        )
}

fn health_check() -> impl Strategy<Value = v1::HealthCheckSpec> {
    (0u32..70_000, 0u32..70_000, 0u32..70_000, 0u32..12, 0u32..12).prop_map(
        |(port, interval_ms, timeout_ms, rise, fall)| v1::HealthCheckSpec {
            check: (port % 7 != 0)
                .then_some(v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec { port })),
            interval_ms,
            timeout_ms,
            rise,
            fall,
        },
    )
}

fn pool() -> impl Strategy<Value = v1::PoolSpec> {
    (
        name(),
        prop::collection::vec(backend(), 0..4),
        prop::option::weighted(0.2, health_check()),
        prop_oneof![9 => 0u32..4, 1 => any::<u32>()],
        prop_oneof![9 => 0u32..=32_400, 1 => any::<u32>()],
        prop::option::of(prop_oneof![9 => 0u32..=3_600_000, 1 => any::<u32>()]),
    )
        .prop_map(
            |(name, backends, health_check, max_backends, hold_time_secs, dead_after_ms)| {
                v1::PoolSpec {
                    name,
                    backends,
                    health_check,
                    max_backends,
                    hold_time_secs,
                    dead_after_ms,
                }
            },
        )
}

fn service() -> impl Strategy<Value = v1::ServiceSpec> {
    (
        name(),
        prop::collection::vec(vip(), 0..3),
        prop::collection::vec(port(), 0..3),
        (0i32..5, 0i32..8, 0i32..6),
        name(),
        prop_oneof![9 => Just(0u32), 1 => any::<u32>()],
        options(),
    )
        .prop_map(
            |(name, vips, ports, (protocol, mode, affinity), pool, backend_port, options)| {
                v1::ServiceSpec {
                    name,
                    vips,
                    ports,
                    protocol,
                    mode,
                    pool,
                    affinity,
                    backend_port,
                    ..options
                }
            },
        )
}

/// What a service may leave out.
fn options() -> impl Strategy<Value = v1::ServiceSpec> {
    let number = || prop_oneof![2 => Just(0u32), 2 => 1u32..9_000_000, 1 => any::<u32>()];
    let tunnel =
        (0i32..4, number(), 0i32..4).prop_map(|(encapsulation, gue_port, outer_source)| {
            v1::TunnelSpec {
                encapsulation,
                gue_port,
                outer_source,
            }
        });
    let limits = [number(), number(), number(), number()].prop_map(|[a, b, c, d]| v1::LimitsSpec {
        new_flows_per_second: a,
        new_flow_burst: b,
        source_new_flows_per_second: c,
        source_new_flow_burst: d,
    });
    let sources = || prop::collection::vec(prop_oneof![3 => prefix(), 1 => vip()], 0..3);
    (
        prop::option::weighted(0.2, announcement()),
        prop::option::weighted(0.2, tunnel),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.3, limits),
        sources(),
        sources(),
        prop::option::weighted(0.2, proxy()),
    )
        .prop_map(
            |(
                announce,
                tunnel,
                clamp_mss,
                client_address_option,
                limits,
                allow_sources,
                deny_sources,
                proxy,
            )| {
                v1::ServiceSpec {
                    tunnel,
                    clamp_mss,
                    client_address_option,
                    limits,
                    allow_sources,
                    deny_sources,
                    proxy,
                    announce,
                    ..v1::ServiceSpec::default()
                }
            },
        )
}

/// What the layer-7 engine is told, often out of range.
fn proxy() -> impl Strategy<Value = v1::ProxySpec> {
    let number = || prop_oneof![2 => Just(0u32), 2 => 1u32..20_000, 1 => any::<u32>()];
    (0i32..5, 0i32..5, [number(), number(), number(), number()]).prop_map(
        |(x_forwarded, forwarded, [a, b, c, d])| v1::ProxySpec {
            forwarded: (x_forwarded != 4).then_some(v1::ForwardedSpec {
                x_forwarded,
                forwarded,
            }),
            timeouts: (a != 0).then_some(v1::ProxyTimeoutsSpec {
                connect_ms: a,
                head_ms: b,
                idle_ms: c,
                silence_ms: d,
                tunnel_ms: a,
            }),
            head_limits: (d != 0).then_some(v1::HeadLimitsSpec {
                head_bytes: b,
                target_bytes: c,
                fields: d,
            }),
            tls: (c > 1_000).then(|| v1::TlsSpec {
                certificates: vec!["web".to_owned(); forwarded.unsigned_abs() as usize],
                min_version: x_forwarded,
                strict_names: a == 0,
                client_certificates: (b == 0).then(|| v1::ClientCertificatesSpec {
                    policy: forwarded,
                    subject_field: "x".repeat(a.min(200) as usize),
                    ..v1::ClientCertificatesSpec::default()
                }),
            }),
            http2: (b == 0).then_some(v1::Http2Spec {
                clients: (a == 0).then_some(c == 0),
                servers: d == 0,
            }),
            carries: (c % 5).cast_signed(),
            udp: (d > 1_000).then_some(v1::UdpRelaySpec {
                idle_ms: b,
                max_sessions: a,
            }),
            balancing: (b > 1_000).then(|| balancing(x_forwarded, [a, b, c])),
            access_log: (c == 0).then_some(v1::AccessLogSpec {
                format: x_forwarded,
                sample_one_in: (a == 0).then_some(b),
                errors: (b == 0).then_some(a == 0),
            }),
            trace: (a == 0).then_some(v1::TraceSpec {
                sample_one_in: (b == 0).then_some(c),
            }),
            proxy_protocol: (a > 1_000).then(|| v1::ProxyProtocolSpec {
                sources: vec![format!("10.0.0.{}/{}", b % 300, c % 40)],
                others: x_forwarded,
                send: forwarded,
            }),
            server_tls: (b > 1_000).then(|| v1::ServerTlsSpec {
                verification: x_forwarded,
                name: "server.example".repeat(c.min(20) as usize),
                min_version: forwarded,
                ..v1::ServerTlsSpec::default()
            }),
            sni: (a % 4 == 1).then(|| v1::SniSpec {
                routes: vec![
                    v1::SniRouteSpec {
                        names: vec!["a.example".to_owned(); b.min(2) as usize],
                        pool: "b".to_owned(),
                    };
                    c.min(2) as usize
                ],
                others: forwarded,
            }),
            routes: routes("b", c),
            ..v1::ProxySpec::default()
        },
    )
}

/// A specification of anything at all.
fn wild_fabric() -> impl Strategy<Value = v1::FabricSpec> {
    (
        prop::collection::vec(pool(), 0..4),
        prop::collection::vec(service(), 0..4),
        prop::collection::vec(node(), 0..2),
    )
        .prop_map(|(pools, services, nodes)| v1::FabricSpec {
            pools,
            services,
            nodes,
            ..v1::FabricSpec::default()
        })
}

/// A pool without mistakes: every server has both families.
fn sound_pool(at: usize) -> impl Strategy<Value = v1::PoolSpec> {
    let backend = (0u8..6, prop::option::of(0u32..=65_535));
    let backends = prop::collection::vec(backend, 0..4);
    let health_check = prop::option::of((1u32..=65_535, 100u32..60_000));
    let keeping = (0u32..=32_400, prop::option::of(0u32..=3_600_000));
    (backends, health_check, keeping).prop_map(move |(backends, health_check, keeping)| {
        v1::PoolSpec {
            name: format!("p{at}"),
            backends: (0..)
                .zip(backends)
                .map(|(i, (address, weight))| v1::BackendSpec {
                    name: format!("s{i}"),
                    addresses: vec![
                        format!("10.{at}.{i}.{address}"),
                        format!("fd00:{at}:{i}::{address}"),
                    ],
                    weight,
                    quic_server_id: format!("{at:02x}{i:02X}"),
                })
                .collect(),
            health_check: health_check.map(|(port, interval_ms)| v1::HealthCheckSpec {
                check: Some(v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec { port })),
                interval_ms,
                ..Default::default()
            }),
            max_backends: 0,
            hold_time_secs: keeping.0,
            dead_after_ms: keeping.1,
        }
    })
}

/// A service without mistakes, if the pool is there: no two of them share a VIP.
fn sound_service(at: usize, pools: usize) -> impl Strategy<Value = v1::ServiceSpec> {
    let ports = prop::collection::btree_set(1u16..60_000, 1..4);
    let kind = (0i32..4, 1i32..6, 0i32..5, any::<[bool; 4]>());
    (ports, 0u16..5, kind, sound_options(), 0..pools).prop_map(
        move |(
            ports,
            width,
            (protocol, mode, affinity, [prefix, every, mss, toa]),
            options,
            pool,
        )| {
            if mode > 4 {
                return sound_proxy(at, &ports, width, mode, pool, options.proxy);
            }
            let any = protocol == 3 && mode >= 3;
            let protocol = if protocol == 3 && !any { 2 } else { protocol };
            let tcp = protocol < 2;
            v1::ServiceSpec {
                name: format!("v{at}"),
                vips: vec![
                    format!("192.0.2.{}{}", at << 4, if prefix { "/28" } else { "" }),
                    format!("2001:db8:{at}::{}", if every { "/48" } else { "" }),
                ],
                ports: match ports.len() {
                    _ if any || every => vec!["any".to_owned()],
                    1 => ports
                        .iter()
                        .map(|port| format!("{port}-{}", port + width))
                        .collect(),
                    _ => ports.iter().map(u16::to_string).collect(),
                },
                protocol,
                mode,
                pool: format!("p{pool}"),
                affinity: if affinity == 4 && protocol != 2 {
                    1
                } else {
                    affinity
                },
                clamp_mss: mss && tcp,
                client_address_option: toa && tcp && mode == 2,
                tunnel: options.tunnel.filter(|_| mode == 4),
                limits: options.limits.filter(|_| !any),
                proxy: None,
                ..options
            }
        },
    )
}

/// What any service may have, but for its mode and protocol.
fn sound_options() -> impl Strategy<Value = v1::ServiceSpec> {
    let tunnel = (any::<bool>(), 0u32..65_536, 0i32..3).prop_map(|(gue, port, outer_source)| {
        v1::TunnelSpec {
            encapsulation: if gue { 2 } else { 1 },
            gue_port: if gue { port } else { 0 },
            outer_source,
        }
    });
    let limits = (1u32..=10_000_000, 0u32..=10_000_000).prop_map(|(rate, burst)| v1::LimitsSpec {
        new_flows_per_second: rate,
        new_flow_burst: burst,
        source_new_flows_per_second: burst,
        source_new_flow_burst: burst / 2,
    });
    let sources = prop::collection::btree_set((0u8..16, 20u8..33), 0..6);
    let proxy = (0i32..4, 0u32..=3_600_000, 256u32..16_384);
    let proxy = proxy.prop_map(|(policy, ms, bytes)| v1::ProxySpec {
        forwarded: Some(v1::ForwardedSpec {
            x_forwarded: policy,
            forwarded: 3 - policy,
        }),
        timeouts: Some(v1::ProxyTimeoutsSpec {
            connect_ms: ms,
            silence_ms: ms / 2,
            ..v1::ProxyTimeoutsSpec::default()
        }),
        head_limits: Some(v1::HeadLimitsSpec {
            head_bytes: bytes,
            fields: bytes % 129,
            ..v1::HeadLimitsSpec::default()
        }),
        http2: Some(v1::Http2Spec {
            clients: Some(policy == 1),
            servers: policy == 2,
        }),
        proxy_protocol: Some(v1::ProxyProtocolSpec {
            sources: vec!["10.0.0.0/8".to_owned(); policy.min(1).unsigned_abs() as usize],
            others: policy.min(1) + 1,
            send: policy,
        }),
        server_tls: (policy > 1).then(|| v1::ServerTlsSpec {
            verification: policy,
            name: "server.example".to_owned(),
            ..v1::ServerTlsSpec::default()
        }),
        balancing: (ms > 1_000).then(|| balancing(policy + 1, [bytes % 100, ms / 100, ms])),
        access_log: (policy == 2).then(|| v1::AccessLogSpec {
            format: v1::AccessLogFormat::Combined.into(),
            sample_one_in: Some(100),
            errors: Some(true),
        }),
        routes: routes("p1", bytes),
        ..v1::ProxySpec::default()
    });
    let of = |it| prop::option::of(it);
    (
        prop::option::of(tunnel),
        prop::option::of(limits),
        sources,
        of(proxy),
        prop::option::of(sound_announcement()),
    )
        .prop_map(|(tunnel, limits, sources, proxy, announce)| {
            // Bit 4 is in the prefix of every length.
            let text = |(n, bits): &(u8, u8)| format!("10.0.{}.0/{bits}", n << 4);
            let (allow, deny): (Vec<_>, Vec<_>) = sources.iter().partition(|(n, _)| n % 2 == 0);
            v1::ServiceSpec {
                tunnel,
                limits,
                allow_sources: allow.into_iter().map(text).collect(),
                deny_sources: deny.into_iter().map(text).collect(),
                proxy,
                announce,
                ..v1::ServiceSpec::default()
            }
        })
}

/// A specification without mistakes.
pub(super) fn sound_fabric() -> impl Strategy<Value = v1::FabricSpec> {
    const POOLS: usize = 3;
    const SERVICES: usize = 4;
    let pools: Vec<_> = (0..POOLS).map(sound_pool).collect();
    let services: Vec<_> = (0..SERVICES).map(|at| sound_service(at, POOLS)).collect();
    (pools, services, 0..=SERVICES).prop_map(|(pools, mut services, kept)| {
        services.truncate(kept);
        for pool in &pools {
            tell_all_or_none(&mut services, &pool.name);
        }
        v1::FabricSpec {
            pools,
            services,
            ..v1::FabricSpec::default()
        }
    })
}

/// The services that send to a pool's servers from nodes' addresses tell the client's, all of them or none.
fn tell_all_or_none(services: &mut [v1::ServiceSpec], pool: &str) {
    let rewrites =
        |it: &v1::ServiceSpec| matches!(it.mode(), v1::Mode::L4Dnat | v1::Mode::L4Fullnat);
    let is_tcp = |it: &v1::ServiceSpec| it.protocol() != v1::Protocol::Udp;
    let mut together: Vec<_> = services
        .iter_mut()
        .filter(|it| it.pool == pool && rewrites(it) && is_tcp(it))
        .collect();
    let can = together.iter().all(|it| it.mode() == v1::Mode::L4Fullnat);
    let tell = can && together.iter().any(|it| it.client_address_option);
    for service in &mut together {
        service.client_address_option = tell;
    }
}

/// A sound specification, one with mistakes put in, or anything at all.
pub(super) fn fabric() -> impl Strategy<Value = v1::FabricSpec> {
    let spoilt = (sound_fabric(), wild_fabric()).prop_map(|(mut sound, wild)| {
        sound.pools.extend(wild.pools);
        sound.services.extend(wild.services);
        sound.nodes.extend(wild.nodes);
        sound
    });
    prop_oneof![2 => sound_fabric(), 2 => spoilt, 1 => wild_fabric()]
}
