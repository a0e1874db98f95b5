//! The flow table: which server a flow is on, where its ring slot alone does not say.
//!
//! ```text
//! FLOWS[hash & mask] = bucket of 8 entries, one cache line
//!
//! 63        40 39        16 15      1 0
//! ┌───────────┬────────────┬─────────┬─┐
//! │ tag       │ server     │ tick    │s│   s: made by a first packet (a SYN, or UDP), and no other was seen since
//! └───────────┴────────────┴─────────┴─┘   0: free
//! ```
//!
//! An entry is written by one 8-byte compare-and-exchange, by the program and by the agent.

use crate::{Flow, FlowKey};

/// Entries of a bucket.
pub const FLOW_WAYS: usize = 8;

const TICKS: u16 = 0x7fff;

/// A bucket of the flow table. `FLOWS[bucket]`.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowBucket {
    /// In no order.
    pub entries: [FlowEntry; FLOW_WAYS],
}

/// A flow and its server, or nothing.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEntry(pub u64);

/// A moment of the clock that entries age by: steps of 2^31 ns, about 2.1 s. It wraps after about 20 hours, so entries must
/// be cleared well before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTick(u16);

/// Where a flow stands in the table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowPlace {
    /// The bits of the flow's hash that its entry carries; not zero.
    pub tag: u32,
    hash: u32,
}

// === impl FlowEntry ===

impl FlowEntry {
    /// No flow.
    pub const FREE: Self = Self(0);

    /// An entry; `server` is below 2^24.
    #[inline(always)]
    pub const fn new(tag: u32, server: u32, tick: FlowTick, syn_only: bool) -> Self {
        Self((tag as u64) << 40 | (server as u64) << 16 | (tick.0 as u64) << 1 | syn_only as u64)
    }

    /// The part of the flow's hash that tells it from others of the bucket; zero if free.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        (self.0 >> 40) as u32
    }

    /// The server's id.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "24 bits")]
    pub const fn server(self) -> u32 {
        (self.0 >> 16) as u32 & 0x00ff_ffff
    }

    /// When a packet of the flow was last seen.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "15 bits")]
    pub const fn tick(self) -> FlowTick {
        FlowTick((self.0 >> 1) as u16 & TICKS)
    }

    /// Whether it was made by a first packet, and nothing but more of those was seen since.
    #[inline(always)]
    pub const fn is_syn_only(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether there is no flow.
    #[inline(always)]
    pub const fn is_free(self) -> bool {
        self.0 == 0
    }

    /// How many ticks ago a packet of the flow was last seen.
    #[inline(always)]
    pub const fn age(self, now: FlowTick) -> u32 {
        self.age_and_one(now).saturating_sub(1)
    }

    /// Whether the flow was silent for longer than `idle` ticks.
    #[inline(always)]
    pub const fn is_expired(self, now: FlowTick, idle: u32) -> bool {
        self.age_and_one(now) > idle + 1
    }

    /// A CPU that looked at the clock a moment later may have written the entry: that is no age of 20 hours, but zero here.
    #[inline(always)]
    const fn age_and_one(self, now: FlowTick) -> u32 {
        (now.0.wrapping_sub(self.tick().0).wrapping_add(1) & TICKS) as u32
    }

    /// How little is lost with the entry: of two the larger number goes first. Free ones come before expired ones, then those
    /// made by a first packet alone, and [those in use](FlowEntry::LIVE); each kind by age. Those of dead servers the agent
    /// clears at once.
    ///
    /// Without branches: of several places with one branch each, the verifier follows every combination.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "single bits")]
    pub const fn cheapness(self, now: FlowTick, idle: u32) -> u32 {
        let age = self.age_and_one(now);
        let is_free = 1 ^ (self.0 | self.0.wrapping_neg()) >> 63;
        let is_expired = (idle as u64 + 1).wrapping_sub(age as u64) >> 63;
        let kind = (is_free as u32) << 2 | (is_expired as u32) << 1 | self.0 as u32 & 1;
        kind << Self::AGE_BITS | age
    }

    /// [`cheapness`](FlowEntry::cheapness) is below it where a flow is lost that is in use.
    pub const LIVE: u32 = 1 << Self::AGE_BITS;
    const AGE_BITS: u32 = 15;

    /// The entry after another packet of its flow; the same while neither the tick nor what is known of the flow changes.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self, now: FlowTick, syn: bool) -> Self {
        Self::new(self.tag(), self.server(), now, self.is_syn_only() && syn)
    }
}

// === impl FlowTick ===

impl FlowTick {
    /// Nanoseconds of a tick.
    pub const NS: u64 = 1 << 31;
    /// The longest idle time that can be told from a recent packet, in ticks.
    pub const IDLE_MAX: u32 = 16_384;

    /// The tick of a moment of `CLOCK_MONOTONIC`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it wraps")]
    pub const fn at(monotonic_ns: u64) -> Self {
        Self((monotonic_ns / Self::NS) as u16 & TICKS)
    }

    /// Ticks that last at least `ms`, as an idle time.
    #[expect(clippy::cast_possible_truncation, reason = "limited before")]
    pub const fn idle_of_ms(ms: u64) -> u32 {
        let ticks = ms.saturating_mul(1_000_000).div_ceil(Self::NS);
        if ticks > Self::IDLE_MAX as u64 {
            Self::IDLE_MAX
        } else {
            ticks as u32
        }
    }
}

// === impl FlowPlace ===

impl FlowPlace {
    /// Where a flow with this hash stands, which is made with the node's own key.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "parts of a word")]
    pub const fn of(hash: u64) -> Self {
        let tag = (hash >> 40) as u32;
        Self {
            tag: tag | (tag == 0) as u32,
            hash: hash as u32,
        }
    }

    /// The bucket; `mask` is the number of buckets, a power of two, less one.
    #[inline(always)]
    pub const fn bucket(self, mask: u32) -> u32 {
        self.hash & mask
    }
}

impl Flow {
    /// Where the flow stands in a node's table.
    #[inline(always)]
    pub const fn place(&self, key: &FlowKey) -> FlowPlace {
        FlowPlace::of(self.hash(key))
    }
}

const _: () = assert!(size_of::<FlowBucket>() == 64 && align_of::<FlowBucket>() == 64);

#[cfg(test)]
mod tests;
