use crate::{FlowKey, SOURCES_MAX};

/// What holds for the whole node. `SETTINGS[0]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The key of the rings: the fabric's.
    pub ring_key: FlowKey,
    /// The key of the flow table: random, and this node's own.
    pub flow_key: FlowKey,
    /// Sources of full NAT and tunnels, in network order; the first `source4_count` count. One keeps its place as long as it is
    /// there, as sessions are found by it; one that has gone is replaced by another, which may then stand here twice.
    pub source4: [[u8; 4]; SOURCES_MAX],
    /// As above.
    pub source6: [[u8; 16]; SOURCES_MAX],
    /// How many of `source4`.
    pub source4_count: u32,
    /// How many of `source6`.
    pub source6_count: u32,
    /// The first source port of full NAT, in host order.
    pub nat_port_first: u32,
    /// The number of source ports of full NAT.
    pub nat_port_count: u32,
    /// How many of them lie in one piece from the first one on; the others follow
    pub nat_port_gap_at: u32,
    /// after so many that are the kernel's.
    pub nat_port_gap: u32,
    /// The number of lines of `SESSION_TAGS` less one: a power of two less one. `SESSIONS` has eight times as many.
    pub session_mask: u32,
    /// The number of the flow table's buckets less one: as many as the map has, a power of two.
    pub flow_mask: u32,
    /// How many ticks a flow may be silent before its entry counts no more: not less than the longest hold time of a service,
    /// and at most [`FlowTick::IDLE_MAX`](crate::FlowTick::IDLE_MAX).
    pub flow_idle_ticks: u32,
    /// Zero.
    pub zero: u32,
}

impl Settings {
    /// The number of sessions less one.
    #[inline(always)]
    pub const fn sessions_mask(&self) -> u32 {
        self.session_mask << 3 | 7
    }

    /// One of the source ports; `index` is below their number.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "ports end at 65535")]
    pub const fn nat_port(&self, index: u32) -> u16 {
        let skipped = if index < self.nat_port_gap_at {
            0
        } else {
            self.nat_port_gap
        };
        self.nat_port_first
            .wrapping_add(index)
            .wrapping_add(skipped) as u16
    }
}

const _: () = assert!(size_of::<Settings>() == 280);
