//! The life of the XDP programs: loading, pinning, adoption by the next agent, and everything that can go wrong with it.
//!
//! ```text
//! PIN_DIR/v2/SETTINGS, VIP_PORTS, ...   the maps of a load balancer; 2 is the version of their layout
//! PIN_DIR/v2/programs-1                 the programs that the one on the interfaces goes on with
//! PIN_DIR/v2/link-eth0                  the link that holds the program on eth0
//! PIN_DIR/v2-server/...                 the same of a server
//! PIN_DIR/v2-server/hook-getpeername4   the link that holds a program on the root cgroup
//! PIN_DIR/v2+1/...                      what was found as v2, and is something else
//! ```

mod attach;
mod capabilities;
mod fault;
mod generations;
mod hooks;
mod kind;
mod layout;
mod load;
mod memory;
mod pins;

pub(crate) use attach::{Attached, detach};
pub(crate) use fault::Fault;
pub(crate) use generations::Outgoing;
pub(crate) use hooks::PeerHooks;
pub(crate) use kind::ProgramKind;
pub(crate) use load::{Loaded, MapSizes};
pub(crate) use memory::MapFds;
pub(crate) use pins::Pins;
