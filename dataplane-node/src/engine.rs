//! The layer-7 engine on the node: what it serves, the VIPs on the loopback that bring clients' packets to it, and the
//! routing rules that bring it the answers of servers that see their clients' addresses.
//!
//! ```text
//! Desired, health ── wanted (pure) ──► Part for each service, port and family ──► lbfabric_proxy::Engine
//!                                  ├─► VIPs ──► ServerSetup ──► loopback
//!                                  └─► servers that see clients ──► AnswerRules ──► routing rules
//! ```

mod answers;
mod balancing;
mod datagrams;
mod driver;
mod explain;
mod files;
#[cfg(test)]
mod proptests;
mod route_parts;
mod routes;
mod sni;
mod tls;
mod transparent;
mod wanted;
mod watching;

pub(crate) use answers::remove_answer_rules;
pub(crate) use driver::EngineDriver;
pub(crate) use transparent::Surroundings;
pub(crate) use watching::Watching;
