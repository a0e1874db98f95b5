//! The layer-7 engine of `l7-reverse` and `l7-transparent`.
//!
//! So far: HTTP/1.1 and HTTP/2, over TCP or TLS (`tls`), to the servers of a pool; TCP, TLS and datagrams as they come. The [`Engine`] has a
//! worker for each core: a thread with listeners (`site.rs`) and connections of its own (`worker.rs`). What a connection carries is found out in
//! `arrived.rs`: HTTP is a task for each client (`client.rs`), and how messages are read and written is pure (`http1`); what is not
//! looked at is relayed (`tcp`, `udp`).

mod alarm;
mod arrived;
mod attempts;
mod balance;
mod buffer;
mod client;
mod config;
mod counters;
mod engine;
pub mod http1;
mod http2;
pub mod observe;
pub mod proxy_protocol;
mod pump;
pub mod readings;
pub mod route;
mod routing;
mod scratch;
mod secured;
mod site;
mod socket;
mod steering;
mod stream;
mod tcp;
pub mod tls;
pub mod tls_hello;
mod transparent;
mod udp;
mod upstream;
mod worker;

pub use balance::{
    Balance, HashOn, Idle, Limits, OutlierConfig, PoolConfig, RetryBudget, RetryBudgetConfig,
    SameSite, ServerConfig, StickyConfig, StickyKey,
};
pub use buffer::BUFFER_BYTES;
pub use config::{ForwardedConfig, Protocol, ProxyConfig, Timeouts};
pub use counters::Traffic;
pub use engine::{ApplyError, Engine, EngineConfig, EngineService, HandOverError, ServiceKey};
pub use http2::{Allowance, Http2Config, ServerProtocol};
pub use routing::rate_clock;
pub use steering::SteeredVip;
pub use tcp::{InvalidServerNames, ServerNames, SniFound, SniRoute, SniTable, Unrouted};
pub use transparent::{ClientsBeside, TransparentConfig};
pub use udp::{
    HandedRelay, HandedSession, NoSession, SessionFacts, UdpConfig, UdpCounters, UdpCounts,
    UdpService, serve_udp, udp_listener,
};
pub use upstream::{Decided, PoolView, ServerView, SharedPools};
pub use worker::{listener, serve, work};
