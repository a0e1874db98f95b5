//! Words that all CPUs and the agent write at the same time. The instructions are BPF's own, and full barriers on every
//! machine.

use core::ptr::NonNull;

/// Puts `new` in the place of `old`; false if `old` is not there.
///
/// # Safety
/// The place is an aligned word of a map.
#[inline(always)]
pub(crate) unsafe fn replace(place: NonNull<u64>, old: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!("r0 = cmpxchg_64({place} + 0, r0, {new})", place = in(reg) place.as_ptr(),
            new = in(reg) new, inout("r0") old => found, options(nostack));
    }
    found == old
}

/// Writes a word after all that was written before it.
///
/// # Safety
/// As of [`replace`].
#[inline(always)]
pub(crate) unsafe fn publish(place: NonNull<u64>, new: u64) {
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!("{new} = xchg_64({place} + 0, {new})", place = in(reg) place.as_ptr(),
            new = inout(reg) new => _, options(nostack));
    }
}

/// Counts a word up, and gives what it was.
///
/// # Safety
/// As of [`replace`].
#[inline(always)]
pub(crate) unsafe fn count_up(place: NonNull<u64>) -> u64 {
    let mut count: u64 = 1;
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!("{count} = atomic_fetch_add((u64 *)({place} + 0), {count})", place = in(reg) place.as_ptr(),
            count = inout(reg) count, options(nostack));
    }
    count
}
