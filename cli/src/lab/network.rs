//! Makes the lab's network: namespaces, links, addresses, routes.

use std::fs;

use anyhow::Context as _;

use super::mode::Mode;
use super::namespace::Namespace;
use super::program;
use super::topology::{
    Family, Host, Listening, NODES, SERVERS, Segment, VIP_PREFIXES, address, dnat_address, mac,
    prefix_length, remembered_address, transparent_address, vip,
};

/// The routing table of the servers' answers that go through a node.
const NODE_TABLE: u32 = 100;

/// Every network namespace of one lab.
#[derive(Clone, Debug)]
pub(super) struct Network {
    id: String,
}

impl Network {
    /// The network of the lab `id`, which need not exist yet.
    pub(super) fn new(id: &str) -> Self {
        Self { id: id.to_owned() }
    }

    /// Makes the network. What was made stays when it fails.
    pub(super) fn build(&self) -> anyhow::Result<()> {
        let hosts = Host::all();
        let added: Vec<String> = hosts
            .iter()
            .map(|&host| format!("netns add {}", self.namespace(host).name()))
            .collect();
        program::ip_batch(&added)?;
        for &host in &hosts {
            self.set_kernel(host)?;
        }
        program::ip_batch(&self.links())?;
        for &host in &hosts {
            self.ip(host, "-4", &links_up(host))?;
            // `ip` takes an address in a rule for one of the family that it was started with.
            self.ip(host, "-4", &routing(host, Family::Ipv4))?;
            self.ip(host, "-6", &routing(host, Family::Ipv6))?;
        }
        self.finish_checksums_at_the_sender()
    }

    /// The namespace of a host.
    pub(super) fn namespace(&self, host: Host) -> Namespace {
        Namespace::new(&self.id, host)
    }

    /// Runs `ip` on a list of commands inside a host's namespace.
    fn ip(&self, host: Host, family: &str, lines: &[String]) -> anyhow::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let namespace = self.namespace(host);
        let script = lines.join("\n") + "\n";
        program::succeed(
            namespace.command("ip").args([family, "-batch", "-"]),
            &script,
        )
        .map(drop)
        .with_context(|| format!("configuring {} with\n{script}", namespace.name()))
    }

    /// Settings of the kernel, before there is an interface that they could come too late for.
    fn set_kernel(&self, host: Host) -> anyhow::Result<()> {
        self.namespace(host).inside(|| {
            for scope in ["all", "default"] {
                for (family, name, value) in [
                    ("ipv4", "rp_filter", "0"),
                    ("ipv4", "send_redirects", "0"),
                    ("ipv4", "accept_redirects", "0"),
                    ("ipv6", "accept_dad", "0"),
                    ("ipv6", "accept_ra", "0"),
                    ("ipv6", "accept_redirects", "0"),
                ] {
                    set(&format!("{family}/conf/{scope}/{name}"), value)?;
                }
            }
            if matches!(host, Host::Router | Host::Node(_)) {
                set("ipv4/ip_forward", "1")?;
                set("ipv6/conf/all/forwarding", "1")?;
            }
            if host == Host::Router {
                set("ipv4/fib_multipath_hash_policy", "1")?;
                set("ipv6/fib_multipath_hash_policy", "1")?;
            }
            Ok(())
        })
    }

    fn links(&self) -> Vec<String> {
        let end = |host, segment: Segment| {
            let (name, mac) = (segment.device(), mac(segment, host));
            format!(
                "name {name} address {mac} netns {}",
                self.namespace(host).name()
            )
        };
        let mut lines = Vec::new();
        for segment in Segment::ALL {
            let Some(bridge) = segment.bridge() else {
                let [one, other] = segment.members()[..] else {
                    unreachable!("a segment without a bridge has two ends");
                };
                lines.push(format!(
                    "link add {} type veth peer {}",
                    end(one, segment),
                    end(other, segment)
                ));
                continue;
            };
            lines.push(format!(
                "link add {} type bridge forward_delay 0 mcast_snooping 0",
                end(bridge, segment)
            ));
            for host in segment.members().into_iter().filter(|&host| host != bridge) {
                let port = format!("name {host} netns {}", self.namespace(bridge).name());
                lines.push(format!(
                    "link add {} type veth peer {port}",
                    end(host, segment)
                ));
            }
        }
        lines
    }

    /// A veth leaves checksums to a card that is not there; a packet that XDP rewrites would then carry a wrong one.
    fn finish_checksums_at_the_sender(&self) -> anyhow::Result<()> {
        let mut senders = vec![(Host::Client, Segment::Client)];
        for server in (1..=SERVERS).map(Host::Server) {
            senders.extend([(server, Segment::Flat), (server, Segment::Routed)]);
        }
        senders.extend((1..=NODES).map(|node| (Host::Node(node), Segment::Flat)));
        for (host, segment) in senders {
            let mut ethtool = self.namespace(host).command("ethtool");
            program::succeed(ethtool.args(["-K", segment.device(), "tx", "off"]), "")?;
        }
        Ok(())
    }
}

