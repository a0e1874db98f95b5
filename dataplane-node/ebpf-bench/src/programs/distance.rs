/// The bytes between two addresses. The verifier wants addresses subtracted as 64 bits, also where fewer are looked at later;
/// so the compiler must not know where the number is from.
#[inline(always)]
pub(crate) fn distance(from: usize, to: usize) -> u64 {
    let mut number = (to - from) as u64;
    // SAFETY: no instruction, no memory.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags));
    }
    number
}
