use std::net::IpAddr;

use lbfabric_abi::SOURCES_MAX;
use lbfabric_proto::v1;

use crate::{
    Name, Violation,
    fields::Fields,
    vip::{family, parse_unicast},
};

/// The settings of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The object's name.
    pub name: Name,
    /// Sources of full NAT and tunnels, each once; empty: the first address of each family on the interface.
    pub sources: Vec<IpAddr>,
}

impl Node {
    pub(crate) fn parse(
        spec: &v1::NodeSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let before = violations.len();
        let name = Name::parse(&spec.name, &format!("{path}.name"))
            .map_err(|v| violations.push(v))
            .ok();
        let mut sources: Vec<IpAddr> = Vec::new();
        for (i, text) in spec.source_addresses.iter().enumerate() {
            let path = format!("{path}.source_addresses[{i}]");
            match parse_unicast(text, &path) {
                Ok(source) if sources.contains(&source) => violations.push(Violation::new(
                    path,
                    format!("{source} stands here twice: name it once"),
                )),
                Ok(source) => {
                    let alike = sources.iter().filter(|s| s.is_ipv4() == source.is_ipv4());
                    if alike.count() >= SOURCES_MAX {
                        violations.push(Violation::new(
                            path,
                            format!(
                                "more than {SOURCES_MAX} {} addresses: name fewer",
                                family(source)
                            ),
                        ));
                    }
                    sources.push(source);
                }
                Err(violation) => violations.push(violation),
            }
        }
        (violations.len() == before).then_some(Self {
            name: name?,
            sources,
        })
    }

    /// The specification.
    pub fn to_spec(&self) -> v1::NodeSpec {
        v1::NodeSpec {
            name: self.name.to_string(),
            source_addresses: self.sources.iter().map(IpAddr::to_string).collect(),
        }
    }

    pub(crate) fn fields(&self) -> Fields {
        let Self { name: _, sources } = self;
        let mut fields = Fields::default();
        fields.put_list("source_addresses", sources);
        fields
    }
}
