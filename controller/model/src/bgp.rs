//! How a node speaks BGP, checked: what its speaker would refuse is refused here. `lbfabric-node` holds the limits together by a test.

mod bfd;
mod neighbor;
mod password;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use lbfabric_proto::v1;

pub use bfd::Bfd;
pub use neighbor::{AddressFamily, BgpNeighbor};
pub use password::{Md5Password, Md5Secret};

use crate::{Prefix, Violation, fields::Fields, name::shortened};

/// The settings of a node's speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bgp {
    /// The node's AS number.
    pub asn: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// The routers, each with a name and an address of its own: at least one.
    pub neighbors: Vec<BgpNeighbor>,
    /// Prefixes that are announced while a VIP in them is, each once.
    pub aggregates: Vec<BgpAggregate>,
    /// Where neighbors' connections are awaited.
    pub listen_port: NonZeroU16,
    /// For how many seconds a node that is drained goes on announcing.
    pub drain_secs: u16,
}

/// A prefix that stands for the VIPs in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BgpAggregate {
    /// The prefix.
    pub prefix: Prefix,
    /// Whether the VIPs in it are not announced.
    pub is_summary_only: bool,
}

const NEIGHBORS_MAX: usize = 64;
const AGGREGATES_MAX: usize = 256;
/// RFC 4271 section 8.
const PORT: NonZeroU16 = NonZeroU16::new(179).expect("179 is not 0");
const DRAIN_SECS_DEFAULT: u16 = 10;
const DRAIN_SECS: RangeInclusive<u16> = 1..=3_600;
/// Stands for AS numbers beyond 65,535 (RFC 6793).
const AS_TRANS: u32 = 23_456;

// === impl Bgp ===

impl Bgp {
    pub(crate) fn parse(
        spec: &v1::BgpSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let before = violations.len();
        let asn = parse_asn(spec.asn, &format!("{path}.asn"), violations);
        let router_id = parse_router_id(&spec.router_id, &format!("{path}.router_id"), violations);
        let neighbors = parse_neighbors(&spec.neighbors, path, violations);
        let aggregates = parse_aggregates(&spec.aggregates, path, violations);
        let listen_port = parse_port(spec.listen_port, &format!("{path}.listen_port"), violations);
        let drain_secs = parse_number(
            spec.drain_secs,
            DRAIN_SECS_DEFAULT,
            DRAIN_SECS,
            &format!("{path}.drain_secs"),
            violations,
        );
        let parsed = Self {
            asn: asn?,
            router_id: router_id?,
            neighbors,
            aggregates,
            listen_port: listen_port?,
            drain_secs: drain_secs?,
        };
        (violations.len() == before).then_some(parsed)
    }

    /// The specification with every default filled in, secrets included.
    pub fn to_spec(&self) -> v1::BgpSpec {
        let Self {
            asn,
            router_id,
            neighbors,
            aggregates,
            listen_port,
            drain_secs,
        } = self;
        let aggregate = |it: &BgpAggregate| v1::BgpAggregateSpec {
            prefix: it.prefix.to_string(),
            summary_only: it.is_summary_only,
        };
        v1::BgpSpec {
            asn: *asn,
            router_id: router_id.to_string(),
            neighbors: neighbors.iter().map(BgpNeighbor::to_spec).collect(),
            aggregates: aggregates.iter().map(aggregate).collect(),
            listen_port: listen_port.get().into(),
            drain_secs: (*drain_secs).into(),
        }
    }

    /// Takes the secrets that are to stay as they are from what there was before.
    pub(crate) fn keep_passwords(&mut self, before: Option<&Self>) {
        for neighbor in &mut self.neighbors {
            let known = before.map_or(&[][..], |it| &it.neighbors);
            let known = known.iter().find(|it| it.name == neighbor.name);
            neighbor.md5_password = neighbor
                .md5_password
                .or_kept(known.map(|it| &it.md5_password));
        }
    }

    /// Neighbors that have a secret as before, and another one.
    pub(crate) fn other_passwords(&self, before: &Self) -> Vec<v1::FieldChange> {
        let changed = self.neighbors.iter().filter(|neighbor| {
            let known = before.neighbors.iter().find(|it| it.name == neighbor.name);
            let known = known.and_then(|it| it.md5_password.secret());
            let secret = neighbor.md5_password.secret();
            known.is_some() && secret.is_some() && known != secret
        });
        let change = |neighbor: &BgpNeighbor| v1::FieldChange {
            path: password_path(neighbor),
            before: "a secret".to_owned(),
            after: "another secret".to_owned(),
        };
        changed.map(change).collect()
    }

    /// Puts what can be shown.
    pub(crate) fn fields(&self, fields: &mut Fields) {
        fields.put_message("bgp", "BgpSpec", &self.without_passwords());
        for neighbor in &self.neighbors {
            fields.put_list(&password_path(neighbor), neighbor.md5_password.mark());
        }
    }

