use lbfabric_proto::v1;

use super::Table;

/// Neighbors of nodes for people.
pub fn bgp_neighbors(nodes: &[v1::NodeNeighbors], wide: bool) -> Table {
    let narrow = [
        "NODE", "NEIGHBOR", "ADDRESS", "ASN", "STATE", "BFD", "ROUTES", "LAST-END",
    ];
    let more = [
        "NODE",
        "NEIGHBOR",
        "ADDRESS",
        "ASN",
        "STATE",
        "BFD",
        "ROUTES",
        "FAMILIES",
        "HOLD-TIME",
        "CAPABILITIES",
        "SESSIONS",
        "WITHHELD",
        "BFD-DETECTION",
        "BFD-FAULT",
        "DEFAULT-ROUTES",
        "LAST-END",
    ];
    let mut table = Table::new(if wide { &more } else { &narrow });
    for node in nodes {
        for neighbor in &node.neighbors {
            table.row(row(&node.node, neighbor, wide));
            let is_up = neighbor.state() == v1::BgpSessionState::Established;
            table.mark("STATE", is_up);
            if let Some(bfd) = &neighbor.bfd {
                table.mark("BFD", bfd.state() == v1::BfdState::Up);
            }
        }
    }
    table
}

/// What neighbors have been told, for people.
pub fn bgp_routes(nodes: &[v1::NodeRoutes]) -> Table {
    let mut table = Table::new(&[
        "NODE",
        "NEIGHBOR",
        "PREFIX",
        "NEXT-HOP",
        "MED",
        "PREPEND",
        "LOCAL-PREF",
        "COMMUNITIES",
    ]);
    let number = |value: Option<u32>| value.map_or_else(String::new, |it| it.to_string());
    for node in nodes {
        for route in &node.routes {
            let kind = if route.is_aggregate {
                " (aggregate)"
            } else {
                ""
            };
            table.row([
                node.node.clone(),
                route.neighbor.clone(),
                format!("{}{kind}", route.prefix),
                route.next_hop.clone(),
                number(route.med),
                route.prepend.to_string(),
                number(route.local_preference),
                route.communities.join(","),
            ]);
        }
    }
    table
}

/// What nodes make of a VIP, for people.
pub fn vip_announcements(announcements: &[v1::VipAnnouncement]) -> Table {
    let mut table = Table::new(&["VIP", "NODE", "STATE", "FOR", "NEIGHBORS", "REASON"]);
    for said in announcements {
        let state = match (said.is_announced, said.is_draining) {
            (true, false) => "announced",
            (true, true) => "leaving",
            (false, _) => "withheld",
        };
        table.row([
            said.vip.clone(),
            said.node.clone(),
            state.to_owned(),
            format!("{} s", said.for_secs),
            said.neighbors.join(","),
            said.reasons.join("; "),
        ]);
        table.mark("STATE", said.is_announced);
    }
    table
}

fn row(node: &str, neighbor: &v1::BgpNeighborStatus, wide: bool) -> Vec<String> {
    let bfd = neighbor.bfd.as_ref();
    let mut cells = vec![
        node.to_owned(),
        neighbor.name.clone(),
        neighbor.address.clone(),
        neighbor.asn.to_string(),
        session(neighbor.state()).to_owned(),
        bfd.map_or_else(String::new, |it| bfd_state(it.state()).to_owned()),
        format!("{}/{}", neighbor.sent_routes, neighbor.desired_routes),
    ];
    if wide {
        let families = neighbor.families().map(|family| match family {
            v1::AddressFamily::Ipv4 => "ipv4",
            v1::AddressFamily::Ipv6 => "ipv6",
            v1::AddressFamily::Unspecified => "",
        });
        let detection = bfd.map_or(0, |it| it.detection_micros);
        let in_millis = |micros: u64| format!("{} ms", micros / 1_000);
        cells.extend([
            families.collect::<Vec<_>>().join(","),
            some(neighbor.hold_time_secs, |it| format!("{it} s")),
            neighbor.capabilities.join(","),
            neighbor.sessions.to_string(),
            neighbor.withheld_routes.join(","),
            if detection == 0 {
                String::new()
            } else {
                in_millis(detection)
            },
            bfd.map_or_else(String::new, |it| it.fault.clone()),
            default_routes(&neighbor.default_routes),
        ]);
    }
    cells.push(match neighbor.last_end.as_str() {
        "" => String::new(),
        end => format!("{end}, {} s ago", neighbor.last_end_secs),
    });
    cells
}

