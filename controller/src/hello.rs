use std::{collections::BTreeMap, net::IpAddr};

use lbfabric_model::{Generation, Name, NodeFacts, ObjectKey, Role, Violation};
use lbfabric_proto::v1;

/// Own addresses that a node may name.
const ADDRESSES_MAX: usize = 256;

/// A valid [`v1::Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) facts: NodeFacts,
    pub(crate) version: String,
    /// The newest generation that the node has seen.
    pub(crate) generation: Generation,
    /// The digest of each object that the node holds.
    pub(crate) held: BTreeMap<ObjectKey, u64>,
    /// Whether it can be asked about packets.
    pub(crate) explains: bool,
    /// Whether it can be asked for lines of its access log.
    pub(crate) logs: bool,
    /// Whether it can be asked about BGP.
    pub(crate) speaks: bool,
}

impl TryFrom<v1::Hello> for Hello {
    type Error = Vec<Violation>;

    fn try_from(proto: v1::Hello) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        if let Err(violation) = Name::parse(&proto.name, "hello.name") {
            violations.push(violation);
        }
        let role = Role::from_proto(proto.role());
        if role.is_none() {
            violations.push(Violation::new(
                "hello.role",
                "a role is required: load balancer or server",
            ));
        }
        let addresses = parse_addresses(&proto.addresses, "hello.addresses", &mut violations);
        let mut held = BTreeMap::new();
        for (i, object) in proto.held.iter().enumerate() {
            match object.key.map(ObjectKey::try_from) {
                Some(Ok(key)) => {
                    held.insert(key, object.digest);
                }
                // Of a kind that another version knows: it is none of ours, so it goes.
                Some(Err(_)) => {}
                None => violations.push(Violation::new(
                    format!("hello.held[{i}].key"),
                    "a key is required",
                )),
            }
        }
        match role {
            Some(role) if violations.is_empty() => Ok(Self {
                facts: NodeFacts {
                    name: proto.name,
                    role,
                    addresses,
                },
                version: proto.version,
                generation: Generation(proto.generation),
                held,
                explains: proto.explains,
                logs: proto.logs,
                speaks: proto.speaks,
            }),
            _ => Err(violations),
        }
    }
}

/// A node's own addresses; a mistake is named by its place below `path`.
pub(crate) fn parse_addresses(
    texts: &[String],
    path: &str,
    violations: &mut Vec<Violation>,
) -> Vec<IpAddr> {
    if texts.len() > ADDRESSES_MAX {
        violations.push(Violation::new(
            path,
            format!(
                "{} addresses: at most {ADDRESSES_MAX} are taken",
                texts.len()
            ),
        ));
        return Vec::new();
    }
    let mut addresses = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => violations.push(Violation::new(
                format!("{path}[{i}]"),
                "not an IP address: write it as `192.0.2.1` or `2001:db8::1`",
            )),
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> v1::Hello {
        v1::Hello {
            name: "n1".to_owned(),
            role: v1::NodeRole::LoadBalancer.into(),
            addresses: vec!["192.0.2.1".to_owned()],
            version: "1".to_owned(),
            generation: 7,
            held: vec![v1::HeldObject {
                key: Some(v1::NodeObjectKey {
                    kind: v1::NodeObjectKind::Pool.into(),
                    id: 3,
                }),
                digest: 9,
            }],
            logs: true,
            speaks: true,
            explains: true,
        }
    }

    #[test]
    fn valid_hello_is_taken() {
        let hello = Hello::try_from(hello()).unwrap();
        assert_eq!(hello.facts.role, Role::LoadBalancer);
        assert_eq!(hello.generation, Generation(7));
        assert_eq!(hello.held.len(), 1);
    }

    #[test]
    fn every_mistake_is_named() {
        let mut proto = hello();
        proto.name = "Not A Name".to_owned();
        proto.role = 99;
        proto.addresses.push("300.1.1.1".to_owned());
        proto.held.push(v1::HeldObject::default());
        let paths: Vec<_> = Hello::try_from(proto)
            .unwrap_err()
            .into_iter()
            .map(|violation| violation.path)
            .collect();
        assert_eq!(
            paths,
            [
                "hello.name",
                "hello.role",
                "hello.addresses[1]",
                "hello.held[1].key"
            ]
        );
    }

    #[test]
    fn objects_of_an_unknown_kind_are_not_held() {
        let mut proto = hello();
        proto.held[0].key = Some(v1::NodeObjectKey { kind: 77, id: 1 });
        assert!(Hello::try_from(proto).unwrap().held.is_empty());
    }
}
