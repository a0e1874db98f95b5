use lbfabric_proto::v1;

use crate::{
    AccessLogFormat, AddressFamily, Affinity, AlgorithmName, Carries, ClientCertificatePolicy,
    Encapsulation, ForwardedPolicy, Listening, Mode, OuterSource, Protocol, ProxyMode,
    ProxyProtocolHeader, ProxyProtocolOthers, SameSite, ServerVerification, ServiceMode, SniOthers,
    TlsVersion, Violation,
};

/// An enum of the API and its counterpart here.
pub(crate) trait WireEnum: Copy + PartialEq + 'static {
    /// The generated type.
    type Proto: Copy + PartialEq + TryFrom<i32> + 'static;
    /// The field's name in its message.
    const FIELD: &'static str;
    /// Every value, with the name that users write.
    const VALUES: &'static [(Self, Self::Proto, &'static str)];
    /// What the unspecified value stands for; `None`: it is refused.
    const DEFAULT: Option<Self>;

    /// Checks a field of the message at `path`.
    fn parse(value: i32, path: &str, violations: &mut Vec<Violation>) -> Option<Self> {
        Self::parse_field(value, &format!("{path}.{}", Self::FIELD), violations)
    }

    /// Checks a field at `path`.
    fn parse_field(value: i32, path: &str, violations: &mut Vec<Violation>) -> Option<Self> {
        let known = Self::Proto::try_from(value).ok();
        let parsed = match value {
            0 => Self::DEFAULT,
            _ => known.and_then(Self::from_proto),
        };
        if parsed.is_none() {
            let names: Vec<_> = Self::VALUES.iter().map(|(_, _, name)| *name).collect();
            let what = match value {
                0 => "it is required".to_owned(),
                _ => format!("{value} is unknown"),
            };
            violations.push(Violation::new(
                path,
                format!("{what}: use one of `{}`", names.join("`, `")),
            ));
        }
        parsed
    }

    /// The counterpart, or `None` for the unspecified value.
    fn from_proto(proto: Self::Proto) -> Option<Self> {
        let found = Self::VALUES.iter().find(|(_, p, _)| *p == proto);
        found.map(|(value, _, _)| *value)
    }

    /// The generated value.
    fn to_proto(self) -> Self::Proto {
        self.row().1
    }

    /// The name that users write.
    fn name(self) -> &'static str {
        self.row().2
    }

    /// Its row of [`Self::VALUES`].
    fn row(self) -> &'static (Self, Self::Proto, &'static str) {
        let found = Self::VALUES.iter().find(|(value, _, _)| *value == self);
        found.expect("every value has a row")
    }
}

impl WireEnum for ServiceMode {
    type Proto = v1::Mode;
    const FIELD: &'static str = "mode";
    const VALUES: &'static [(Self, v1::Mode, &'static str)] = &[
        (Self::L4(Mode::Dnat), v1::Mode::L4Dnat, "l4-dnat"),
        (Self::L4(Mode::Fullnat), v1::Mode::L4Fullnat, "l4-fullnat"),
        (Self::L4(Mode::Dsr), v1::Mode::L4Dsr, "l4-dsr"),
        (Self::L4(Mode::Tunnel), v1::Mode::L4Tunnel, "l4-tunnel"),
        (
            Self::L7(ProxyMode::Reverse),
            v1::Mode::L7Reverse,
            "l7-reverse",
        ),
        (
            Self::L7(ProxyMode::Transparent),
            v1::Mode::L7Transparent,
            "l7-transparent",
        ),
    ];
    const DEFAULT: Option<Self> = None;
}

impl WireEnum for Carries {
    type Proto = v1::Carries;
    const FIELD: &'static str = "carries";
    const VALUES: &'static [(Self, v1::Carries, &'static str)] = &[
        (Self::Http, v1::Carries::Http, "http"),
        (Self::Tcp, v1::Carries::Tcp, "tcp"),
        (
            Self::TlsPassthrough,
            v1::Carries::TlsPassthrough,
            "tls-passthrough",
        ),
    ];
    const DEFAULT: Option<Self> = Some(Self::Http);
}

