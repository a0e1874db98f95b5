//! A bucket of the flow table, which all CPUs and the agent read and write at the same time.

use core::ptr::NonNull;

use lbfabric_abi::{FLOW_WAYS, FlowBucket, FlowEntry, FlowTick};

use super::{atomic, frame::opaque};

/// The entries of a bucket.
#[derive(Clone, Copy)]
pub(crate) struct Bucket(NonNull<FlowBucket>);

/// An entry's place in its bucket, and what it held.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    place: NonNull<FlowEntry>,
    pub(crate) entry: FlowEntry,
}

/// The entry whose loss costs least.
pub(crate) struct Cheapest {
    pub(crate) held: Held,
    /// Whether a flow is lost that is in use.
    pub(crate) is_live: bool,
}

const WAY_BITS: u32 = FLOW_WAYS.trailing_zeros();

// Entries are chosen by arithmetic instead of branches: what would come after each branch, the verifier follows as often
// as there are entries.
impl Bucket {
    /// A bucket in the map.
    #[inline(always)]
    pub(crate) const fn new(bucket: NonNull<FlowBucket>) -> Self {
        Self(bucket)
    }

    /// The entry with a tag.
    #[inline(always)]
    pub(crate) fn find(self, tag: u32) -> Option<Held> {
        let mut same = 0;
        for way in 0..FLOW_WAYS {
            let differs = u64::from(self.load(way).entry.tag() ^ tag);
            // The borrow: one if they do not differ.
            same |= differs.wrapping_sub(1) >> 63 << way;
        }
        if same == 0 {
            return None;
        }
        // The number of the first one: two CPUs that met may have made two.
        same &= same.wrapping_neg();
        let mut way = 0;
        for bit in 0..WAY_BITS {
            let mut ways = 0;
            for n in 0..FLOW_WAYS {
                if n >> bit & 1 == 1 {
                    ways |= same >> n;
                }
            }
            way |= (ways & 1) << bit;
        }
        Some(self.load(opaque(way as usize) % FLOW_WAYS))
    }

    /// The entry whose loss costs least.
    #[inline(always)]
    pub(crate) fn cheapest(self, now: FlowTick, idle: u32) -> Cheapest {
        let mut held = self.load(0);
        let mut most = held.entry.cheapness(now, idle);
        for way in 1..FLOW_WAYS {
            let other = self.load(way);
            let cheapness = other.entry.cheapness(now, idle);
            if cheapness > most {
                (most, held) = (cheapness, other);
            }
        }
        Cheapest {
            held,
            is_live: most < FlowEntry::LIVE,
        }
    }

    #[inline(always)]
    fn load(self, way: usize) -> Held {
        // SAFETY: an aligned word of the bucket, which lives as long as the map.
        let place = unsafe { self.0.cast::<FlowEntry>().add(way) };
        // SAFETY: as above; BPF reads eight bytes by one instruction.
        let entry = unsafe { place.read_volatile() };
        Held { place, entry }
    }
}

impl Held {
    /// Puts another entry in the place; false if what it held is not there any more.
    #[inline(always)]
    pub(crate) fn replace(self, new: FlowEntry) -> bool {
        // SAFETY: an aligned word of a bucket, which lives as long as the map.
        unsafe { atomic::replace(self.place.cast(), self.entry.0, new.0) }
    }
}
