use std::{net::IpAddr, num::NonZeroU16};

use lbfabric_abi::SOURCES_MAX;
use lbfabric_proto::v1;

use crate::{
    Bgp, Labels, Name, Violation,
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
    /// What services choose it by.
    pub labels: Labels,
    /// Its share of VIPs with leases.
    pub weight: NonZeroU16,
    /// Whether it is to be emptied.
    pub is_drained: bool,
    /// How it speaks BGP, if it does.
    pub bgp: Option<Bgp>,
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
        let labels = Labels::parse(&spec.labels, &format!("{path}.labels"), violations);
        let weight = u16::try_from(spec.weight.max(1))
            .ok()
            .and_then(NonZeroU16::new);
        if weight.is_none() {
            violations.push(Violation::new(
                format!("{path}.weight"),
                format!("{}: give 1 to 65535, or leave it out for 1", spec.weight),
            ));
        }
        let bgp = spec
            .bgp
            .as_ref()
            .map(|bgp| Bgp::parse(bgp, &format!("{path}.bgp"), violations));
        (violations.len() == before).then_some(Self {
            name: name?,
            sources,
            labels,
            weight: weight?,
            is_drained: spec.drained,
            bgp: bgp.flatten(),
        })
    }

    /// The specification, secrets included.
    pub fn to_spec(&self) -> v1::NodeSpec {
        v1::NodeSpec {
            name: self.name.to_string(),
            source_addresses: self.sources.iter().map(IpAddr::to_string).collect(),
            labels: self.labels.to_spec(),
            weight: self.weight.get().into(),
            drained: self.is_drained,
            bgp: self.bgp.as_ref().map(Bgp::to_spec),
        }
    }

    /// Takes the secrets that are to stay as they are from what there was before.
    pub(crate) fn keep_secrets(&mut self, before: Option<&Self>) {
        if let Some(bgp) = &mut self.bgp {
            bgp.keep_passwords(before.and_then(|it| it.bgp.as_ref()));
        }
    }

    /// What differs from before.
    pub(crate) fn changes(&self, before: &Self) -> Vec<v1::FieldChange> {
        let mut changes = before.fields().changes(&self.fields());
        if let (Some(bgp), Some(before)) = (&self.bgp, &before.bgp) {
            changes.extend(bgp.other_passwords(before));
        }
        changes
    }

    pub(crate) fn fields(&self) -> Fields {
        let Self {
            name: _,
            sources,
            labels,
            weight,
            is_drained,
            bgp,
        } = self;
        let mut fields = Fields::default();
        fields.put_list("source_addresses", sources);
        fields.put_list("labels", labels.to_spec());
        fields.put("weight", weight);
        fields.put("drained", is_drained);
        if let Some(bgp) = bgp {
            bgp.fields(&mut fields);
        }
        fields
    }
}