    /// As [`Self::to_spec`], with no secret.
    pub(crate) fn without_passwords(&self) -> v1::BgpSpec {
        let mut spec = self.to_spec();
        for neighbor in &mut spec.neighbors {
            neighbor.md5_password = None;
        }
        spec
    }
}

fn password_path(neighbor: &BgpNeighbor) -> String {
    format!("bgp.neighbors.{}.md5_password", neighbor.name)
}

fn parse_neighbors(
    specs: &[v1::BgpNeighborSpec],
    path: &str,
    violations: &mut Vec<Violation>,
) -> Vec<BgpNeighbor> {
    let path = format!("{path}.neighbors");
    if !(1..=NEIGHBORS_MAX).contains(&specs.len()) {
        let reason = format!("{}: 1 to {NEIGHBORS_MAX} neighbors are right", specs.len());
        violations.push(Violation::new(path.clone(), reason));
    }
    let mut neighbors: Vec<BgpNeighbor> = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(neighbor) = BgpNeighbor::parse(spec, &path, violations) else {
            continue;
        };
        if neighbors.iter().any(|it| it.name == neighbor.name) {
            let reason = format!("`{}` stands here twice: name each once", neighbor.name);
            violations.push(Violation::new(format!("{path}.name"), reason));
        }
        if neighbors.iter().any(|it| it.place() == neighbor.place()) {
            let reason = format!(
                "another neighbor has {}, too: their connections could not be told apart",
                neighbor.address
            );
            violations.push(Violation::new(format!("{path}.address"), reason));
        }
        neighbors.push(neighbor);
    }
    neighbors
}

fn parse_aggregates(
    specs: &[v1::BgpAggregateSpec],
    path: &str,
    violations: &mut Vec<Violation>,
) -> Vec<BgpAggregate> {
    let path = format!("{path}.aggregates");
    if specs.len() > AGGREGATES_MAX {
        let reason = format!("{}: {AGGREGATES_MAX} at most", specs.len());
        violations.push(Violation::new(path.clone(), reason));
    }
    let mut seen = BTreeSet::new();
    let mut aggregates = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        let path = format!("{path}[{i}].prefix");
        match Prefix::parse(&spec.prefix, &path) {
            Ok(prefix) if seen.insert(prefix) => aggregates.push(BgpAggregate {
                prefix,
                is_summary_only: spec.summary_only,
            }),
            Ok(prefix) => violations.push(Violation::new(
                path,
                format!("{prefix} stands here twice: name it once"),
            )),
            Err(violation) => violations.push(violation),
        }
    }
    aggregates
}

fn parse_router_id(text: &str, path: &str, violations: &mut Vec<Violation>) -> Option<Ipv4Addr> {
    let parsed = text.parse().ok();
    let router_id = parsed.filter(|it: &Ipv4Addr| !it.is_unspecified());
    if router_id.is_none() {
        let what = if text.is_empty() {
            "required".to_owned()
        } else {
            format!("`{}` is none", shortened(text))
        };
        let reason =
            format!("{what}: write an IPv4 address that is the node's own, such as `192.0.2.1`");
        violations.push(Violation::new(path, reason));
    }
    router_id
}

fn parse_asn(asn: u32, path: &str, violations: &mut Vec<Violation>) -> Option<u32> {
    let reason = match asn {
        0 => "required: an AS number, 1 to 4294967295".to_owned(),
        AS_TRANS => format!("{AS_TRANS} stands for others (RFC 6793): give the AS number itself"),
        asn => return Some(asn),
    };
    violations.push(Violation::new(path, reason));
    None
}

fn parse_port(port: u32, path: &str, violations: &mut Vec<Violation>) -> Option<NonZeroU16> {
    if port == 0 {
        return Some(PORT);
    }
    let parsed = u16::try_from(port).ok().and_then(NonZeroU16::new);
    if parsed.is_none() {
        let reason = format!("{port} is not a port: use 1 to 65535, or leave it out for {PORT}");
        violations.push(Violation::new(path, reason));
    }
    parsed
}

/// A number within a range; 0 is the default.
fn parse_number<T>(
    number: u32,
    default: T,
    range: RangeInclusive<T>,
    path: &str,
    violations: &mut Vec<Violation>,
) -> Option<T>
where
    T: Copy + PartialOrd + TryFrom<u32> + std::fmt::Display,
{
    if number == 0 {
        return Some(default);
    }
    let parsed = T::try_from(number).ok();
    let parsed = parsed.filter(|number| range.contains(number));
    if parsed.is_none() {
        let (first, last) = range.into_inner();
        let reason = format!("{number}: use {first} to {last}, or leave it out for {default}");
        violations.push(Violation::new(path, reason));
    }
    parsed
}

#[cfg(test)]
mod tests;
