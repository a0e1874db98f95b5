//! What the router's bird is told, and the routes that it has to have learned from the nodes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::Context as _;
use serde::Deserialize;

use super::mode::Mode;
use super::topology::{
    Family, Host, Listening, NODES, Segment, address, prefix_length, vip, vip_prefix,
};

/// The port of BGP, whose packets are not the client's.
pub(super) const BGP_PORT: u16 = 179;
/// The AS of the nodes.
pub(super) const NODES_ASN: u32 = 65_010;
/// The AS of the router.
pub(super) const ROUTER_ASN: u32 = 65_020;
/// Number of bird's routes in the kernel's table, as in `/etc/iproute2/rt_protos`.
pub(super) const KERNEL_PROTOCOL: &str = "12";

/// Prefixes in the kernel's notation, each with the nodes that they are reached through.
type Routes = BTreeMap<String, BTreeSet<IpAddr>>;

/// bird's configuration: it takes what the nodes announce, with every node of a VIP beside the others, and lets the kernel forward by it.
pub(super) fn bird_conf() -> String {
    let router = address(Segment::Flat, Host::Router, Family::Ipv4);
    let mut text = format!("log stderr all;\nrouter id {router};\nprotocol device {{}}\n");
    for family in Family::ALL.map(Family::name) {
        let _infallible = writeln!(
            text,
            "protocol kernel {{ merge paths on; {family} {{ import none; export where source = RTS_BGP; }}; }}"
        );
    }
    for host in (1..=NODES).map(Host::Node) {
        let node = address(Segment::Flat, host, Family::Ipv4);
        let _infallible = writeln!(
            text,
            "protocol bgp {host} {{ local {router} as {ROUTER_ASN}; neighbor {node} as {NODES_ASN}; passive on;\n  \
             ipv4 {{ import all; export none; }}; ipv6 {{ import all; export none; }}; }}"
        );
    }
    text
}

/// Whether the kernel has exactly the routes that it must have; the error says what it has not, or has besides. `listed` is what
/// `ip -json route show proto` says of one family.
pub(super) fn has_learned(family: Family, listed: &str) -> anyhow::Result<Result<(), String>> {
    let (expected, found) = (expected(family), routes(listed)?);
    if found == expected {
        return Ok(Ok(()));
    }
    let said = |routes: &Routes, others: &Routes| {
        let differing = routes
            .iter()
            .filter(|(prefix, nodes)| others.get(*prefix) != Some(*nodes));
        let lines = differing.map(|(prefix, nodes)| {
            let nodes: Vec<String> = nodes.iter().map(IpAddr::to_string).collect();
            format!("{prefix} via {}", nodes.join(" "))
        });
        lines.collect::<Vec<_>>().join(", ")
    };
    Ok(Err(format!(
        "the router lacks [{}] and has [{}]",
        said(&expected, &found),
        said(&found, &expected)
    )))
}

fn expected(family: Family) -> Routes {
    let mut routes = Routes::new();
    let listening = Listening::Transparent;
    for mode in Mode::ALL {
        let last = if mode.is_everywhere(listening) {
            NODES
        } else {
            1
        };
        let nodes: BTreeSet<IpAddr> = (1..=last)
            .map(|node| address(Segment::Flat, Host::Node(node), family))
            .collect();
        let prefix = format!("{}/{}", vip_prefix(mode, family), prefix_length(family));
        routes.insert(vip(mode, listening, family).to_string(), nodes.clone());
        routes.insert(prefix, nodes);
    }
    routes
}

/// A route as `ip -json route` writes it: with one next hop, or with several.
#[derive(Debug, Deserialize)]
struct Listed {
    dst: String,
    gateway: Option<IpAddr>,
    #[serde(default)]
    nexthops: Vec<Hop>,
}

#[derive(Debug, Deserialize)]
struct Hop {
    gateway: Option<IpAddr>,
}

fn routes(listed: &str) -> anyhow::Result<Routes> {
    let listed: Vec<Listed> = serde_json::from_str(listed)
        .with_context(|| format!("`ip -json route` wrote {listed:?}"))?;
    let mut routes = Routes::new();
    for Listed {
        dst,
        gateway,
        nexthops,
    } in listed
    {
        let hops = nexthops.into_iter().filter_map(|Hop { gateway }| gateway);
        routes.entry(dst).or_default().extend(hops.chain(gateway));
    }
    Ok(routes)
}

/// An interface as `ip -json address` writes it.
#[derive(Debug, Deserialize)]
struct Interface {
    #[serde(default)]
    addr_info: Vec<Configured>,
}

#[derive(Debug, Deserialize)]
struct Configured {
    local: Option<IpAddr>,
}

/// Every address of a host's interfaces. `listed` is what `ip -json address` says.
pub(super) fn configured(listed: &str) -> anyhow::Result<Vec<IpAddr>> {
    let interfaces: Vec<Interface> = serde_json::from_str(listed)
        .with_context(|| format!("`ip -json address` wrote {listed:?}"))?;
    let addresses = interfaces
        .into_iter()
        .flat_map(|Interface { addr_info }| addr_info);
    Ok(addresses.filter_map(|Configured { local }| local).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `ip -json route` says when everything is learned.
    fn listed(family: Family) -> Vec<serde_json::Value> {
        let routes = expected(family).into_iter().map(|(dst, nodes)| {
            let nodes: Vec<IpAddr> = nodes.into_iter().collect();
            if let [one] = nodes[..] {
                return serde_json::json!({ "dst": dst, "gateway": one, "dev": "flat", "metric": 32 });
            }
            let hops = nodes
                .iter()
                .map(|node| serde_json::json!({ "gateway": node, "dev": "flat", "weight": 1 }));
            serde_json::json!({ "dst": dst, "nexthops": hops.collect::<Vec<_>>() })
        });
        routes.collect()
    }

    fn said(family: Family, listed: &[serde_json::Value]) -> Result<(), String> {
        has_learned(family, &serde_json::to_string(listed).unwrap()).unwrap()
    }

    #[test]
    fn routes_have_to_be_those_that_nodes_announce() {
        for family in Family::ALL {
            let all = listed(family);
            assert_eq!(all.len(), 12);
            assert_eq!(said(family, &all), Ok(()));
            let missing = said(family, &all[1..]).unwrap_err();
            assert!(
                missing.contains("lacks [") && missing.ends_with("has []"),
                "{missing}"
            );
            let mut fewer = all.clone();
            let several = fewer.iter_mut().find_map(|it| it.get_mut("nexthops"));
            several.unwrap().as_array_mut().unwrap().pop();
            assert!(said(family, &fewer).is_err());
            let mut more = all;
            more.push(serde_json::json!({ "dst": "192.0.2.0/24", "gateway": "10.77.2.11" }));
            let stranger = said(family, &more).unwrap_err();
            assert!(
                stranger.contains("has [192.0.2.0/24 via 10.77.2.11]"),
                "{stranger}"
            );
        }
        assert!(has_learned(Family::Ipv4, "no JSON").is_err());
    }

    #[test]
    fn addresses_of_interfaces_are_read() {
        let listed = r#"[{}, {"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8},
            {"family":"inet6","local":"fd97::11"}, {"family":"link"}]}]"#;
        let found = configured(listed).unwrap();
        assert_eq!(
            found,
            ["127.0.0.1", "fd97::11"].map(|it| it.parse::<IpAddr>().unwrap())
        );
    }
}
