//! The flow table in the agent's memory.
#![expect(unsafe_code, reason = "the kernel's clock")]

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;

use aya::maps::MapData;
use lbfabric_abi::{BACKENDS_MAX, FLOW_WAYS, FlowBucket, FlowEntry, FlowTick};
use lbfabric_model::BackendId;

use super::shared_words::SharedWords;

/// A mapping of `FLOWS`. Every entry is one word, which both sides write by compare-and-exchange only.
pub(crate) struct FlowMap {
    entries: SharedWords,
    buckets: u32,
}

impl FlowMap {
    /// Maps a map with `BPF_F_MMAPABLE`, which holds `buckets` of [`lbfabric_abi::FlowBucket`].
    pub(crate) fn new(map: &MapData, buckets: u32) -> io::Result<Self> {
        let entries = SharedWords::new(map, buckets as usize * FLOW_WAYS)?;
        Ok(Self { entries, buckets })
    }

    /// How many.
    pub(crate) fn buckets(&self) -> u32 {
        self.buckets
    }

    /// The entries of a bucket; none beyond the last one.
    pub(crate) fn bucket(&self, index: u32) -> Option<FlowBucket> {
        if index >= self.buckets {
            return None;
        }
        let words = &self.entries.words()[index as usize * FLOW_WAYS..][..FLOW_WAYS];
        let mut bucket = FlowBucket::default();
        for (entry, word) in bucket.entries.iter_mut().zip(words) {
            *entry = FlowEntry(word.load(Ordering::Relaxed));
        }
        Some(bucket)
    }

    /// Frees entries that were silent for more than `idle` ticks, and those of other servers than `alive`. Returns the
    /// servers of all others.
    pub(crate) fn sweep(&self, alive: &BTreeSet<BackendId>, idle: u32) -> BTreeSet<BackendId> {
        let now = FlowTick::at(monotonic_ns());
        // There may be a million entries.
        let mut is_alive = vec![false; BACKENDS_MAX as usize];
        for BackendId(id) in alive {
            if let Some(flag) = is_alive.get_mut(*id as usize) {
                *flag = true;
            }
        }
        let mut named = vec![false; BACKENDS_MAX as usize];
        for word in self.entries.words() {
            let entry = FlowEntry(word.load(Ordering::Relaxed));
            if entry.is_free() {
                continue;
            }
            let server = entry.server() as usize;
            let lives = is_alive.get(server).is_some_and(|alive| *alive);
            let keep = lives && !entry.is_expired(now, idle);
            // Where the program was faster there is a flow now, of this server or of one that the next sweep sees.
            let kept = keep
                || word
                    .compare_exchange(
                        entry.0,
                        FlowEntry::FREE.0,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    )
                    .is_err();
            if let (true, Some(flag)) = (kept, named.get_mut(server)) {
                *flag = true;
            }
        }
        (0..)
            .zip(named)
            .filter_map(|(id, named)| named.then_some(BackendId(id)))
            .collect()
    }
}

/// The clock that the program stamps entries with.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer leads to a `timespec`, which the call fills.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    debug_assert_eq!(outcome, 0);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
