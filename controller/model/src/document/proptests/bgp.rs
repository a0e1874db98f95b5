use super::*;

/// Settings with and without mistakes.
pub(super) fn bgp() -> impl Strategy<Value = v1::BgpSpec> {
    (
        prop_oneof![Just(0), Just(23_456), any::<u32>()],
        prop::sample::select(vec!["", "192.0.2.1", "0.0.0.0", "x"]),
        prop::collection::vec(neighbor(), 0..3),
        prop::collection::vec(aggregate(), 0..3),
        prop_oneof![0u32..=65_535, any::<u32>()],
        0u32..=3_601,
    )
        .prop_map(
            |(asn, router_id, neighbors, aggregates, listen_port, drain_secs)| v1::BgpSpec {
                asn,
                router_id: router_id.to_owned(),
                neighbors,
                aggregates,
                listen_port,
                drain_secs,
            },
        )
}

fn aggregate() -> impl Strategy<Value = v1::BgpAggregateSpec> {
    let prefix = prop::sample::select(vec!["203.0.113.0/24", "2001:db8::/32", "203.0.113.1/24"]);
    (prefix, any::<bool>()).prop_map(|(prefix, summary_only)| v1::BgpAggregateSpec {
        prefix: prefix.to_owned(),
        summary_only,
    })
}

fn neighbor() -> impl Strategy<Value = v1::BgpNeighborSpec> {
    let texts = (
        prop::sample::select(vec!["r1", "r2", "R"]),
        prop::sample::select(vec!["192.0.2.2", "192.0.2.3", "fe80::1", "2001:db8::2"]),
        prop::sample::select(vec!["", "eth0", "a b"]),
        prop::option::of(prop::sample::select(vec!["", "hush"])),
    );
    let numbers = (1u32..9, 0u32..65_537, 0u32..9, 0u32..257, 0u32..4_097);
    let bfd = (0u32..60, 0u32..257, any::<bool>());
    let bfd = bfd.prop_map(|(interval_ms, multiplier, passive)| v1::BfdSpec {
        interval_ms,
        multiplier,
        passive,
    });
    let lists = (
        prop::collection::vec(0..4, 0..3),
        prop::collection::vec(prop::sample::select(vec!["192.0.2.1", "2001:db8::1"]), 0..3),
    );
    let switches = any::<[bool; 4]>();
    (texts, numbers, prop::option::of(bfd), lists, switches).prop_map(
        |(texts, numbers, bfd, (families, next_hops), switches)| {
            let (name, address, interface, password) = texts;
            let (asn, port, hold_time_secs, hops, graceful_restart_secs) = numbers;
            let [passive, ttl_security, extended_next_hop, import_default] = switches;
            v1::BgpNeighborSpec {
                name: name.to_owned(),
                address: address.to_owned(),
                interface: interface.to_owned(),
                asn,
                port,
                passive,
                local_address: String::new(),
                md5_password: password.map(str::to_owned),
                hold_time_secs,
                hops,
                ttl_security,
                families,
                next_hops: next_hops.into_iter().map(str::to_owned).collect(),
                extended_next_hop,
                graceful_restart_secs,
                bfd,
                import_default,
            }
        },
    )
}
