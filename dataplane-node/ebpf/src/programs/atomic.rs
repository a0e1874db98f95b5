//! Words that all CPUs write at the same time, some of them the agent as well. The instructions are BPF's own, and full
//! barriers on every machine.

use core::ptr::NonNull;

/// Puts another word in the place of an aligned one of a map; false if what it held is not there any more.
#[inline(always)]
pub(crate) fn compare_exchange(place: NonNull<u64>, old: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: an aligned word of a map's value, which lives as long as the map.
    unsafe {
        core::arch::asm!("r0 = cmpxchg_64({place} + 0, r0, {new})", place = in(reg) place.as_ptr(),
            new = in(reg) new, inout("r0") old => found, options(nostack));
    }
    found == old
}

/// Writes an aligned word of a map after all that was written before it.
#[inline(always)]
pub(crate) fn publish(place: NonNull<u64>, new: u64) {
    // SAFETY: as in `compare_exchange`.
    unsafe {
        core::arch::asm!("{new} = xchg_64({place} + 0, {new})", place = in(reg) place.as_ptr(),
            new = inout(reg) new => _, options(nostack));
    }
}

/// Counts an aligned word of a map up, and gives what it was.
#[inline(always)]
pub(crate) fn count_up(place: NonNull<u64>) -> u64 {
    let mut count: u64 = 1;
    // SAFETY: as in `compare_exchange`.
    unsafe {
        core::arch::asm!("{count} = atomic_fetch_add((u64 *)({place} + 0), {count})", place = in(reg) place.as_ptr(),
            count = inout(reg) count, options(nostack));
    }
    count
}
