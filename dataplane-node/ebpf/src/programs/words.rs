//! Many bytes at once. BPF reads and writes up to eight with one instruction, but the compiler does so only where it
//! knows of an alignment, which headers in a frame do not have. The kernel allows it at any address of a frame; on the
//! stack it wants aligned words, which [`Aligned`] gives.

use core::ops::{Deref, DerefMut};

use lbfabric_abi::Address;

/// A map's key or value on the stack.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Aligned<T>(pub(crate) T);

impl<T> Deref for Aligned<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Aligned<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Reads an IPv4 address in a frame.
#[inline(always)]
pub(crate) fn load4(bytes: &[u8; 4]) -> [u8; 4] {
    let word: u64;
    // SAFETY: reads the four bytes of the reference.
    unsafe {
        core::arch::asm!("{word} = *(u32 *)({bytes} + 0)", word = lateout(reg) word,
            bytes = in(reg) bytes, options(pure, readonly, nostack));
    }
    #[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
    let word = word as u32;
    word.to_ne_bytes()
}

/// Writes an IPv4 address in a frame.
#[inline(always)]
pub(crate) fn store4(bytes: &mut [u8; 4], value: [u8; 4]) {
    let word = u64::from(u32::from_ne_bytes(value));
    // SAFETY: writes the four bytes of the reference.
    unsafe {
        core::arch::asm!("*(u32 *)({bytes} + 0) = {word}", word = in(reg) word,
            bytes = in(reg) bytes, options(nostack));
    }
}

/// Reads an IPv6 address in a frame.
#[inline(always)]
pub(crate) fn load16(bytes: &[u8; 16]) -> Address {
    let (low, high): (u64, u64);
    // SAFETY: reads the sixteen bytes of the reference.
    unsafe {
        core::arch::asm!("{low} = *(u64 *)({bytes} + 0)", low = lateout(reg) low,
            bytes = in(reg) bytes, options(pure, readonly, nostack));
        core::arch::asm!("{high} = *(u64 *)({bytes} + 8)", high = lateout(reg) high,
            bytes = in(reg) bytes, options(pure, readonly, nostack));
    }
    // SAFETY: sixteen bytes are sixteen bytes.
    Address(unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>([low, high]) })
}

/// Writes an IPv6 address in a frame.
#[inline(always)]
pub(crate) fn store16(bytes: &mut [u8; 16], value: &Address) {
    let [low, high] = halves(value);
    // SAFETY: writes the sixteen bytes of the reference.
    unsafe {
        core::arch::asm!("*(u64 *)({bytes} + 0) = {low}", low = in(reg) low,
            bytes = in(reg) bytes, options(nostack));
        core::arch::asm!("*(u64 *)({bytes} + 8) = {high}", high = in(reg) high,
            bytes = in(reg) bytes, options(nostack));
    }
}

/// Whether two addresses are the same. `==` on arrays becomes a call.
#[inline(always)]
pub(crate) fn same(a: &Address, b: &Address) -> bool {
    difference(a, b) == 0
}

/// Zero if two addresses are the same.
#[inline(always)]
pub(crate) fn difference(a: &Address, b: &Address) -> u64 {
    let ([a, b], [c, d]) = (halves(a), halves(b));
    (a ^ c) | (b ^ d)
}

#[inline(always)]
fn halves(address: &Address) -> [u64; 2] {
    let [a, b, c, d] = address.words().map(u64::from);
    [a | b << 32, c | d << 32]
}
