//! The layer-7 engine of `l7-reverse` and `l7-transparent`.
//!
//! So far: HTTP/1.1 and HTTP/2, over plain TCP, to servers in turn. The [`Engine`] has a worker for each core: a thread with listeners
//! (`site.rs`) and connections of its own (`worker.rs`); a client's connection is a task (`client.rs`); how messages are read and written
//! is pure (`http1`).

mod alarm;
mod buffer;
mod client;
mod config;
mod counters;
mod engine;
pub mod http1;
mod http2;
mod pump;
pub mod route;
mod routing;
mod site;
mod stream;
mod upstream;
mod worker;

pub use buffer::BUFFER_BYTES;
pub use config::{ForwardedConfig, ProxyConfig, Timeouts};
pub use counters::Traffic;
pub use engine::{ApplyError, Engine, EngineConfig, EngineService, ServiceKey};
pub use http2::{Allowance, Http2Config, ServerProtocol};
pub use worker::{listener, serve, work};
