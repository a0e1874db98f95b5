//! Leased VIPs on a flat network: what the programs answer for, announcements of a VIP's new owner, and others who take
//! themselves for it.
//!
//! ```text
//! leases ──► VipOwner ─┬► LeasedVips ── LEASED_VIPS, LEASE ──► programs
//!                      │      ▲ └── VIP_CLAIMS, of the programs ──► Rivals ──► report, log, metrics
//!                      │    agent: LINKS
//!                      ├► Announcer (a thread) ── gratuitous ARP, unsolicited advertisements ──► neighbors
//!                      └► Predecessors ◄── ARP and neighbor discovery ──► who has a VIP that the node is to have next
//! ```
//!
//! What the programs do not answer, the kernel does not see. VIPs of layer 7 are addresses of its loopback, and `arp_announce` keeps it from
//! asking for others' addresses in their name (`server/sysctl.rs`), by which it would take them from their owner. Of IPv6 it answers for, and
//! asks in the name of, addresses of the interface itself alone (`ndisc_recv_ns` and `ndisc_solicit` in the kernel).

mod announcements;
mod announcer;
mod frames;
mod leased_vips;
mod owner;
mod predecessors;
mod rivals;
mod socket;

pub use leased_vips::{Adopted, LeasedVips, LeasedVipsError};
pub use owner::VipOwner;
pub use rivals::Rival;

/// A link-layer address.
pub type Mac = [u8; 6];
