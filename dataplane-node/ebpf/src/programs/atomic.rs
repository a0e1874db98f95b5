//! Words that all CPUs write at the same time.

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
