use std::collections::BTreeSet;

use lbfabric_proto::v1;

use crate::{Name, Violation, fields::Fields, wire_enum::WireEnum as _};

mod access_log;
mod at;
mod authorities;
mod balancing;
mod carries;
mod client_certificates;
mod field_edits;
mod http2;
mod listening;
mod number;
mod outliers;
mod proxy_protocol;
mod rates;
mod request_question;
mod route;
mod route_action;
mod routing;
mod server_limits;
mod server_tls;
mod sni;
mod sticky_cookie;
mod tls;
mod udp_relay;

use number::or_default;

pub use access_log::{AccessLog, AccessLogFormat, Trace};
pub use authorities::Authorities;
pub use balancing::{Algorithm, AlgorithmName, Balancing, HashOn, RetryBudget};
pub use carries::Carries;
pub use client_certificates::{ClientCertificatePolicy, ClientCertificates};
pub use http2::Http2;
pub use listening::Listening;
pub use outliers::OutlierEjection;
pub use proxy_protocol::{ProxyProtocol, ProxyProtocolHeader, ProxyProtocolOthers};
pub use request_question::RequestQuestion;
pub use routing::{PoolField, Routing};
pub use server_limits::{IdleConnections, ServerLimits};
pub use server_tls::{ServerTls, ServerVerification};
pub use sni::{Sni, SniOthers, SniRoute};
pub use sticky_cookie::{SameSite, StickyCookie};
pub use tls::{Tls, TlsVersion};
pub use udp_relay::UdpRelay;

/// What the layer-7 engine does for a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// What servers are told of their clients.
    pub forwarded: Forwarded,
    /// How long things may take.
    pub timeouts: ProxyTimeouts,
    /// How large heads may be.
    pub head_limits: HeadLimits,
    /// TLS with clients; none: clear text.
    pub tls: Option<Tls>,
    /// How HTTP/2 is spoken.
    pub http2: Http2,
    /// What connections carry.
    pub carries: Carries,
    /// Where its connections are taken.
    pub listening: Listening,
    /// How datagrams are relayed; in services of UDP and only there.
    pub udp: Option<UdpRelay>,
    /// Which server gets a request, and what servers are spared.
    pub balancing: Balancing,
    /// The access log, if there is one.
    pub access_log: Option<AccessLog>,
    /// What servers are told of traces; none: what clients say.
    pub trace: Option<Trace>,
    /// Headers ahead of connections.
    pub proxy_protocol: ProxyProtocol,
    /// TLS with servers; none: clear text.
    pub server_tls: Option<ServerTls>,
    /// Which pool a client of TLS that is passed through gets; none: the service's.
    pub sni: Option<Sni>,
    /// What is done with requests before that.
    pub routing: Routing,
}

/// What servers are told of their clients in header fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    pub x_forwarded: ForwardedPolicy,
    /// `Forwarded`, RFC 7239.
    pub forwarded: ForwardedPolicy,
}

/// What becomes of a field that says where a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedPolicy {
    /// The client's is taken off, and the node's is written.
    #[default]
    Replace,
    /// The node's is written behind the client's.
    Append,
    /// The client's goes on alone.
    Leave,
}

/// How long things may take, in milliseconds: 1 to 3,600,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyTimeouts {
    /// Until a connection to a server is there.
    pub connect_ms: u32,
    /// Until a client's head has come, from its first byte on.
    pub head_ms: u32,
    /// A client's connection between two requests.
    pub idle_ms: u32,
    /// Until an answer begins, and between two parts of a body.
    pub silence_ms: u32,
    /// A connection that is relayed as it is, in both directions.
    pub tunnel_ms: u32,
}

/// How large heads may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// All of it.
    pub head_bytes: u32,
    /// A request's target.
    pub target_bytes: u32,
    /// Header fields.
    pub fields: u32,
}

const TIMEOUT_MS_MAX: u32 = 3_600_000;
const TUNNEL_MS_MAX: u32 = 86_400_000;
/// The buffer that the engine reads heads into.
const HEAD_BYTES_MAX: u32 = 16 << 10;
/// Those that the engine has room for.
const HEAD_FIELDS_MAX: u32 = 128;

// === impl Proxy ===

