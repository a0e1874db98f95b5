//! HTTP/2, RFC 9113, on the codec of the `h2` crate.
//!
//! ```text
//!                  connection (one task)             exchange (a task for each stream)
//!  client ◄──► wire ◄──► codec ──── request ────►  request::write ── head ──►            server
//!                meter      ◄──── DATA, HEADERS ──  response::convert ◄── head ──   over HTTP/1.1
//!                clock      ──── DATA ────────────► body ◄──── bytes ─────────────►
//! ```
//!
//! Requests become heads of HTTP/1.1, and go on as those of clients that speak it do: nothing is allowed here that is refused there.

mod answer;
pub(crate) mod body;
mod clock;
mod config;
mod connection;
mod exchange;
mod meter;
mod pool;
pub(crate) mod readings;
pub(crate) mod relay;
mod request;
mod response;
mod tunnel;
mod watch;
mod websocket;
mod wire;

use std::{net::IpAddr, rc::Rc, sync::Arc};

pub use config::{Allowance, Http2Config, ServerProtocol};
pub(crate) use connection::{PREFACE_HEAD, serve};
pub(crate) use pool::{Peers, Place};
pub(crate) use tunnel::{ServerStream, of_socket as tunnel_of_socket};
pub(crate) use websocket::{Accept, Upgrade};

use crate::{
    config::ProxyConfig,
    observe::{Observer, PeerTls},
    routing::RouteWorker,
    upstream::{Origin, Upstreams},
};

/// What a client's requests are served with.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) address: IpAddr,
    /// `http` or `https`: how the client has come.
    pub(crate) scheme: &'static str,
    /// What servers are told of its certificate.
    pub(crate) identity: Box<[u8]>,
    pub(crate) config: Arc<ProxyConfig>,
    pub(crate) upstreams: Rc<Upstreams>,
    pub(crate) origin: Option<Rc<Origin>>,
    pub(crate) routes: Rc<RouteWorker>,
    /// Whoever sees its requests.
    pub(crate) observer: Option<Rc<Observer>>,
    pub(crate) tls: Option<PeerTls>,
}
