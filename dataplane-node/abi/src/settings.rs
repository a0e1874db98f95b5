use crate::SOURCES_MAX;

/// What holds for the whole node. `SETTINGS[0]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The key of the flow hash.
    pub hash_key: [u64; 2],
    /// Sources of full NAT and tunnels, in network order; the first `source4_count` count.
    pub source4: [[u8; 4]; SOURCES_MAX],
    /// As above.
    pub source6: [[u8; 16]; SOURCES_MAX],
    /// How many of `source4`.
    pub source4_count: u32,
    /// How many of `source6`.
    pub source6_count: u32,
    /// The first source port of full NAT, in host order.
    pub nat_port_first: u32,
    /// The number of source ports of full NAT, at least 1.
    pub nat_port_count: u32,
}

const _: () = assert!(size_of::<Settings>() == 192);
