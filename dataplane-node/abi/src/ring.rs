/// One slot of a pool's ring, written by one 8-byte store. `RINGS[start + slot]`.
///
/// ```text
/// steady              cur == base    cur alone decides; nothing is read or written
/// steady, consulted   cur == base    the flow table still knows flows of the slot that are elsewhere
/// changed             cur != base    new flows go to cur, unknown ones to base; both are written into the table
/// ```
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSlot {
    /// The server that new flows go to: a backend id, or [`RingSlot::NONE`].
    pub cur: u32,
    /// The server that flows belong to which the flow table does not know: a backend id, or [`RingSlot::NONE`], and
    /// [`RingSlot::CONSULT`].
    pub base: u32,
}

impl RingSlot {
    /// No server. Backend ids are below it.
    pub const NONE: u32 = 0x00ff_ffff;
    /// The bit of `base` that says that the flow table is to be read.
    pub const CONSULT: u32 = 1 << 31;
    /// A slot without a server.
    pub const EMPTY: Self = Self::steady(Self::NONE);

    /// A slot whose flows all belong to one server.
    pub const fn steady(server: u32) -> Self {
        Self {
            cur: server,
            base: server,
        }
    }

    /// A slot whose new flows go to `cur`, and whose unknown ones to `base`. The flow table is read for it, also where both
    /// are the same.
    pub const fn changed(cur: u32, base: u32) -> Self {
        Self {
            cur,
            base: base | Self::CONSULT,
        }
    }

    /// The server that unknown flows belong to, or [`RingSlot::NONE`].
    #[inline(always)]
    pub const fn base_id(self) -> u32 {
        self.base & !Self::CONSULT
    }

    /// Whether the flow table is read for this slot: it is marked so, or changed.
    ///
    /// One comparison, as no `cur` has the mark: the words differ in both cases.
    #[inline(always)]
    pub const fn consult(self) -> bool {
        self.cur != self.base
    }

    /// Whether new flows go elsewhere than unknown ones.
    #[inline(always)]
    pub const fn is_changed(self) -> bool {
        self.cur != self.base_id()
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
const _: () = assert!(crate::BACKENDS_MAX <= RingSlot::NONE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slot_says() {
        for server in [0, 7, RingSlot::NONE] {
            let steady = RingSlot::steady(server);
            assert_eq!(steady.base_id(), server);
            assert!(!steady.consult() && !steady.is_changed());

            let consulted = RingSlot::changed(server, server);
            assert_eq!((consulted.cur, consulted.base_id()), (server, server));
            assert!(consulted.consult() && !consulted.is_changed());
        }
        let changed = RingSlot::changed(3, RingSlot::NONE);
        assert_eq!((changed.cur, changed.base_id()), (3, RingSlot::NONE));
        assert!(changed.consult() && changed.is_changed());
        let unmarked = RingSlot { cur: 3, base: 4 };
        assert!(unmarked.consult() && unmarked.is_changed());
    }
}
