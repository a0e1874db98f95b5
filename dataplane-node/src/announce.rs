//! Which VIPs the node announces to routers by BGP, and why it does not announce the others.
//!
//! ```text
//!  what is applied, program, links, health, labels, drain
//!          │ NodeTruth, ServiceTruth
//!          ▼
//!       Decision: Verdict of each VIP ──► Announcer ── watch ──► Speaker ──► neighbors
//!  Bgp (settings) ── speaker_config ───────┘  ▲ └── Bfd: a thread, once a neighbor wants it
//!                                             └──── NeighborTable: what became of it
//! ```
//!
//! No controller is asked: an agent that starts again announces from what it has kept, once program and maps are there.

mod announcer;
mod answer;
mod attributes;
mod bfd;
mod decision;
mod drain;
mod settings;
mod table;
mod told;
mod truth;

pub(crate) use announcer::{Announcer, Situation};
pub(crate) use attributes::attributes_of;
pub(crate) use bfd::{Bfd, GivenBfd};
pub(crate) use settings::OwnAddresses;
pub(crate) use truth::{ServiceTruth, missing_label};

/// A prefix of the API as BGP has it.
pub(crate) fn prefix_of(prefix: lbfabric_model::Prefix) -> lbfabric_bgp::Prefix {
    lbfabric_bgp::Prefix::new(prefix.address(), prefix.bits())
        .expect("both know how many bits an address has")
}
