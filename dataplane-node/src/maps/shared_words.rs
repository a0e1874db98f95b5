//! An array map in the agent's memory: some are too large, or change too fast, for a call for each entry.
#![expect(
    unsafe_code,
    reason = "memory that is shared with the program in the kernel"
)]

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use aya::maps::MapData;

/// A mapping of an array with `BPF_F_MMAPABLE` whose values consist of words of 8 bytes, each of which both sides read and
/// write as a whole.
pub(crate) struct SharedWords {
    first: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the mapping belongs to this value alone until it is dropped, and is not bound to a thread.
unsafe impl Send for SharedWords {}
// SAFETY: all access is by atomic operations on whole words.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the first `count` words of a map, which has that many.
    pub(crate) fn new(map: &MapData, count: usize) -> io::Result<Self> {
        let fd = map.fd().as_fd().as_raw_fd();
        // SAFETY: a new mapping, at a place of the kernel's choice, changes no memory that is in use.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::bytes(count),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(address.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { first, count })
    }

    /// All words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has this length and begins at a page. Both sides write words as a whole, and it is not unmapped
        // while `self` lives.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }

    const fn bytes(count: usize) -> usize {
        count * size_of::<AtomicU64>()
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and nothing refers to it any more.
        let unmapped = unsafe { libc::munmap(self.first.as_ptr().cast(), Self::bytes(self.count)) };
        debug_assert_eq!(unmapped, 0);
    }
}

/// The clock that the program stamps entries with.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock(libc::CLOCK_MONOTONIC);
    now.as_secs() * 1_000_000_000 + u64::from(now.subsec_nanos())
}

/// The clock of leases, `CLOCK_BOOTTIME`.
pub(crate) fn boot_clock() -> Duration {
    clock(libc::CLOCK_BOOTTIME)
}

fn clock(which: libc::clockid_t) -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer leads to a `timespec`, which the call fills.
    let outcome = unsafe { libc::clock_gettime(which, &raw mut now) };
    debug_assert_eq!(outcome, 0);
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or_default();
    Duration::new(now.tv_sec.cast_unsigned(), nanoseconds)
}
