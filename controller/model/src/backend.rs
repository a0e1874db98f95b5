use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lbfabric_proto::v1;

use crate::{
    Name, QuicServerId, Violation,
    fields::Fields,
    vip::{family, parse_unicast},
};

/// The weight of a server that does not say one.
const WEIGHT_DEFAULT: u16 = 100;

/// A server of a pool. It has at least one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Unique within the pool.
    pub name: Name,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Its share of new connections; 0 drains.
    pub weight: u16,
    /// What it puts into its QUIC connection IDs.
    pub quic_server_id: Option<QuicServerId>,
}

impl Backend {
    pub(crate) fn parse(
        spec: &v1::BackendSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let before = violations.len();
        let name = Name::parse(&spec.name, &format!("{path}.name"))
            .map_err(|v| violations.push(v))
            .ok();
        let (mut ipv4, mut ipv6) = (None, None);
        if spec.addresses.is_empty() {
            violations.push(Violation::new(
                format!("{path}.addresses"),
                "an address is required: give one IPv4 address, one IPv6 address, or one of each",
            ));
        }
        for (i, text) in spec.addresses.iter().enumerate() {
            let path = format!("{path}.addresses[{i}]");
            let taken = match parse_unicast(text, &path) {
                Ok(IpAddr::V4(v4)) => ipv4.replace(v4).map(IpAddr::from),
                Ok(IpAddr::V6(v6)) => ipv6.replace(v6).map(IpAddr::from),
                Err(violation) => {
                    violations.push(violation);
                    None
                }
            };
            if let Some(first) = taken {
                violations.push(Violation::new(
                    path,
                    format!(
                        "the server has the {} address {first} already: make another server of this one",
                        family(first)
                    ),
                ));
            }
        }
        let quic_server_id = parse_quic_server_id(&spec.quic_server_id, path, violations);
        let weight = spec.weight.unwrap_or(WEIGHT_DEFAULT.into());
        let Ok(weight) = u16::try_from(weight) else {
            violations.push(Violation::new(
                format!("{path}.weight"),
                format!("{weight} is out of range: use 1 to 65535, or 0 to drain"),
            ));
            return None;
        };
        (violations.len() == before).then_some(Self {
            name: name?,
            ipv4,
            ipv6,
            weight,
            quic_server_id,
        })
    }

    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.ipv4.map(IpAddr::from);
        v4.into_iter().chain(self.ipv6.map(IpAddr::from))
    }

    /// Its address of the same family as `other`.
    pub fn address_like(&self, other: IpAddr) -> Option<IpAddr> {
        match other {
            IpAddr::V4(_) => self.ipv4.map(IpAddr::from),
            IpAddr::V6(_) => self.ipv6.map(IpAddr::from),
        }
    }

    /// The specification with every default filled in.
    pub fn to_spec(&self) -> v1::BackendSpec {
        v1::BackendSpec {
            name: self.name.to_string(),
            addresses: self.addresses().map(|a| a.to_string()).collect(),
            weight: Some(self.weight.into()),
            quic_server_id: self
                .quic_server_id
                .map_or_else(String::new, |id| id.to_string()),
        }
    }

    pub(crate) fn fields(&self, fields: &mut Fields) {
        let path = format!("backends.{}", self.name);
        fields.put_list(&format!("{path}.addresses"), self.addresses());
        fields.put(format!("{path}.weight"), self.weight);
        fields.put_list(&format!("{path}.quic_server_id"), self.quic_server_id);
    }
}

fn parse_quic_server_id(
    text: &str,
    path: &str,
    violations: &mut Vec<Violation>,
) -> Option<QuicServerId> {
    if text.is_empty() {
        return None;
    }
    QuicServerId::parse(text, &format!("{path}.quic_server_id"))
        .map_err(|violation| violations.push(violation))
        .ok()
}
