//! The frame as raw memory: every access to it is checked here.

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_fib_lookup as FibLookup,
    helpers::{
        bpf_check_mtu, bpf_fib_lookup, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
        bpf_xdp_get_buff_len,
    },
    programs::XdpContext,
};

/// The frame that a program is run for.
pub(crate) struct Frame {
    context: XdpContext,
}

/// Headers that are looked at begin no further from the frame's start.
pub(crate) const MAX_DISTANCE: u16 = 0x1ff;

impl Frame {
    pub(crate) const fn new(context: XdpContext) -> Self {
        Self { context }
    }

    /// As the kernel gave it.
    pub(crate) const fn context(&self) -> &XdpContext {
        &self.context
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

    /// Whether it reaches at least up to an address.
    #[inline(always)]
    pub(crate) fn reaches(&self, address: usize) -> bool {
        address <= self.end()
    }

    /// The bytes of all of it: a large frame has parts that no address leads to.
    #[inline(always)]
    pub(crate) fn length(&self) -> u64 {
        // SAFETY: the context is the one that the kernel gave the program.
        unsafe { bpf_xdp_get_buff_len(self.context.as_ptr().cast()) }
    }

    /// How many bytes can be read from an address on.
    #[inline(always)]
    pub(crate) fn rest(&self, from: usize) -> u64 {
        // The verifier wants addresses subtracted as 64 bits, also where fewer are looked at later.
        opaque(self.end() - from) as u64
    }

    /// The address at a distance that was found out by another program. Whoever uses it asks [`Frame::reaches`] first.
    #[inline(always)]
    pub(crate) fn at(&self, distance: u16) -> usize {
        // The verifier wants to see a bound.
        opaque(self.start() + usize::from(distance & MAX_DISTANCE))
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

    /// The largest packet that the interface takes on which the frame came in; none if the kernel does not say.
    #[inline(always)]
    pub(crate) fn ingress_mtu(&self) -> Option<u32> {
        let mut mtu = 0;
        // SAFETY: the context is the one that the kernel gave the program.
        let outcome = unsafe { bpf_check_mtu(self.context.as_ptr(), 0, &raw mut mtu, 0, 0) };
        (outcome >= 0).then_some(mtu)
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