impl WireEnum for Listening {
    type Proto = v1::Listening;
    const FIELD: &'static str = "listening";
    const VALUES: &'static [(Self, v1::Listening, &'static str)] = &[
        (Self::Addresses, v1::Listening::Addresses, "addresses"),
        (Self::Transparent, v1::Listening::Transparent, "transparent"),
    ];
    const DEFAULT: Option<Self> = Some(Self::Addresses);
}

impl WireEnum for ClientCertificatePolicy {
    type Proto = v1::ClientCertificatePolicy;
    const FIELD: &'static str = "policy";
    const VALUES: &'static [(Self, v1::ClientCertificatePolicy, &'static str)] = &[
        (
            Self::Required,
            v1::ClientCertificatePolicy::Required,
            "required",
        ),
        (
            Self::Optional,
            v1::ClientCertificatePolicy::Optional,
            "optional",
        ),
    ];
    const DEFAULT: Option<Self> = Some(Self::Required);
}

impl WireEnum for ServerVerification {
    type Proto = v1::ServerVerification;
    const FIELD: &'static str = "verification";
    const VALUES: &'static [(Self, v1::ServerVerification, &'static str)] = &[
        (
            Self::Authorities,
            v1::ServerVerification::Authorities,
            "authorities",
        ),
        (Self::System, v1::ServerVerification::System, "system"),
        (Self::None, v1::ServerVerification::None, "none"),
    ];
    const DEFAULT: Option<Self> = Some(Self::Authorities);
}

impl WireEnum for ProxyProtocolOthers {
    type Proto = v1::ProxyProtocolOthers;
    const FIELD: &'static str = "others";
    const VALUES: &'static [(Self, v1::ProxyProtocolOthers, &'static str)] = &[
        (Self::Serve, v1::ProxyProtocolOthers::Serve, "serve"),
        (Self::Refuse, v1::ProxyProtocolOthers::Refuse, "refuse"),
    ];
    const DEFAULT: Option<Self> = Some(Self::Serve);
}

impl WireEnum for ProxyProtocolHeader {
    type Proto = v1::ProxyProtocolHeader;
    const FIELD: &'static str = "send";
    const VALUES: &'static [(Self, v1::ProxyProtocolHeader, &'static str)] = &[
        (Self::None, v1::ProxyProtocolHeader::None, "none"),
        (Self::V1, v1::ProxyProtocolHeader::V1, "v1"),
        (Self::V2, v1::ProxyProtocolHeader::V2, "v2"),
    ];
    const DEFAULT: Option<Self> = Some(Self::None);
}

impl WireEnum for SniOthers {
    type Proto = v1::SniOthers;
    const FIELD: &'static str = "others";
    const VALUES: &'static [(Self, v1::SniOthers, &'static str)] = &[
        (Self::Serve, v1::SniOthers::Serve, "serve"),
        (Self::Refuse, v1::SniOthers::Refuse, "refuse"),
    ];
    const DEFAULT: Option<Self> = Some(Self::Serve);
}

impl WireEnum for TlsVersion {
    type Proto = v1::TlsVersion;
    const FIELD: &'static str = "min_version";
    const VALUES: &'static [(Self, v1::TlsVersion, &'static str)] = &[
        (Self::Tls12, v1::TlsVersion::Tls12, "tls12"),
        (Self::Tls13, v1::TlsVersion::Tls13, "tls13"),
    ];
    const DEFAULT: Option<Self> = Some(Self::Tls12);
}

impl WireEnum for AlgorithmName {
    type Proto = v1::BalancingAlgorithm;
    const FIELD: &'static str = "algorithm";
    const VALUES: &'static [(Self, v1::BalancingAlgorithm, &'static str)] = &[
        (
            Self::RoundRobin,
            v1::BalancingAlgorithm::RoundRobin,
            "round-robin",
        ),
        (
            Self::LeastConnections,
            v1::BalancingAlgorithm::LeastConnections,
            "least-connections",
        ),
        (
            Self::PeakEwma,
            v1::BalancingAlgorithm::PeakEwma,
            "peak-ewma",
        ),
        (Self::Hash, v1::BalancingAlgorithm::Hash, "hash"),
    ];
    const DEFAULT: Option<Self> = Some(Self::RoundRobin);
}

