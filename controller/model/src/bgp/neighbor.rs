use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU8, NonZeroU16};
use std::ops::RangeInclusive;

use lbfabric_proto::v1;

use super::{Bfd, Md5Password, parse_asn, parse_number, parse_port};
use crate::{Name, Violation, name::shortened, vip::parse_unicast, wire_enum::WireEnum as _};

/// A router that a node has a session with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own in the API"
)]
pub struct BgpNeighbor {
    /// Its name.
    pub name: Name,
    /// Its address; one of a link has [`Self::interface`].
    pub address: IpAddr,
    /// The node's interface that the session is on, if named.
    pub interface: Option<String>,
    /// Its AS number.
    pub asn: u32,
    /// Its TCP port.
    pub port: NonZeroU16,
    /// Whether its connection is waited for.
    pub is_passive: bool,
    /// The node's address that the session is at, of the family of [`Self::address`].
    pub local_address: Option<IpAddr>,
    /// The secret of TCP-MD5.
    pub md5_password: Md5Password,
    /// After how many seconds without a message it is taken for dead.
    pub hold_time_secs: u16,
    /// How many hops away it may be.
    pub hops: NonZeroU8,
    /// Whether the TTL of its packets has to prove that.
    pub has_ttl_security: bool,
    /// Families of VIPs that it is told of, each once: at least one.
    pub families: Vec<AddressFamily>,
    /// The node's IPv4 address that VIPs are announced with; none: the node's choice.
    pub next_hop4: Option<Ipv4Addr>,
    /// That of IPv6.
    pub next_hop6: Option<Ipv6Addr>,
    /// Whether IPv4 VIPs may have an IPv6 next hop.
    pub extended_next_hop: bool,
    /// For how many seconds it is asked to keep routes without a session.
    pub graceful_restart_secs: Option<NonZeroU16>,
    /// BFD beside the session.
    pub bfd: Option<Bfd>,
    /// Whether its default routes are taken in, of [`Self::families`].
    pub imports_default: bool,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

const HOLD_TIME_SECS: RangeInclusive<u16> = 3..=u16::MAX;
const HOLD_TIME_SECS_DEFAULT: u16 = 90;
/// Its field has 12 bits.
const RESTART_SECS: RangeInclusive<u16> = 1..=4_095;
/// `IFNAMSIZ`, without the zero behind the name.
const INTERFACE_BYTES_MAX: usize = 15;

// === impl BgpNeighbor ===

impl BgpNeighbor {
    pub(super) fn parse(
        spec: &v1::BgpNeighborSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let before = violations.len();
        let at = |field: &str| format!("{path}.{field}");
        let name = Name::parse(&spec.name, &at("name"))
            .map_err(|v| violations.push(v))
            .ok();
        let address = parse_peer(&spec.address, &at("address"), violations);
        let interface = parse_interface(&spec.interface, &at("interface"), violations);
        if address.is_some_and(is_of_link) && spec.interface.is_empty() {
            let reason =
                "required: the neighbor has an address of a link, which other links have as well";
            violations.push(Violation::new(at("interface"), reason));
        }
        let local_address = parse_local(
            &spec.local_address,
            address,
            &at("local_address"),
            violations,
        );
        let (next_hop4, next_hop6) = parse_next_hops(&spec.next_hops, path, violations);
        let asn = parse_asn(spec.asn, &at("asn"), violations);
        let port = parse_port(spec.port, &at("port"), violations);
        let password = spec.md5_password.as_deref();
        let md5_password = Md5Password::parse(password, &at("md5_password"), violations);
        let hold_time_secs = parse_number(
            spec.hold_time_secs,
            HOLD_TIME_SECS_DEFAULT,
            HOLD_TIME_SECS,
            &at("hold_time_secs"),
            violations,
        );
        let hops = parse_number(spec.hops, 1, 1..=u8::MAX, &at("hops"), violations);
        let families = parse_families(&spec.families, path, violations);
        let restart = parse_number(
            spec.graceful_restart_secs,
            0,
            RESTART_SECS,
            &at("graceful_restart_secs"),
            violations,
        );
        let bfd = spec.bfd.map(|bfd| Bfd::parse(bfd, &at("bfd"), violations));
        let parsed = Self {
            name: name?,
            address: address?,
            interface,
            asn: asn?,
            port: port?,
            is_passive: spec.passive,
            local_address,
            md5_password: md5_password?,
            hold_time_secs: hold_time_secs?,
            hops: NonZeroU8::new(hops?)?,
            has_ttl_security: spec.ttl_security,
            families,
            next_hop4,
            next_hop6,
            extended_next_hop: spec.extended_next_hop,
            graceful_restart_secs: NonZeroU16::new(restart?),
            bfd: bfd.flatten(),
            imports_default: spec.import_default,
        };
        (violations.len() == before).then_some(parsed)
    }

