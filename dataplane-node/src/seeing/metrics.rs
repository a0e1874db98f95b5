use lbfabric_model::{BackendId, ServiceId};
use lbfabric_proto::v1;
use lbfabric_proxy::observe::{Family, MetricsText};

use super::{NodeSeen, SpanCounts};

/// Writes what is counted of the node and of layer 4.
pub(crate) fn node_metrics(text: &mut MetricsText, seen: &NodeSeen) {
    let report = &seen.report;
    let version = env!("CARGO_PKG_VERSION");
    let info = [("node", seen.node.as_str()), ("version", version)];
    let family = Family::gauge("lbfabric_node_info", "The node, always 1.");
    text.samples(&family, [(info, 1)].into_iter());
    let refused = report.refusals.len() as u64;
    let is_sound = report.fault.is_empty() && report.xdp_mode() != v1::XdpMode::Unspecified;
    for (name, help, value) in [
        (
            "lbfabric_applied_generation",
            "The newest generation of the fabric that the node holds.",
            report.applied_generation,
        ),
        (
            "lbfabric_controller_connected",
            "Whether a controller member is connected.",
            seen.is_connected.into(),
        ),
        (
            "lbfabric_program_running",
            "Whether the packet program runs on its interfaces.",
            is_sound.into(),
        ),
        (
            "lbfabric_refused_objects",
            "Objects of the fabric that the node refuses.",
            refused,
        ),
        (
            "lbfabric_vips_held",
            "VIPs that the node answers for, with a lease.",
            seen.leases.held,
        ),
        (
            "lbfabric_vip_rivals",
            "Other hosts that took themselves for the owner of a VIP of the node within the last minute.",
            seen.rivals,
        ),
        (
            "lbfabric_map_memory_bytes",
            "What the maps of the packet program take of the kernel's memory.",
            report.map_memory_bytes,
        ),
    ] {
        text.samples(&Family::gauge(name, help), [([], value)].into_iter());
    }
    text.samples(
        &Family::counter(
            "lbfabric_vip_take_overs_total",
            "How often the node began to answer for a VIP.",
        ),
        [([], seen.leases.taken)].into_iter(),
    );
    of_services(text, seen);
    of_routing(text, report.bgp.as_ref());
    let verdicts = report.counters.iter();
    text.samples(
        &Family::counter(
            "lbfabric_l4_packets_total",
            "Packets that the program has seen, by what became of them.",
        ),
        verdicts.map(|(verdict, count)| ([("verdict", verdict.as_str())], *count)),
    );
    of_servers(text, seen);
}

/// Writes what became of spans.
pub(crate) fn span_metrics(text: &mut MetricsText, counts: &SpanCounts) {
    let family = Family::counter(
        "lbfabric_l7_spans_total",
        "Spans for the collector of traces, by what became of them.",
    );
    let samples = counts.read();
    let samples = samples.iter();
    text.samples(
        &family,
        samples.map(|(result, count)| ([("result", *result)], *count)),
    );
}

/// Nothing of a node that does not speak BGP.
fn of_routing(text: &mut MetricsText, bgp: Option<&v1::BgpStatus>) {
    let Some(bgp) = bgp else {
        return;
    };
    for (name, help, value) in [
        (
            "lbfabric_bgp_announced_vips",
            "VIPs that are announced by BGP.",
            bgp.announced_vips,
        ),
        (
            "lbfabric_bgp_withheld_vips",
            "VIPs that are to be announced by BGP, and are not.",
            bgp.withheld_vips,
        ),
    ] {
        text.samples(&Family::gauge(name, help), [([], value.into())].into_iter());
    }
    let neighbors = bgp.neighbors.iter();
    text.samples(
        &Family::gauge(
            "lbfabric_bgp_session_up",
            "Whether the BGP session with the neighbor is established.",
        ),
        neighbors.map(|it| {
            let is_up = it.state() == v1::BgpSessionState::Established;
            ([("neighbor", it.name.as_str())], is_up.into())
        }),
    );
}

fn of_services(text: &mut MetricsText, seen: &NodeSeen) {
    let services = || {
        let reports = seen.report.services.iter();
        // Those of layer 7 count by themselves.
        let of_l4 = reports.filter(|it| it.proxy.is_none());
        of_l4.filter_map(|it| Some((seen.services.get(&ServiceId(it.id))?, it)))
    };
    text.samples(
        &Family::counter(
            "lbfabric_l4_service_packets_total",
            "Packets of clients that were forwarded.",
        ),
        services().map(|(name, it)| ([("service", name.as_str())], it.packets)),
    );
    text.samples(
        &Family::counter(
            "lbfabric_l4_service_bytes_total",
            "Bytes of clients that were forwarded, from the network layer on.",
        ),
        services().map(|(name, it)| ([("service", name.as_str())], it.bytes)),
    );
}

