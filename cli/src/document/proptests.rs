use lbfabric_proto::v1;
use proptest::prelude::*;

use super::{Defaults, Source, json, message, plain, read, yaml};

fn source(text: &str) -> Source {
    Source {
        name: "f.yaml".to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

/// Any text, and often one that is close to what files hold.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z][a-z0-9-]{0,8}",
        "[0-9.:eExo_-]{1,12}",
        prop::sample::select(vec![
            "null",
            "~",
            "true",
            "no",
            "",
            " ",
            "- a",
            "a: b",
            "#",
            "2001-01-01",
            "0x10",
            "1e3"
        ])
        .prop_map(str::to_owned),
    ]
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(text(), 0..4)
}

fn check() -> impl Strategy<Value = v1::HealthCheckSpec> {
    (prop::option::of(any::<u32>()), any::<[u32; 4]>()).prop_map(
        |(port, [interval_ms, timeout_ms, rise, fall])| {
            let check =
                port.map(|port| v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec { port }));
            v1::HealthCheckSpec {
                check,
                interval_ms,
                timeout_ms,
                rise,
                fall,
            }
        },
    )
}

fn backend() -> impl Strategy<Value = v1::BackendSpec> {
    (text(), texts(), any::<Option<u32>>(), text()).prop_map(
        |(name, addresses, weight, quic_server_id)| v1::BackendSpec {
            name,
            addresses,
            weight,
            quic_server_id,
        },
    )
}

fn pool() -> impl Strategy<Value = v1::PoolSpec> {
    (
        text(),
        prop::collection::vec(backend(), 0..3),
        prop::option::of(check()),
        any::<u32>(),
        any::<u32>(),
        any::<Option<u32>>(),
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
        text(),
        texts(),
        texts(),
        (0..4i32, 0..5i32, 0..5i32),
        text(),
        any::<u32>(),
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
    let tunnel =
        (0..3i32, any::<u32>(), 0..3i32).prop_map(|(encapsulation, gue_port, outer_source)| {
            v1::TunnelSpec {
                encapsulation,
                gue_port,
                outer_source,
            }
        });
    let limits = any::<[u32; 4]>().prop_map(|[a, b, c, d]| v1::LimitsSpec {
        new_flows_per_second: a,
        new_flow_burst: b,
        source_new_flows_per_second: c,
        source_new_flow_burst: d,
    });
    (
        prop::option::of(tunnel),
        any::<[bool; 2]>(),
        prop::option::of(limits),
        texts(),
        texts(),
    )
        .prop_map(
            |(tunnel, [clamp_mss, client_address_option], limits, allow_sources, deny_sources)| {
                v1::ServiceSpec {
                    tunnel,
                    clamp_mss,
                    client_address_option,
                    limits,
                    allow_sources,
                    deny_sources,
                    ..v1::ServiceSpec::default()
                }
            },
        )
}

fn fabric() -> impl Strategy<Value = v1::FabricSpec> {
    let bgp = (
        any::<u32>(),
        text(),
        prop::option::of(text()),
        texts(),
        any::<bool>(),
    );
    let bgp = bgp.prop_map(
        |(asn, name, md5_password, next_hops, passive)| v1::BgpSpec {
            asn,
            neighbors: vec![v1::BgpNeighborSpec {
                name,
                passive,
                md5_password,
                next_hops,
                families: vec![v1::AddressFamily::Ipv6.into()],
                ..v1::BgpNeighborSpec::default()
            }],
            ..v1::BgpSpec::default()
        },
    );
    let bgp = prop::option::of(bgp);
    let node = (text(), texts(), texts(), any::<u32>(), any::<bool>(), bgp).prop_map(
        |(name, source_addresses, labels, weight, drained, bgp)| v1::NodeSpec {
            name,
            source_addresses,
            labels,
            weight,
            drained,
            bgp,
        },
    );
    (
        prop::collection::vec(pool(), 0..3),
        prop::collection::vec(service(), 0..3),
        prop::collection::vec(node, 0..3),
    )
        .prop_map(|(pools, services, nodes)| v1::FabricSpec {
            pools,
            services,
            nodes,
            ..v1::FabricSpec::default()
        })
}

/// Lines that look like files of a fabric, in any order and indentation.
fn almost_a_file() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "services:",
        "pools:",
        "nodes:",
        "- name: web",
        "vips: [10.0.0.1,",
        "ports: 80",
        "mode: l4-dnat",
        "mode: x",
        "backends:",
        "- {name: a, weight: -1}",
        "health_check: {tcp: {port: 1}}",
        "&a",
        "*a",
        "---",
        "...",
        "[",
        "]",
        "{",
        "}",
        "? ",
        ": ",
        "|",
        ">",
        "!!str 5",
        "!x y",
        "\t",
        "#",
        "'",
        "\"",
        "<<: *a",
        "- - -",
        "pool: web",
        "pools: 5",
    ]);
    prop::collection::vec((0..8usize, word), 0..24).prop_map(|lines| {
        let lines = lines
            .iter()
            .map(|(indent, word)| " ".repeat(*indent) + word);
        lines.collect::<Vec<_>>().join("\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_written_fabric_reads_back_as_it_was(spec in fabric()) {
        let value = plain(&message("FabricSpec", &spec), Defaults::LeftOut);
        for text in [yaml(&value), json(&value)] {
            let reading = read(&[source(&text)]);
            prop_assert_eq!(reading.mistakes(), vec![], "{}", text);
            prop_assert_eq!(&reading.spec, &spec, "{}", text);
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in any::<String>()) {
        let reading = read(&[source(&text)]);
        let mistakes = reading.mistakes();
        prop_assert!(!mistakes.is_empty() || reading.is_clean());
    }

    #[test]
    fn almost_a_file_is_read_without_a_panic(text in almost_a_file(), path in "(services|pools)\\[[0-3]\\](\\.[a-z]+(\\[[0-9]\\])?)?") {
        let mut reading = read(&[source(&text)]);
        reading.merge([(path, "wrong".to_owned())]);
        for mistake in reading.mistakes() {
            prop_assert!(mistake.place.line <= text.lines().count() + 1, "{:?}", mistake);
            prop_assert!(!mistake.reason.is_empty());
        }
    }
}