    pub(super) fn to_spec(&self) -> v1::BgpNeighborSpec {
        let Self {
            name,
            address,
            interface,
            asn,
            port,
            is_passive,
            local_address,
            md5_password,
            hold_time_secs,
            hops,
            has_ttl_security,
            families,
            next_hop4,
            next_hop6,
            extended_next_hop,
            graceful_restart_secs,
            bfd,
            imports_default,
        } = self;
        let next_hops = next_hop4.map(IpAddr::from).into_iter();
        let next_hops = next_hops.chain(next_hop6.map(IpAddr::from));
        v1::BgpNeighborSpec {
            name: name.to_string(),
            address: address.to_string(),
            interface: interface.clone().unwrap_or_default(),
            asn: *asn,
            port: port.get().into(),
            passive: *is_passive,
            local_address: local_address.map_or_else(String::new, |it| it.to_string()),
            md5_password: md5_password.to_spec(),
            hold_time_secs: (*hold_time_secs).into(),
            hops: hops.get().into(),
            ttl_security: *has_ttl_security,
            families: families.iter().map(|it| it.to_proto().into()).collect(),
            next_hops: next_hops.map(|it| it.to_string()).collect(),
            extended_next_hop: *extended_next_hop,
            graceful_restart_secs: graceful_restart_secs.map_or(0, |it| it.get().into()),
            bfd: bfd.map(Bfd::to_spec),
            import_default: *imports_default,
        }
    }

    /// Whether its address says by itself where it is.
    pub fn is_global(&self) -> bool {
        !is_of_link(self.address)
    }

    /// What tells its connections from another one's.
    pub(super) fn place(&self) -> (IpAddr, Option<&str>) {
        let link = self
            .interface
            .as_deref()
            .filter(|_| is_of_link(self.address));
        (self.address, link)
    }
}

/// Whether the address is one among those of a link.
fn is_of_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// A unicast address, or one of a link of IPv6.
fn parse_peer(text: &str, path: &str, violations: &mut Vec<Violation>) -> Option<IpAddr> {
    let of_link = text.parse().ok().filter(|it| is_of_link(*it));
    let parsed = of_link.map_or_else(|| parse_unicast(text, path), Ok);
    parsed.map_err(|violation| violations.push(violation)).ok()
}

fn parse_interface(text: &str, path: &str, violations: &mut Vec<Violation>) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let is_name = |text: &str| {
        let bytes = text.bytes();
        text.len() <= INTERFACE_BYTES_MAX
            && !matches!(text, "." | "..")
            && !bytes
                .into_iter()
                .any(|it| it == b'/' || it == b':' || !it.is_ascii_graphic())
    };
    if is_name(text) {
        return Some(text.to_owned());
    }
    let reason = format!("`{}` is not the name of an interface", shortened(text));
    violations.push(Violation::new(path, reason));
    None
}

fn parse_local(
    text: &str,
    peer: Option<IpAddr>,
    path: &str,
    violations: &mut Vec<Violation>,
) -> Option<IpAddr> {
    if text.is_empty() {
        return None;
    }
    let local = parse_peer(text, path, violations)?;
    if peer.is_some_and(|peer| peer.is_ipv4() != local.is_ipv4()) {
        let reason =
            format!("{local} is not of the family of the neighbor's address: use one that is");
        violations.push(Violation::new(path, reason));
    }
    Some(local)
}

fn parse_next_hops(
    texts: &[String],
    path: &str,
    violations: &mut Vec<Violation>,
) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let mut hops = (None, None);
    for (i, text) in texts.iter().enumerate() {
        let path = format!("{path}.next_hops[{i}]");
        let is_second = match parse_unicast(text, &path) {
            Ok(IpAddr::V4(address)) => hops.0.replace(address).is_some(),
            Ok(IpAddr::V6(address)) => hops.1.replace(address).is_some(),
            Err(violation) => {
                violations.push(violation);
                continue;
            }
        };
        if is_second {
            let reason = "the second address of its family: one of each is right";
            violations.push(Violation::new(path, reason));
        }
    }
    hops
}

/// Both, unless some are named.
fn parse_families(
    numbers: &[i32],
    path: &str,
    violations: &mut Vec<Violation>,
) -> Vec<AddressFamily> {
    if numbers.is_empty() {
        return vec![AddressFamily::Ipv4, AddressFamily::Ipv6];
    }
    let mut families = Vec::new();
    for (i, number) in numbers.iter().enumerate() {
        let path = format!("{path}.families[{i}]");
        let Some(family) = AddressFamily::parse_field(*number, &path, violations) else {
            continue;
        };
        if families.contains(&family) {
            let reason = format!("{} stands here twice: name it once", family.name());
            violations.push(Violation::new(path, reason));
        } else {
            families.push(family);
        }
    }
    families.sort_unstable();
    families
}