fn of_servers(text: &mut MetricsText, seen: &NodeSeen) {
    let servers = || {
        let reports = seen.report.backends.iter();
        reports.filter_map(|it| {
            let (pool, server) = seen.servers.get(&BackendId(it.id))?;
            let labels = [("pool", pool.as_str()), ("server", server.as_str())];
            Some((labels, it))
        })
    };
    text.samples(
        &Family::gauge(
            "lbfabric_server_healthy",
            "Whether the node finds the server healthy.",
        ),
        servers().map(|(labels, it)| (labels, it.healthy.into())),
    );
    text.samples(
        &Family::counter(
            "lbfabric_server_packets_total",
            "Packets that the program has sent to the server.",
        ),
        servers().map(|(labels, it)| (labels, it.packets)),
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lbfabric_lease::LeaseCounts;
    use lbfabric_proxy::observe::{Exposition, LogReading, Reading};

    use super::*;

    fn seen() -> NodeSeen {
        NodeSeen {
            node: "lb1".to_owned(),
            report: v1::NodeReport {
                applied_generation: 7,
                xdp_mode: v1::XdpMode::Native.into(),
                bgp: Some(v1::BgpStatus {
                    announced_vips: 3,
                    neighbors: vec![v1::BgpNeighborBrief {
                        name: "core".to_owned(),
                        state: v1::BgpSessionState::Established.into(),
                        ..v1::BgpNeighborBrief::default()
                    }],
                    ..v1::BgpStatus::default()
                }),
                counters: [("forwarded".to_owned(), 5)].into(),
                services: vec![
                    v1::NodeServiceReport {
                        id: 1,
                        packets: 3,
                        bytes: 300,
                        ..v1::NodeServiceReport::default()
                    },
                    v1::NodeServiceReport {
                        id: 2,
                        proxy: Some(v1::ProxyTraffic::default()),
                        ..v1::NodeServiceReport::default()
                    },
                ],
                backends: vec![v1::NodeBackendReport {
                    id: 9,
                    healthy: true,
                    packets: 4,
                    ..v1::NodeBackendReport::default()
                }],
                ..v1::NodeReport::default()
            },
            is_connected: true,
            rivals: 2,
            leases: LeaseCounts { held: 3, taken: 8 },
            services: [
                (ServiceId(1), "dns".to_owned()),
                (ServiceId(2), "shop".to_owned()),
            ]
            .into(),
            servers: [(BackendId(9), ("web".to_owned(), "web-1".to_owned()))].into(),
        }
    }

    fn written() -> String {
        let mut text = Exposition::Text.begin();
        node_metrics(&mut text, &seen());
        text.layer7(&Reading::default(), LogReading::default());
        text.finish()
    }

    #[test]
    fn the_node_is_told_with_names() {
        let text = written();
        for line in [
            "lbfabric_applied_generation 7",
            "lbfabric_controller_connected 1",
            "lbfabric_program_running 1",
            "lbfabric_vip_rivals 2",
            "lbfabric_vips_held 3",
            "lbfabric_vip_take_overs_total 8",
            "lbfabric_l4_service_packets_total{service=\"dns\"} 3",
            "lbfabric_l4_service_bytes_total{service=\"dns\"} 300",
            "lbfabric_l4_packets_total{verdict=\"forwarded\"} 5",
            "lbfabric_bgp_announced_vips 3",
            "lbfabric_bgp_withheld_vips 0",
            "lbfabric_bgp_session_up{neighbor=\"core\"} 1",
            "lbfabric_server_healthy{pool=\"web\",server=\"web-1\"} 1",
            "lbfabric_server_packets_total{pool=\"web\",server=\"web-1\"} 4",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
        assert!(!text.contains("l4_service_packets_total{service=\"shop\"}"));
    }

    /// Prometheus' conventions as `promtool check metrics` has them: help for each family, `_total` for counters alone, base units, no family
    /// twice.
    #[test]
    fn names_are_what_prometheus_wants() {
        let text = written();
        let mut families = BTreeSet::new();
        let mut helped = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(help.ends_with('.') && help.len() > 5, "{line}");
                helped.insert(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(families.insert(name.to_owned()), "twice: {line}");
                assert!(helped.contains(name), "no help: {line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(name.starts_with("lbfabric_"), "{line}");
                assert!(
                    name.bytes()
                        .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_')
                );
                for unit in [
                    "_ms", "_millis", "_micros", "_kb", "_count", "_sum", "_bucket",
                ] {
                    assert!(!name.ends_with(unit), "{line}");
                }
            }
        }
        assert!(families.len() > 20);
    }
}
