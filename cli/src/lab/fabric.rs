//! The document that the lab applies, and when the fabric has it. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use lbfabric_proto::v1;
use lbfabric_proto::v1::object::Status;

use super::mode::Mode;
use super::router::{NODES_ASN, ROUTER_ASN};
use super::topology::{
    Family, Host, Listening, NODES, SERVERS, Segment, address, backend_address, prefix_length, vip,
    vip_prefix,
};
use super::verdict::HEALTH_PORT;

/// The label of the node that servers send answers to clients through.
const ANSWERS: &str = "answers=here";

/// The lab's objects as a user would write them: for each mode and kind of listening a pool, and a service of each protocol that it carries; and nodes that
/// announce VIPs to the router.
pub(super) fn document() -> String {
    [pools(), services(), nodes()].concat()
}

fn pools() -> String {
    let mut text = String::from("pools:\n");
    for (mode, listening) in kinds() {
        let name = name(mode, listening);
        let _infallible = write!(
            text,
            "  - name: {name}\n    health_check: {{ tcp: {{ port: {HEALTH_PORT} }}, interval_ms: 500 }}\n    backends:\n"
        );
        for server in 1..=SERVERS {
            let [v4, v6] =
                Family::ALL.map(|family| backend_address(mode, listening, server, family));
            let host = Host::Server(server);
            let _infallible = writeln!(
                text,
                "      - {{ name: {host}, addresses: [{v4}, \"{v6}\"] }}"
            );
        }
    }
    text
}

fn services() -> String {
    let mut text = String::from("services:\n");
    for (mode, listening) in kinds() {
        let [v4, v6] = Family::ALL.map(|family| vip(mode, listening, family));
        let mut vips = format!("{v4}, \"{v6}\"");
        let mut more = String::new();
        if listening.is_transparent() {
            let [v4, v6] = Family::ALL
                .map(|family| format!("{}/{}", vip_prefix(mode, family), prefix_length(family)));
            let _infallible = write!(vips, ", {v4}, \"{v6}\"");
            more.push_str(", announce: { bgp: { min_healthy_servers: 1 }");
            if !mode.is_everywhere(listening) {
                let _infallible = write!(more, ", nodes: [{ANSWERS}]");
            }
            more.push_str(" }");
            if !mode.is_packets() {
                more.push_str(", proxy: { listening: LISTENING_TRANSPARENT }");
            }
        }
        let pool = name(mode, listening);
        for protocol in mode.protocols() {
            let Some(port) = protocol.port() else {
                continue;
            };
            let proto = protocol.name();
            let _infallible = writeln!(
                text,
                "  - {{ name: {pool}-{proto}, vips: [{vips}], ports: [{port}], protocol: {proto}, mode: {mode}, pool: {pool}{more} }}"
            );
        }
    }
    text
}

fn nodes() -> String {
    let mut text = String::from("nodes:\n");
    let router = address(Segment::Flat, Host::Router, Family::Ipv4);
    for node in 1..=NODES {
        let host = Host::Node(node);
        let id = address(Segment::Flat, host, Family::Ipv4);
        let labels = if node == 1 { ANSWERS } else { "" };
        let _infallible = writeln!(
            text,
            "  - name: {host}\n    labels: [{labels}]\n    bgp: {{ asn: {NODES_ASN}, router_id: {id}, neighbors: [{{ name: router, address: {router}, asn: {ROUTER_ASN} }}] }}"
        );
    }
    text
}

fn kinds() -> impl Iterator<Item = (Mode, Listening)> {
    let of = |listening| Mode::ALL.map(|mode| (mode, listening));
    Listening::ALL.into_iter().flat_map(of)
}

/// The name of a pool, and what those of its services begin with.
fn name(mode: Mode, listening: Listening) -> String {
    match listening {
        Listening::Addresses => mode.name().to_owned(),
        Listening::Transparent => format!("{mode}-transparent"),
    }
}

/// A pool that no service uses: what a later `apply` adds, to show that the fabric takes it.
pub(super) fn extra_pool(name: &str) -> String {
    format!(
        "pools:\n  - name: {name}\n    backends:\n      - {{ name: s, addresses: [10.77.2.99] }}\n"
    )
}

