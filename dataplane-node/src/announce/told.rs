//! What controllers are told of neighbors, in the words of the API.

use lbfabric_bgp::bfd;
use lbfabric_bgp::{
    Attributes, DefaultRoute, End, Family, Negotiated, Prefix, RouteRefresh, State,
};
use lbfabric_model::{Bgp, BgpNeighbor, Community};
use lbfabric_proto::v1;
use lbfabric_routing::BfdReport;

use super::table::NeighborRow;

/// So many of the routes that a session cannot carry are named.
const WITHHELD_MAX: usize = 16;

pub(crate) fn brief(row: &NeighborRow) -> v1::BgpNeighborBrief {
    let bfd_state = match &row.bfd {
        Some(bfd) => bfd_state(bfd.state),
        None => v1::BfdState::Unspecified,
    };
    v1::BgpNeighborBrief {
        name: row.report.name.clone(),
        state: session_state(row.report.state).into(),
        bfd_state: bfd_state.into(),
    }
}

/// A row of the whole table.
pub(crate) fn neighbor(settings: &Bgp, row: &NeighborRow) -> v1::BgpNeighborStatus {
    let NeighborRow {
        report,
        bfd,
        bfd_fault,
    } = row;
    let mut named = settings.neighbors.iter();
    let known = named.find(|it| it.name.as_str() == report.name);
    let negotiated = report.negotiated.as_ref();
    let (last_end_secs, last_end) = match &report.last_end {
        Some((secs, end)) => (*secs, end_text(end)),
        None => (0, String::new()),
    };
    let families = negotiated.into_iter().flat_map(|it| it.families.families());
    let wants_bfd = known.is_some_and(|it| it.bfd.is_some());
    v1::BgpNeighborStatus {
        name: report.name.clone(),
        address: known.map_or_else(String::new, address_text),
        asn: known.map_or(0, |it| it.asn),
        state: session_state(report.state).into(),
        local_endpoint: report
            .addresses
            .map_or_else(String::new, |(local, _)| local.to_string()),
        peer_router_id: negotiated.map_or_else(String::new, |it| it.peer_id.to_string()),
        hold_time_secs: negotiated.map_or(0, |it| it.hold_time_secs.into()),
        families: families.map(|it| family(it).into()).collect(),
        capabilities: negotiated.map(capabilities).unwrap_or_default(),
        sessions: report.sessions,
        last_end,
        last_end_secs,
        desired_routes: count(report.desired),
        sent_routes: count(report.sent),
        is_settled: report.is_settled,
        withheld_routes: report
            .withheld
            .iter()
            .take(WITHHELD_MAX)
            .map(ToString::to_string)
            .collect(),
        received_updates: report.imports.updates,
        default_routes: Family::ALL
            .into_iter()
            .filter_map(|family| {
                Some(default_route(
                    family,
                    report.default_routes.of(family).as_ref()?,
                ))
            })
            .collect(),
        bfd: wants_bfd.then(|| bfd_session(bfd.as_ref(), bfd_fault.clone().unwrap_or_default())),
    }
}

fn default_route(family: Family, route: &DefaultRoute) -> v1::BgpDefaultRoute {
    let DefaultRoute {
        next_hop,
        local_preference,
        path_length,
        med,
    } = route;
    let prefix = match family {
        Family::Ipv4 => "0.0.0.0/0",
        Family::Ipv6 => "::/0",
    };
    v1::BgpDefaultRoute {
        prefix: prefix.to_owned(),
        next_hop: next_hop.to_string(),
        local_preference: *local_preference,
        path_length: count(*path_length),
        med: *med,
    }
}