/// Writes a setting of the network namespace that the calling thread is in.
fn set(name: &str, value: &str) -> anyhow::Result<()> {
    let path = format!("/proc/sys/net/{name}");
    fs::write(&path, value).with_context(|| format!("writing {value} to {path}"))
}

/// Brings a host's interfaces up, with the ports of the bridge if it has one.
fn links_up(host: Host) -> Vec<String> {
    let mut lines = vec!["link set dev lo up".to_owned()];
    for segment in Segment::ALL {
        let device = segment.device();
        if segment.bridge() == Some(host) {
            let ports = segment.members().into_iter().filter(|&port| port != host);
            lines.push(format!("link set dev {device} up"));
            lines.extend(ports.map(|port| format!("link set dev {port} master {device} up")));
        } else if segment.members().contains(&host) {
            lines.push(format!("link set dev {device} up"));
        }
    }
    lines
}

/// A host's addresses and routes.
fn routing(host: Host, family: Family) -> Vec<String> {
    let on = Segment::ALL
        .into_iter()
        .filter(|segment| segment.members().contains(&host));
    on.map(|segment| {
        let (address, length) = (address(segment, host, family), prefix_length(family));
        add_address(&format!("{address}/{length}"), segment.device(), family)
    })
    .chain(routes(host, family))
    .collect()
}

fn add_address(address: &str, device: &str, family: Family) -> String {
    // Without `nodad` the first seconds of an IPv6 address cannot be used.
    let nodad = if family == Family::Ipv6 { " nodad" } else { "" };
    format!("address add {address} dev {device}{nodad}")
}

fn routes(host: Host, family: Family) -> Vec<String> {
    let flat = Segment::Flat.device();
    let router = address(Segment::Flat, Host::Router, family);
    let nodes = (1..=NODES).map(|node| address(Segment::Flat, Host::Node(node), family));
    match host {
        Host::Client => {
            let router = address(Segment::Client, Host::Router, family);
            vec![format!("route add default via {router}")]
        }
        Host::Router => {
            let prefix = VIP_PREFIXES[family as usize];
            let hops: Vec<String> = nodes.map(|node| format!("nexthop via {node}")).collect();
            let mut lines = vec![format!("route add {prefix} {}", hops.join(" "))];
            let listening = Listening::Addresses;
            let apart = Mode::ALL
                .into_iter()
                .filter(|mode| !mode.is_everywhere(listening));
            let node = address(Segment::Flat, Host::Node(1), family);
            lines.extend(apart.map(|mode| {
                let vip = vip(mode, listening, family);
                format!("route add {vip} via {node}")
            }));
            lines
        }
        Host::Node(_) => vec![format!("route add default via {router}")],
        Host::Server(server) => {
            let through_node = [
                dnat_address(server, family),
                transparent_address(server, family),
                remembered_address(server, family),
            ];
            let length = prefix_length(family);
            let prefix = match family {
                Family::Ipv4 => "10.77.2.0/24",
                Family::Ipv6 => "fd77:2::/64",
            };
            let node = address(Segment::Flat, Host::Node(1), family);
            let mut lines = vec![
                format!("route add default via {router}"),
                format!("route add {prefix} dev {flat} table {NODE_TABLE}"),
                format!("route add default via {node} dev {flat} table {NODE_TABLE}"),
            ];
            for own in through_node {
                lines.push(add_address(&format!("{own}/{length}"), flat, family));
                lines.push(format!("rule add from {own} lookup {NODE_TABLE}"));
            }
            lines
        }
        Host::Switch | Host::Ops | Host::Controller(_) => Vec::new(),
    }
}