/// Whether every node has applied everything up to `generation`, and sees every server healthy. The error says what is
/// missing still.
pub(super) fn readiness(objects: &[v1::Object], generation: u64) -> Result<(), String> {
    let mut missing = Vec::new();
    let nodes: BTreeSet<String> = (1..=NODES)
        .map(|node| Host::Node(node).to_string())
        .collect();
    let servers = (1..=SERVERS).map(|server| Host::Server(server).to_string());
    for name in nodes.iter().cloned().chain(servers) {
        match node_status(objects, &name) {
            None => missing.push(format!("{name} has not connected")),
            Some(status) => missing.extend(node_lacks(&name, status, generation)),
        }
    }
    for (mode, listening) in kinds() {
        let pool = name(mode, listening);
        for protocol in mode.protocols() {
            let name = format!("{pool}-{}", protocol.name());
            match status_of(objects, v1::Kind::Service, &name) {
                Some(Status::ServiceStatus(status)) => {
                    let applied = status.applied_nodes.iter().cloned().collect();
                    missing.extend(
                        nodes
                            .difference(&applied)
                            .map(|node| format!("{node} has not applied {name}")),
                    );
                    missing.extend(
                        status
                            .refusals
                            .iter()
                            .map(|no| format!("{} refuses {name}: {}", no.node, no.reason)),
                    );
                }
                _ => missing.push(format!("no status of the service {name}")),
            }
        }
        match status_of(objects, v1::Kind::Pool, &pool) {
            Some(Status::PoolStatus(status)) => missing.extend(pool_lacks(&pool, status)),
            _ => missing.push(format!("no status of the pool {pool}")),
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(missing.join("; "))
    }
}

fn node_lacks(name: &str, status: &v1::NodeStatus, generation: u64) -> Vec<String> {
    let mut lacks = Vec::new();
    if !status.connected {
        lacks.push(format!("{name} is not connected"));
    }
    if status.applied_generation < generation {
        lacks.push(format!(
            "{name} holds generation {} of {generation}",
            status.applied_generation
        ));
    }
    if !status.fault.is_empty() {
        lacks.push(format!("{name}: {}", status.fault));
    }
    if status.xdp_mode() != v1::XdpMode::Native {
        lacks.push(format!("{name}'s program is not attached in native mode"));
    }
    lacks.extend(
        status
            .refusals
            .iter()
            .map(|refusal| format!("{name} refuses: {}", refusal.reason)),
    );
    lacks
}

fn pool_lacks(name: &str, status: &v1::PoolStatus) -> Vec<String> {
    let mut lacks = Vec::new();
    for node in (1..=NODES).map(|node| Host::Node(node).to_string()) {
        for server in (1..=SERVERS).map(|server| Host::Server(server).to_string()) {
            let health = status
                .health
                .iter()
                .find(|health| health.node == node && health.backend == server);
            match health {
                None => lacks.push(format!("{node} has not probed {server} of {name}")),
                Some(health) if !health.healthy => {
                    lacks.push(format!(
                        "{node} finds {server} of {name} unhealthy: {}",
                        health.reason
                    ));
                }
                Some(_) => {}
            }
        }
    }
    lacks
}

/// What a node reported last.
pub(super) fn node_status<'a>(objects: &'a [v1::Object], name: &str) -> Option<&'a v1::NodeStatus> {
    match status_of(objects, v1::Kind::Node, name) {
        Some(Status::NodeStatus(status)) => Some(status),
        _ => None,
    }
}

fn status_of<'a>(objects: &'a [v1::Object], kind: v1::Kind, name: &str) -> Option<&'a Status> {
    find(objects, kind, name)?.status.as_ref()
}

/// An object by its name.
pub(super) fn find<'a>(
    objects: &'a [v1::Object],
    kind: v1::Kind,
    name: &str,
) -> Option<&'a v1::Object> {
    objects.iter().find(|object| {
        let of = object.r#ref.as_ref();
        of.is_some_and(|of| of.kind() == kind && of.name == name)
    })
}
