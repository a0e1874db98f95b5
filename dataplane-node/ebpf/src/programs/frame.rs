//! The frame as raw memory: every access to it is checked here.

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_fib_lookup as FibLookup,
    helpers::{bpf_fib_lookup, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};

/// The frame that a program is run for.
pub(crate) struct Frame {
    context: XdpContext,
}

/// A type that any bytes are a value of, and that may lie at any address.
///
/// # Safety
/// Made of `u8` only.
pub(crate) unsafe trait Header {}

impl Frame {
    pub(crate) const fn new(context: XdpContext) -> Self {
        Self { context }
    }

    /// The interface that it came in through.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "an `int` in the kernel")]
    pub(crate) fn ingress_ifindex(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    /// The address of its first byte.
    #[inline(always)]
    pub(crate) fn start(&self) -> usize {
        self.context.data()
    }

    /// The address behind its last byte.
    #[inline(always)]
    pub(crate) fn end(&self) -> usize {
        self.context.data_end()
    }

    /// How many bytes it has.
    #[inline(always)]
    pub(crate) fn length(&self) -> usize {
        self.length_from(self.start())
    }

    /// How many bytes it has from an address on. A length field is compared with this, not added to the address: what comes out of a
    /// swap of bytes may be any number to the verifier of Linux 6.1, and such a number it adds to no address.
    #[inline(always)]
    pub(crate) fn length_from(&self, address: usize) -> usize {
        // The verifier wants addresses subtracted as 64 bits, also where fewer are looked at later.
        opaque(self.end() - address)
    }

    /// The header at an address, if the frame reaches that far. Callers keep to one live reference for each header.
    #[inline(always)]
    #[expect(
        clippy::mut_from_ref,
        reason = "the frame is outside Rust's memory, and each of its headers is asked for once"
    )]
    pub(crate) fn header<T: Header>(&self, address: usize) -> Option<&mut T> {
        if address + size_of::<T>() > self.end() {
            return None;
        }
        // SAFETY: `address` begins at or behind the frame's start, as all callers count up from there, and the bytes end within
        // the frame: checked just now, here and by the verifier once more. Any bytes at any address are a `T`.
        Some(unsafe { &mut *(address as *mut T) })
    }

    /// Makes room in front. The addresses of all headers change.
    #[inline(always)]
    pub(crate) fn grow_head(&self, by: usize) -> Option<()> {
        self.adjust_head(-short(by))
    }

    /// Cuts bytes off the beginning. The addresses of all headers change.
    #[inline(always)]
    pub(crate) fn cut_head(&self, by: usize) -> Option<()> {
        self.adjust_head(short(by))
    }

    /// Cuts bytes off the end. The addresses of all headers change.
    #[inline(always)]
    pub(crate) fn cut_tail(&self, by: usize) -> Option<()> {
        // SAFETY: the context is the one that the kernel gave the program.
        (unsafe { bpf_xdp_adjust_tail(self.context.as_ptr().cast(), -short(by)) } == 0)
            .then_some(())
    }

    #[inline(always)]
    fn adjust_head(&self, by: i32) -> Option<()> {
        // SAFETY: the context is the one that the kernel gave the program.
        (unsafe { bpf_xdp_adjust_head(self.context.as_ptr().cast(), by) } == 0).then_some(())
    }

    /// Asks the kernel's routing table; a `BPF_FIB_LKUP_RET_` number, or less than zero for a wrong question.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation,
        reason = "64 bytes"
    )]
    pub(crate) fn fib_lookup(&self, lookup: &mut FibLookup) -> i64 {
        // SAFETY: the context is the one that the kernel gave the program, and the length is the structure's.
        unsafe {
            bpf_fib_lookup(
                self.context.as_ptr(),
                core::ptr::from_mut(lookup).cast(),
                size_of::<FibLookup>() as i32,
                0,
            )
        }
    }
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "lengths within a frame"
)]
const fn short(length: usize) -> i32 {
    length as i32
}

/// A number whose origin the compiler does not know. An address at a variable distance needs it, as the verifier relates a
/// bounds check to an access only if both start from the same register.
#[inline(always)]
pub(crate) fn opaque(number: usize) -> usize {
    let mut number = number;
    // SAFETY: no instruction, no memory.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags));
    }
    number
}
