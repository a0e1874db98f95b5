//! The layer-7 engine on the node: what it serves, and the VIPs on the loopback that bring clients' packets to it.
//!
//! ```text
//! Desired, health ── wanted (pure) ──► Part for each service, port and family ──► lbfabric_proxy::Engine
//!                                  └─► VIPs ──► ServerSetup ──► loopback
//! ```

mod balancing;
mod datagrams;
mod driver;
mod files;
mod tls;
mod wanted;

pub(crate) use driver::EngineDriver;