impl Proxy {
    /// Checks the specification at `path`. After a violation the result is of no use.
    pub(crate) fn parse(
        spec: &v1::ProxySpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let v1::ProxySpec {
            forwarded,
            timeouts,
            head_limits,
            tls,
            http2,
            carries,
            listening,
            udp,
            balancing,
            access_log,
            trace,
            proxy_protocol,
            server_tls,
            sni,
            routes: _,
            deny_sources: _,
            connection_limits: _,
            rate_limits: _,
            path_policy: _,
        } = spec;
        let none = v1::ProxyProtocolSpec::default();
        let proxy_protocol = ProxyProtocol::parse(
            proxy_protocol.as_ref().unwrap_or(&none),
            &format!("{path}.proxy_protocol"),
            violations,
        );
        let server_tls = server_tls
            .as_ref()
            .map(|tls| ServerTls::parse(tls, &format!("{path}.server_tls"), violations));
        let sni = sni
            .as_ref()
            .map(|sni| Sni::parse(sni, &format!("{path}.sni"), violations));
        let carries = Carries::parse(*carries, path, violations);
        let listening = Listening::parse(*listening, path, violations);
        let udp = udp.map(|udp| UdpRelay::parse(udp, &format!("{path}.udp"), violations));
        let forwarded = forwarded.unwrap_or_default();
        let forwarded = Forwarded::parse(forwarded, &format!("{path}.forwarded"), violations);
        let timeouts = timeouts.unwrap_or_default();
        let timeouts = ProxyTimeouts::parse(timeouts, &format!("{path}.timeouts"), violations);
        let limits = head_limits.unwrap_or_default();
        let head_limits = HeadLimits::parse(limits, &format!("{path}.head_limits"), violations);
        let has_tls = tls.is_some();
        let tls = tls
            .as_ref()
            .map(|tls| Tls::parse(tls, &format!("{path}.tls"), violations));
        let balancing = Balancing::parse(
            &balancing.clone().unwrap_or_default(),
            has_tls,
            &format!("{path}.balancing"),
            violations,
        );
        let log_path = format!("{path}.access_log");
        let access_log = access_log.map(|it| AccessLog::parse(it, &log_path, violations));
        let access_log = match access_log {
            Some(None) => return None,
            Some(parsed) => parsed,
            None => None,
        };
        let trace_path = format!("{path}.trace");
        let trace = trace.map(|it| Trace::parse(it, &trace_path, violations));
        let routing = Routing::parse(spec, path, violations);
        Some(Self {
            forwarded: forwarded?,
            timeouts,
            head_limits,
            tls: match tls {
                Some(tls) => Some(tls?),
                None => None,
            },
            http2: Http2::parse(http2.unwrap_or_default()),
            carries: carries?,
            listening: listening?,
            udp,
            balancing,
            access_log,
            trace,
            proxy_protocol: proxy_protocol?,
            server_tls: server_tls.map_or(Some(None), |tls| tls.map(Some))?,
            sni,
            routing,
        })
    }

    /// The specification with every default filled in.
    pub fn to_spec(&self) -> v1::ProxySpec {
        let Self {
            forwarded,
            timeouts,
            head_limits,
            tls,
            http2,
            carries,
            listening,
            udp,
            balancing,
            access_log,
            trace,
            proxy_protocol,
            server_tls,
            sni,
            routing,
        } = self;
        v1::ProxySpec {
            forwarded: Some(forwarded.to_spec()),
            timeouts: Some(timeouts.to_spec()),
            head_limits: Some(head_limits.to_spec()),
            tls: tls.as_ref().map(Tls::to_spec),
            http2: Some(http2.to_spec()),
            carries: carries.to_proto().into(),
            listening: listening.to_proto().into(),
            udp: udp.map(UdpRelay::to_spec),
            balancing: Some(balancing.to_spec()),
            access_log: access_log.map(AccessLog::to_spec),
            trace: trace.map(Trace::to_spec),
            proxy_protocol: Some(proxy_protocol.to_spec()),
            server_tls: server_tls.as_ref().map(ServerTls::to_spec),
            sni: sni.as_ref().map(Sni::to_spec),
            ..routing.to_spec()
        }
    }

    /// The pools that it names, each once, in the order in which they come first.
    pub fn pools(&self) -> Vec<&Name> {
        let mut named = self.routing.pools();
        let mut seen: BTreeSet<_> = named.iter().copied().collect();
        let sni = self.sni.iter().flat_map(Sni::routes);
        named.extend(sni.map(|it| &it.pool).filter(|pool| seen.insert(*pool)));
        named
    }

    pub(crate) fn fields(&self, fields: &mut Fields) {
        let Self {
            forwarded:
                Forwarded {
                    x_forwarded,
                    forwarded,
                },
            timeouts:
                ProxyTimeouts {
                    connect_ms,
                    head_ms,
                    idle_ms,
                    silence_ms,
                    tunnel_ms,
                },
            head_limits:
                HeadLimits {
                    head_bytes,
                    target_bytes,
                    fields: head_fields,
                },
            tls,
            http2,
            carries,
            listening,
            udp,
            balancing,
            access_log,
            trace,
            proxy_protocol,
            server_tls,
            sni,
            routing,
        } = self;
        routing.fields(fields);
        fields.put_message("proxy.balancing", "BalancingSpec", &balancing.to_spec());
        proxy_protocol.fields(fields);
        if let Some(tls) = server_tls {
            tls.fields(fields);
        }
        if let Some(sni) = sni {
            sni.fields(fields);
        }
        fields.put("proxy.carries", carries.name());
        fields.put("proxy.listening", listening.name());
        if let Some(log) = access_log {
            log.fields(fields);
        }
        if let Some(trace) = trace {
            trace.fields(fields);
        }
        if let Some(udp) = udp {
            udp.fields(fields);
        }
        if let Some(tls) = tls {
            tls.fields(fields);
        }
        http2.fields(fields);
        fields.put("proxy.forwarded.x_forwarded", x_forwarded.name());
        fields.put("proxy.forwarded.forwarded", forwarded.name());
        fields.put("proxy.timeouts.connect_ms", connect_ms);
        fields.put("proxy.timeouts.head_ms", head_ms);
        fields.put("proxy.timeouts.idle_ms", idle_ms);
        fields.put("proxy.timeouts.silence_ms", silence_ms);
        fields.put("proxy.timeouts.tunnel_ms", tunnel_ms);
        fields.put("proxy.head_limits.head_bytes", head_bytes);
        fields.put("proxy.head_limits.target_bytes", target_bytes);
        fields.put("proxy.head_limits.fields", head_fields);
    }
}

