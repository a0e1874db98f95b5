//! What a server needs besides the program: VIPs on the loopback, and ARP and reverse-path settings that go with them.

mod held_vips;
mod record;
mod setup;
mod sysctl;

pub(crate) use setup::{ServerSetup, SetupError};
