/// One slot of a pool's ring, written by one 8-byte store. `RINGS[start + slot]`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSlot {
    /// The server that new flows go to: a backend id, or [`RingSlot::NONE`].
    pub cur: u32,
    /// The server that flows belong to which no table knows; `cur`, while the slot is steady.
    pub base: u32,
}

impl RingSlot {
    /// No server.
    pub const NONE: u32 = u32::MAX;
    /// A slot without a server.
    pub const EMPTY: Self = Self::steady(Self::NONE);

    /// A slot whose flows all belong to one server.
    pub const fn steady(backend: u32) -> Self {
        Self {
            cur: backend,
            base: backend,
        }
    }
}

/// Where a pool's ring lies in `RINGS`; kept in `POOLS`, so that an agent that starts again finds it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolRing {
    /// The first slot.
    pub start: u32,
    /// How many.
    pub slots: u32,
}

const _: () = assert!(size_of::<RingSlot>() == 8);