impl WireEnum for AddressFamily {
    type Proto = v1::AddressFamily;
    const FIELD: &'static str = "families";
    const VALUES: &'static [(Self, v1::AddressFamily, &'static str)] = &[
        (Self::Ipv4, v1::AddressFamily::Ipv4, "ipv4"),
        (Self::Ipv6, v1::AddressFamily::Ipv6, "ipv6"),
    ];
    const DEFAULT: Option<Self> = None;
}

impl WireEnum for SameSite {
    type Proto = v1::SameSite;
    const FIELD: &'static str = "same_site";
    const VALUES: &'static [(Self, v1::SameSite, &'static str)] = &[
        (Self::Strict, v1::SameSite::Strict, "strict"),
        (Self::Lax, v1::SameSite::Lax, "lax"),
        (Self::None, v1::SameSite::None, "none"),
        (Self::Omit, v1::SameSite::Omit, "omit"),
    ];
    const DEFAULT: Option<Self> = Some(Self::Lax);
}

impl WireEnum for AccessLogFormat {
    type Proto = v1::AccessLogFormat;
    const FIELD: &'static str = "format";
    const VALUES: &'static [(Self, v1::AccessLogFormat, &'static str)] = &[
        (Self::Json, v1::AccessLogFormat::Json, "json"),
        (Self::Combined, v1::AccessLogFormat::Combined, "combined"),
    ];
    const DEFAULT: Option<Self> = Some(Self::Json);
}

impl WireEnum for ForwardedPolicy {
    type Proto = v1::ForwardedPolicy;
    const FIELD: &'static str = "forwarded";
    const VALUES: &'static [(Self, v1::ForwardedPolicy, &'static str)] = &[
        (Self::Replace, v1::ForwardedPolicy::Replace, "replace"),
        (Self::Append, v1::ForwardedPolicy::Append, "append"),
        (Self::Leave, v1::ForwardedPolicy::Leave, "leave"),
    ];
    const DEFAULT: Option<Self> = Some(Self::Replace);
}

impl WireEnum for Protocol {
    type Proto = v1::Protocol;
    const FIELD: &'static str = "protocol";
    const VALUES: &'static [(Self, v1::Protocol, &'static str)] = &[
        (Self::Tcp, v1::Protocol::Tcp, "tcp"),
        (Self::Udp, v1::Protocol::Udp, "udp"),
        (Self::Any, v1::Protocol::Any, "any"),
    ];
    const DEFAULT: Option<Self> = Some(Self::Tcp);
}

impl WireEnum for Affinity {
    type Proto = v1::Affinity;
    const FIELD: &'static str = "affinity";
    const VALUES: &'static [(Self, v1::Affinity, &'static str)] = &[
        (Self::FiveTuple, v1::Affinity::FiveTuple, "five-tuple"),
        (Self::Source, v1::Affinity::Source, "source"),
        (
            Self::SourceDestination,
            v1::Affinity::SourceDestination,
            "source-destination",
        ),
        (Self::QuicCid, v1::Affinity::QuicCid, "quic-cid"),
    ];
    const DEFAULT: Option<Self> = Some(Self::FiveTuple);
}

impl WireEnum for Encapsulation {
    type Proto = v1::Encapsulation;
    const FIELD: &'static str = "encapsulation";
    const VALUES: &'static [(Self, v1::Encapsulation, &'static str)] = &[
        (Self::Ipip, v1::Encapsulation::Ipip, "ipip"),
        (Self::Gue, v1::Encapsulation::Gue, "gue"),
    ];
    const DEFAULT: Option<Self> = Some(Self::Ipip);
}

impl WireEnum for OuterSource {
    type Proto = v1::OuterSource;
    const FIELD: &'static str = "outer_source";
    const VALUES: &'static [(Self, v1::OuterSource, &'static str)] = &[
        (Self::Spread, v1::OuterSource::Spread, "spread"),
        (Self::Fixed, v1::OuterSource::Fixed, "fixed"),
    ];
    const DEFAULT: Option<Self> = Some(Self::Spread);
}
