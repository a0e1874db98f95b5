use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    balance::PoolConfig,
    http1::{ForwardedPolicy, HeadLimits, IdentityField},
    http2::Http2Config,
    observe::ObserveConfig,
    proxy_protocol::ProxyProtocolConfig,
    route::RouteTable,
    tcp::SniTable,
    tls::{ServerTlsConfig, TlsConfig},
    transparent::TransparentConfig,
};

/// What one service of the engine does.
#[derive(Clone, Debug, Default)]
pub struct ProxyConfig {
    /// What its connections carry.
    pub protocol: Protocol,
    /// Where requests go, by their routes: to the first without. Without one, every request is answered with 503.
    pub pools: Vec<PoolConfig>,
    /// What is done with requests before that. The default lets all of them through.
    pub routes: Arc<RouteTable>,
    /// What servers are told of their clients.
    pub forwarded: ForwardedConfig,
    /// How large heads may be, of both sides; at most [`BUFFER_BYTES`](crate::BUFFER_BYTES).
    pub limits: HeadLimits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How HTTP/2 is spoken.
    pub http2: Http2Config,
    /// Where connections of [`Protocol::TlsPassthrough`] go.
    pub sni: Arc<SniTable>,
    /// Headers ahead of connections, from proxies before this one and to servers.
    pub proxy_protocol: ProxyProtocolConfig,
    /// TLS with clients; without it they come over plain TCP.
    pub tls: Option<Arc<TlsConfig>>,
    /// TLS with servers.
    pub server_tls: Option<Arc<ServerTlsConfig>>,
    /// What of its requests is seen.
    pub observe: ObserveConfig,
    /// Servers see their clients' addresses; without it they see the node's.
    pub transparent: Option<TransparentConfig>,
}

/// What a service's connections carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2.
    #[default]
    Http,
    /// Anything: it is not looked at.
    Tcp,
    /// TLS, of which only the server's name is looked at.
    TlsPassthrough,
}

/// What servers are told of their clients, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardedConfig {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    pub x_forwarded: ForwardedPolicy,
    /// `Forwarded`, RFC 7239.
    pub forwarded: ForwardedPolicy,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A connection to a server.
    pub connect: Duration,
    /// A client's head, from its first byte on.
    pub head: Duration,
    /// A client's connection between two requests.
    pub idle: Duration,
    /// Between two parts of a body, of which each has to be taken in this time too, and until a server's head has come.
    pub silence: Duration,
    /// Without a byte in either direction, of a connection whose content is not looked at: one of another protocol than HTTP, or that has
    /// become one.
    pub tunnel: Duration,
}

impl ProxyConfig {
    /// The fields that tell servers of a client's certificate.
    pub(crate) fn identity_names(&self) -> &[IdentityField] {
        self.tls.as_ref().map_or(&[], |tls| tls.identity_names())
    }

    /// All that has a default, and one pool of these servers in turn.
    pub fn to(servers: &[SocketAddr]) -> Self {
        Self {
            pools: vec![PoolConfig::of(servers)],
            ..Self::default()
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            head: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            silence: Duration::from_mins(1),
            tunnel: Duration::from_hours(1),
        }
    }
}
