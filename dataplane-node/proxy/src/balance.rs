//! How requests are spread over the servers of a pool. All of it is pure: time and randomness are passed in, and what is chosen comes out.
//!
//! ```text
//! PoolConfig ──► Standing ── weights that count now ──► RoundRobin, LeastConnections, PeakEwma, Consistent ──► a server
//!                 ▲    ▲                                                  ▲
//!    ejections ───┘    └─── slow start, drain, backups                    └── who has room
//! Outliers ◄── failures       Sticky ◄── the request's cookie       WaitQueue ◄── requests that no server has room for
//! ```
//!
//! Servers are told by their place in the pool's configuration.

mod config;
mod consistent;
mod least_connections;
mod outliers;
mod peak_ewma;
mod retry_budget;
mod round_robin;
#[cfg(test)]
mod simulation;
mod standing;
mod sticky;
mod wait_queue;

pub use config::{Balance, HashOn, Idle, Limits, PoolConfig, ServerConfig};
pub use outliers::OutlierConfig;
pub use retry_budget::{RetryBudget, RetryBudgetConfig};
pub use sticky::{SameSite, StickyConfig, StickyKey};

pub(crate) use consistent::Consistent;
pub(crate) use least_connections::LeastConnections;
pub(crate) use outliers::Outliers;
pub(crate) use peak_ewma::{Latency, PeakEwma};
pub(crate) use round_robin::RoundRobin;
pub(crate) use standing::{Member, Standing};
pub(crate) use sticky::{Marked, Sticky, cookies};
pub(crate) use wait_queue::{Ticket, WaitQueue};
