use lbfabric_proto::v1;

use crate::{
    Prefix, Violation, fields::Fields, source_rules::parse_prefixes, wire_enum::WireEnum as _,
};

/// Headers of the PROXY protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Proxies before the nodes, whose connections begin with one.
    pub sources: Vec<Prefix>,
    /// What becomes of other connections.
    pub others: ProxyProtocolOthers,
    /// What connections to servers begin with.
    pub send: ProxyProtocolHeader,
}

/// What becomes of connections that do not come from a proxy before the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocolOthers {
    /// They are served as they are.
    #[default]
    Serve,
    /// They are reset.
    Refuse,
}

/// A header of the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocolHeader {
    /// None.
    #[default]
    None,
    /// Version 1.
    V1,
    /// Version 2.
    V2,
}

impl ProxyProtocol {
    pub(super) fn parse(
        spec: &v1::ProxyProtocolSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let v1::ProxyProtocolSpec {
            sources,
            others,
            send,
        } = spec;
        let prefixes = parse_prefixes(sources, &format!("{path}.sources"), violations);
        let others = ProxyProtocolOthers::parse(*others, path, violations);
        if others == Some(ProxyProtocolOthers::Refuse) && sources.is_empty() {
            violations.push(Violation::new(
                format!("{path}.others"),
                "with `refuse` and without `sources` nobody could connect: name the proxies, or leave it out",
            ));
        }
        let send = ProxyProtocolHeader::parse(*send, path, violations);
        Some(Self {
            sources: prefixes,
            others: others?,
            send: send?,
        })
    }

    pub(super) fn to_spec(&self) -> v1::ProxyProtocolSpec {
        let Self {
            sources,
            others,
            send,
        } = self;
        v1::ProxyProtocolSpec {
            sources: sources.iter().map(Prefix::to_string).collect(),
            others: others.to_proto().into(),
            send: send.to_proto().into(),
        }
    }

    pub(super) fn fields(&self, fields: &mut Fields) {
        let Self {
            sources,
            others,
            send,
        } = self;
        fields.put_list("proxy.proxy_protocol.sources", sources);
        fields.put("proxy.proxy_protocol.others", others.name());
        fields.put("proxy.proxy_protocol.send", send.name());
    }
}
