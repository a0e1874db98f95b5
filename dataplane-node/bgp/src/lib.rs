//! BGP-4 (RFC 4271) and BFD (RFC 5880) sessions as state machines: no sockets, no clock, no tasks, no randomness.
//!
//! # BGP
//!
//! ```text
//!  what is to be announced                              one for each neighbor
//! ┌───────────────┐ RouteChange  ┌─────────────────────── Neighbor ───────────────────────┐
//! │ Announcements ├─────────────►│ AdjRibOut ──────────────────────────► updates()        │──► bytes
//! └───────────────┘              │                                                        │
//!                 Event, Moment  │ Framing ──► Fsm (outgoing) ┐                           │
//!            ───────────────────►│                            ├─► Imports ───► Vec<Action>│──► dial, send,
//!                                │ Framing ──► Fsm (incoming) ┘                           │    close, tell
//!                                └────────────────────────────────────────────────────────┘
//! ```
//!
//! - [`NeighborSpec`] → [`NeighborConfig`], [`AttributesSpec`] → [`Attributes`]: settings are checked once.
//! - [`Announcements`] says what is announced, with aggregates; each change goes to [`AdjRibOut::set`] of those neighbors that
//!   are to know it ([`Neighbor::routes_mut`]), changed as [`ExportRules`] say where one is to be told otherwise.
//! - [`Neighbor::step`] takes what happens and returns what is to be done, in order. It has two connections at most, told apart
//!   by who made them ([`Direction`]).
//! - [`Neighbor::updates`] hands out UPDATEs in pieces, so that a hundred thousand routes are never in memory as messages.
//!
//! A shell is a loop around a neighbor: it waits for a connection's bytes, for an accepted connection, for [`Neighbor::deadline`] or for a
//! change of routes, calls `step`, does each [`Action`], and asks for `updates` while little is waiting to be sent. What has come is read
//! before a deadline is reported, so that a neighbor is not taken for dead since the shell was late.
//!
//! # BFD
//!
//! See [`bfd`]: one [`bfd::Session`] for each path, and a [`bfd::Demultiplexer`] that knows whose a packet is.

mod adj_rib_out;
mod announcements;
mod attributes;
pub mod bfd;
mod chance;
mod config;
mod export;
mod family;
mod foreign;
mod framing;
mod fsm;
mod import;
mod moment;
mod neighbor;
mod notification;
mod open;
mod prefix;
#[cfg(test)]
mod testing;
mod update;

pub use adj_rib_out::AdjRibOut;
pub use announcements::{Aggregate, Announcements, RouteChange};
pub use attributes::{Attributes, AttributesSpec, InvalidAttributes, Origin};
pub use config::{
    GracefulRestart, Hops, InvalidNeighbor, NeighborConfig, NeighborSpec, NextHops, Transport,
};
pub use export::{AttributesChange, ExportAction, ExportRule, ExportRules, InvalidExport};
pub use family::{Family, PerFamily};
pub use fsm::{End, State};
pub use import::{DefaultRoute, DefaultRouteChange, ImportCounts};
pub use moment::Moment;
pub use neighbor::{Action, Direction, Event, Neighbor};
pub use notification::{Cease, Notification};
pub use open::{Negotiated, PeerRestart, RouteRefresh};
pub use prefix::Prefix;
