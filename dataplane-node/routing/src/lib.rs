//! BGP and BFD with sockets, clocks and tasks: what runs the machines of `lbfabric-bgp`.
//!
//! ```text
//!  SpeakerConfig ─┐                       ┌─► session task ── TCP ── neighbor
//!  Routes ────────┼─ watch ─► speaker ────┤
//!                 │             ▲         └─► session task ── TCP ── neighbor
//!   connections ──┘             │                  ▲
//!   (listener)                  └── reports        │ a loss, at once
//!                                           ┌──────┴─────┐
//!                                           │ BFD thread │── UDP 3784, 4784 ── partners
//!                                           └────────────┘
//! ```
//!
//! - [`Speaker`] keeps a task for each neighbor of [`SpeakerConfig`], hands on connections that neighbors make, and tells all of
//!   them what of [`Routes`] has changed.
//! - A session's task does what `lbfabric_bgp::Neighbor` says. It asks for BFD once it has a session, between the addresses of that.
//! - [`BfdThread`] is no task: it has to be in time while tasks are busy. What it finds goes to the session's task by a channel of its own.
//!
//! All sockets are of the network namespace of the thread that makes them.

mod bfd;
mod clock;
mod config;
mod listener;
mod raw;
mod report;
mod routes;
mod session;
mod socket;
mod speaker;

pub use bfd::{
    BfdFacts, BfdHandle, BfdReport, BfdThread, HandedBfd, HandedBfdSession, Priority, StartBfdError,
};
pub use config::{BfdTimers, InvalidSpeaker, NeighborSetup, SpeakerConfig};
pub use report::NeighborReport;
pub use routes::Routes;
pub use speaker::{Speaker, SpeakerHandle};