// === impl Forwarded ===

impl Forwarded {
    fn parse(spec: v1::ForwardedSpec, path: &str, violations: &mut Vec<Violation>) -> Option<Self> {
        let v1::ForwardedSpec {
            x_forwarded,
            forwarded,
        } = spec;
        let mut policy = |value, field| {
            ForwardedPolicy::parse_field(value, &format!("{path}.{field}"), violations)
        };
        let (x_forwarded, forwarded) = (
            policy(x_forwarded, "x_forwarded"),
            policy(forwarded, "forwarded"),
        );
        Some(Self {
            x_forwarded: x_forwarded?,
            forwarded: forwarded?,
        })
    }

    fn to_spec(self) -> v1::ForwardedSpec {
        v1::ForwardedSpec {
            x_forwarded: self.x_forwarded.to_proto().into(),
            forwarded: self.forwarded.to_proto().into(),
        }
    }
}

// === impl ProxyTimeouts ===

impl ProxyTimeouts {
    fn parse(spec: v1::ProxyTimeoutsSpec, path: &str, violations: &mut Vec<Violation>) -> Self {
        let v1::ProxyTimeoutsSpec {
            connect_ms,
            head_ms,
            idle_ms,
            silence_ms,
            tunnel_ms,
        } = spec;
        let default = Self::default();
        let mut up_to = |field: &str, value, default, max| {
            let path = format!("{path}.{field}");
            or_default(&path, value, default, (1, max), violations)
        };
        let tunnel_ms = up_to("tunnel_ms", tunnel_ms, default.tunnel_ms, TUNNEL_MS_MAX);
        let mut within = |field: &str, value, default| up_to(field, value, default, TIMEOUT_MS_MAX);
        Self {
            connect_ms: within("connect_ms", connect_ms, default.connect_ms),
            head_ms: within("head_ms", head_ms, default.head_ms),
            idle_ms: within("idle_ms", idle_ms, default.idle_ms),
            silence_ms: within("silence_ms", silence_ms, default.silence_ms),
            tunnel_ms,
        }
    }

    fn to_spec(self) -> v1::ProxyTimeoutsSpec {
        let Self {
            connect_ms,
            head_ms,
            idle_ms,
            silence_ms,
            tunnel_ms,
        } = self;
        v1::ProxyTimeoutsSpec {
            connect_ms,
            head_ms,
            idle_ms,
            silence_ms,
            tunnel_ms,
        }
    }
}

impl Default for ProxyTimeouts {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            head_ms: 10_000,
            idle_ms: 60_000,
            silence_ms: 60_000,
            tunnel_ms: 3_600_000,
        }
    }
}

// === impl HeadLimits ===

impl HeadLimits {
    fn parse(spec: v1::HeadLimitsSpec, path: &str, violations: &mut Vec<Violation>) -> Self {
        let v1::HeadLimitsSpec {
            head_bytes,
            target_bytes,
            fields,
        } = spec;
        let default = Self::default();
        let mut within = |field: &str, value, default, range| {
            or_default(
                &format!("{path}.{field}"),
                value,
                default,
                range,
                violations,
            )
        };
        Self {
            head_bytes: within(
                "head_bytes",
                head_bytes,
                default.head_bytes,
                (256, HEAD_BYTES_MAX),
            ),
            target_bytes: within(
                "target_bytes",
                target_bytes,
                default.target_bytes,
                (16, HEAD_BYTES_MAX),
            ),
            fields: within("fields", fields, default.fields, (1, HEAD_FIELDS_MAX)),
        }
    }

    fn to_spec(self) -> v1::HeadLimitsSpec {
        let Self {
            head_bytes,
            target_bytes,
            fields,
        } = self;
        v1::HeadLimitsSpec {
            head_bytes,
            target_bytes,
            fields,
        }
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head_bytes: HEAD_BYTES_MAX,
            target_bytes: 8 << 10,
            fields: 100,
        }
    }
}

#[cfg(test)]
mod tests;
