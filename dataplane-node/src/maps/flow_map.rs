//! The flow table in the agent's memory: it is too large, and changes too fast, for a call for each bucket.
#![expect(
    unsafe_code,
    reason = "memory that is shared with the program in the kernel"
)]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use lbfabric_abi::{BACKENDS_MAX, FLOW_WAYS, FlowBucket, FlowEntry, FlowTick};
use lbfabric_model::BackendId;

/// A mapping of `FLOWS`. Every entry is one word, which both sides write by compare-and-exchange only.
pub(crate) struct FlowMap {
    entries: NonNull<AtomicU64>,
    buckets: u32,
}

// SAFETY: the mapping belongs to this value alone until it is dropped, and is not bound to a thread.
unsafe impl Send for FlowMap {}

impl FlowMap {
    /// Maps a map with `BPF_F_MMAPABLE`, which holds `buckets` of [`FlowBucket`].
    pub(crate) fn new(map: &MapData, buckets: u32) -> io::Result<Self> {
        let fd = map.fd().as_fd().as_raw_fd();
        // SAFETY: a new mapping, at a place of the kernel's choice, changes no memory that is in use.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::bytes(buckets),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let entries = NonNull::new(address.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { entries, buckets })
    }

    /// How many.
    pub(crate) fn buckets(&self) -> u32 {
        self.buckets
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
        for word in self.words() {
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

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has this length and begins at a page; an entry is a word of 8 bytes. Both sides write words as
        // a whole, and it is not unmapped while `self` lives.
        unsafe { slice::from_raw_parts(self.entries.as_ptr(), self.buckets as usize * FLOW_WAYS) }
    }

    const fn bytes(buckets: u32) -> usize {
        buckets as usize * size_of::<FlowBucket>()
    }
}

impl Drop for FlowMap {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and nothing refers to it any more.
        let unmapped =
            unsafe { libc::munmap(self.entries.as_ptr().cast(), Self::bytes(self.buckets)) };
        debug_assert_eq!(unmapped, 0);
    }
}

/// The clock that the program stamps entries with.
fn monotonic_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer leads to a `timespec`, which the call fills.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    debug_assert_eq!(outcome, 0);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
