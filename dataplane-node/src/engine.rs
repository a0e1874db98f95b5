//! The layer-7 engine on the node: what it serves, the VIPs on the loopback that bring clients' packets to it, or the local routes and the
//! program that bring those to VIPs that are on no interface, and the routing rules that bring it the answers of servers that see their clients' addresses.
//!
//! ```text
//! Desired, health ── wanted (pure) ──► Part for each service, port and family ──► lbfabric_proxy::Engine
//!                                  ├─► VIPs ──► ServerSetup ──► loopback
//!                                  ├─► VIPs on no interface ──► LocalRoutes ──► local routes
//!                                  │                        └─► Steering ──► program that gives their connections to the engine
//!                                  └─► servers that see clients ──► AnswerRules ──► routing rules
//! ```

mod answers;
mod balancing;
mod datagrams;
mod driver;
mod explain;
mod files;
mod left;
mod local_routes;
mod place;
#[cfg(test)]
mod proptests;
mod replaced;
mod route_parts;
mod routes;
mod sni;
mod steered;
mod steering;
mod tls;
mod transparent;
mod wanted;
mod watching;

pub(crate) use driver::EngineDriver;
pub(crate) use left::remove_routing;
pub(crate) use transparent::Surroundings;
pub(crate) use watching::Watching;
