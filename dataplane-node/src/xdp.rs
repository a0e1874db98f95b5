//! The life of the XDP program: loading, pinning, adoption by the next agent, and everything that can go wrong with it.
//!
//! ```text
//! PIN_DIR/v1/SETTINGS, VIP_PORTS, ...   the maps of a load balancer
//! PIN_DIR/v1/link-eth0                  the link that holds the program on eth0
//! PIN_DIR/v1-server/...                 the same of a server
//! ```

mod attach;
mod capabilities;
mod fault;
mod pins;

pub(crate) use attach::{Attached, Loaded, MapSizes, ProgramKind, detach};
pub(crate) use fault::Fault;
pub(crate) use pins::Pins;