pub(crate) fn route(neighbor: &str, prefix: Prefix, attributes: &Attributes) -> v1::BgpRoute {
    let spec = attributes.to_spec();
    let standard = spec.communities.into_iter().map(Community::Standard);
    let large = spec.large_communities.into_iter();
    let large = large.map(|(of, one, two)| Community::Large(of, one, two));
    let extended = spec
        .extended_communities
        .into_iter()
        .map(Community::Extended);
    let communities = standard.chain(large).chain(extended);
    v1::BgpRoute {
        prefix: prefix.to_string(),
        neighbor: neighbor.to_owned(),
        next_hop: spec.next_hop.map_or_else(String::new, |it| it.to_string()),
        med: spec.med,
        prepend: spec.prepend.into(),
        local_preference: spec.local_preference,
        communities: communities.map(|it| it.to_string()).collect(),
        is_aggregate: attributes.is_aggregate(),
    }
}

fn address_text(neighbor: &BgpNeighbor) -> String {
    match &neighbor.interface {
        Some(interface) if !neighbor.is_global() => format!("{}%{interface}", neighbor.address),
        Some(_) | None => neighbor.address.to_string(),
    }
}

fn bfd_session(report: Option<&BfdReport>, fault: String) -> v1::BfdSessionStatus {
    let Some(report) = report else {
        return v1::BfdSessionStatus {
            fault,
            ..v1::BfdSessionStatus::default()
        };
    };
    let BfdReport {
        path: _,
        state,
        partner_state,
        diagnostic,
        detection_micros,
        transmit_micros,
    } = report;
    v1::BfdSessionStatus {
        state: bfd_state(*state).into(),
        partner_state: bfd_state(*partner_state).into(),
        diagnostic: if *diagnostic == bfd::Diagnostic::NONE {
            String::new()
        } else {
            diagnostic.to_string()
        },
        detection_micros: detection_micros.unwrap_or_default(),
        transmit_micros: transmit_micros.unwrap_or_default(),
        fault,
    }
}

fn capabilities(negotiated: &Negotiated) -> Vec<String> {
    let refresh = match negotiated.route_refresh {
        RouteRefresh::No => None,
        RouteRefresh::Plain => Some("route-refresh"),
        RouteRefresh::Marked => Some("enhanced-route-refresh"),
    };
    let has_restart = negotiated.peer_restart.is_some();
    let used = [
        negotiated.four_byte_as.then_some("four-byte-as"),
        negotiated.extended_next_hop.then_some("extended-next-hop"),
        refresh,
        has_restart.then_some("graceful-restart"),
    ];
    used.into_iter().flatten().map(str::to_owned).collect()
}

fn end_text(end: &End) -> String {
    match end {
        End::Sent(notification) => format!("the node ended it: {notification}"),
        End::Received(notification) => format!("the neighbor ended it: {notification}"),
        End::Lost => "the connection broke, or nobody answered".to_owned(),
    }
}

fn session_state(state: State) -> v1::BgpSessionState {
    match state {
        State::Idle => v1::BgpSessionState::Idle,
        State::Connect => v1::BgpSessionState::Connect,
        State::Active => v1::BgpSessionState::Active,
        State::OpenSent => v1::BgpSessionState::OpenSent,
        State::OpenConfirm => v1::BgpSessionState::OpenConfirm,
        State::Established => v1::BgpSessionState::Established,
    }
}

fn bfd_state(state: bfd::State) -> v1::BfdState {
    match state {
        bfd::State::AdminDown => v1::BfdState::AdminDown,
        bfd::State::Down => v1::BfdState::Down,
        bfd::State::Init => v1::BfdState::Init,
        bfd::State::Up => v1::BfdState::Up,
    }
}

fn family(family: Family) -> v1::AddressFamily {
    match family {
        Family::Ipv4 => v1::AddressFamily::Ipv4,
        Family::Ipv6 => v1::AddressFamily::Ipv6,
    }
}

/// An address, or a prefix.
pub(crate) fn vip_text(vip: Prefix) -> String {
    if vip == Prefix::host(vip.address()) {
        vip.address().to_string()
    } else {
        vip.to_string()
    }
}

pub(crate) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