/// Where a neighbor would send everything.
fn default_routes(routes: &[v1::BgpDefaultRoute]) -> String {
    let route = |it: &v1::BgpDefaultRoute| format!("{} via {}", it.prefix, it.next_hop);
    routes.iter().map(route).collect::<Vec<_>>().join(",")
}

/// Nothing for 0.
fn some(value: u32, show: impl FnOnce(u32) -> String) -> String {
    if value == 0 {
        String::new()
    } else {
        show(value)
    }
}

fn session(state: v1::BgpSessionState) -> &'static str {
    match state {
        v1::BgpSessionState::Unspecified => "",
        v1::BgpSessionState::Idle => "idle",
        v1::BgpSessionState::Connect => "connect",
        v1::BgpSessionState::Active => "active",
        v1::BgpSessionState::OpenSent => "open-sent",
        v1::BgpSessionState::OpenConfirm => "open-confirm",
        v1::BgpSessionState::Established => "established",
    }
}

fn bfd_state(state: v1::BfdState) -> &'static str {
    match state {
        v1::BfdState::Unspecified => "",
        v1::BfdState::AdminDown => "admin-down",
        v1::BfdState::Down => "down",
        v1::BfdState::Init => "init",
        v1::BfdState::Up => "up",
    }
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::*;

    #[test]
    fn shows_sessions() {
        let neighbor = v1::BgpNeighborStatus {
            name: "core".to_owned(),
            address: "192.0.2.254".to_owned(),
            asn: 65_000,
            state: v1::BgpSessionState::Established.into(),
            families: vec![v1::AddressFamily::Ipv4.into()],
            hold_time_secs: 90,
            desired_routes: 3,
            sent_routes: 2,
            bfd: Some(v1::BfdSessionStatus {
                state: v1::BfdState::Up.into(),
                detection_micros: 150_000,
                ..v1::BfdSessionStatus::default()
            }),
            default_routes: vec![v1::BgpDefaultRoute {
                prefix: "::/0".to_owned(),
                next_hop: "fe80::1".to_owned(),
                ..v1::BgpDefaultRoute::default()
            }],
            ..v1::BgpNeighborStatus::default()
        };
        let nodes = [v1::NodeNeighbors {
            node: "lb1".to_owned(),
            status: None,
            neighbors: vec![neighbor],
        }];
        let shown = bgp_neighbors(&nodes, false).render(Style::plain());
        let expected = "\
NODE  NEIGHBOR  ADDRESS      ASN    STATE        BFD  ROUTES  LAST-END
lb1   core      192.0.2.254  65000  established  up   2/3     -
";
        assert_eq!(shown, expected);
        let wide = bgp_neighbors(&nodes, true).render(Style::plain());
        assert!(wide.contains("ipv4") && wide.contains("90 s") && wide.contains("150 ms"));
        assert!(wide.contains("::/0 via fe80::1"));
    }

    #[test]
    fn shows_who_announces_a_vip() {
        let of = |node: &str, reasons: &[&str]| v1::VipAnnouncement {
            vip: "203.0.113.10".to_owned(),
            node: node.to_owned(),
            is_announced: reasons.is_empty(),
            reasons: reasons.iter().copied().map(str::to_owned).collect(),
            for_secs: 7,
            ..v1::VipAnnouncement::default()
        };
        let both = [of("lb1", &[]), of("lb2", &["the node is drained"])];
        let expected = "\
VIP           NODE  STATE      FOR  NEIGHBORS  REASON
203.0.113.10  lb1   announced  7 s  -          -
203.0.113.10  lb2   withheld   7 s  -          the node is drained
";
        assert_eq!(vip_announcements(&both).render(Style::plain()), expected);
    }

    #[test]
    fn shows_routes() {
        let route = v1::BgpRoute {
            prefix: "203.0.113.0/24".to_owned(),
            neighbor: "core".to_owned(),
            med: Some(0),
            communities: vec!["65010:7".to_owned(), "no-export".to_owned()],
            is_aggregate: true,
            ..v1::BgpRoute::default()
        };
        let nodes = [v1::NodeRoutes {
            node: "lb1".to_owned(),
            routes: vec![route],
            left_out: 0,
        }];
        let expected = "\
NODE  NEIGHBOR  PREFIX                      NEXT-HOP  MED  PREPEND  LOCAL-PREF  COMMUNITIES
lb1   core      203.0.113.0/24 (aggregate)  -         0    0        -           65010:7,no-export
";
        assert_eq!(bgp_routes(&nodes).render(Style::plain()), expected);
    }
}
