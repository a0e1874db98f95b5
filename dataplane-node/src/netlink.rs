//! What the kernel knows of links, addresses, routes and neighbours, kept up to date over netlink.
//!
//! ```text
//! kernel ── multicast ──►┐                     ┌── watch ──► agent (NetworkView)
//!        ◄─ requests ────┤ follow (one task)  ─┤
//! agent ── NetCommand ──►┘   NetworkTable      └── NTF_USE ──► kernel probes neighbours
//! ```

mod answers;
mod follow;
mod requests;
mod steered;
mod table;

pub(crate) use answers::AnswerRule;
pub(crate) use follow::{NetCommand, NetworkWatch};
pub(crate) use requests::{NetlinkError, Requests};
#[cfg(test)]
pub(crate) use table::XdpView;
pub(crate) use table::{LinkView, NetworkView, PlacedAddress};
