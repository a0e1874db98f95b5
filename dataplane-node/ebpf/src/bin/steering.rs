//! The program that gives the connections of VIPs that are configured nowhere to the layer-7 engine, on a network namespace's socket
//! lookup: it is asked for a packet that is delivered here and belongs to no established connection.
//!
//! Whatever it has no entry for is looked up as ever. Of several sockets that listen at the one that it assigns, the kernel
//! chooses by the packet's addresses and ports, so that each of the engine's workers gets its share.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        unsafe_code,
        reason = "the context and maps are memory that the kernel hands over by address"
    )
)]

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::{
        bindings::{bpf_sk_lookup, sk_action::SK_PASS},
        macros::{map, sk_lookup},
        maps::{LpmTrie, PerCpuArray, SockMap, lpm_trie::Key},
        programs::SkLookupContext,
    };
    use lbfabric_abi::{Address, Steered, SteeredTo, SteeringEvent};

    const AF_INET: u32 = 2;

    // SAFETY: no other symbol has this name, and the loader takes the section's bytes for the licence.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[map]
    static STEERED: LpmTrie<Steered, SteeredTo> =
        LpmTrie::with_max_entries(Steered::ENTRIES_MAX, 0);
    #[map]
    static STEERING_SOCKETS: SockMap = SockMap::with_max_entries(Steered::SOCKETS, 0);
    #[map]
    static STEERING_COUNTERS: PerCpuArray<u64> =
        PerCpuArray::with_max_entries(SteeringEvent::ALL.len() as u32, 0);

    #[sk_lookup]
    fn lbfabric_steer(context: SkLookupContext) -> u32 {
        steer(&context);
        SK_PASS
    }

    #[inline(always)]
    fn steer(context: &SkLookupContext) {
        let lookup = context.lookup;
        // The kernel gives each field as a word, and only so.
        // SAFETY: the context is the one that the kernel gave the program.
        let (family, protocol, port) = unsafe {
            (
                read(&raw const (*lookup).family),
                read(&raw const (*lookup).protocol),
                read(&raw const (*lookup).local_port),
            )
        };
        let is_ipv4 = family == AF_INET;
        // SAFETY: as above.
        let address = unsafe { local_address(lookup, is_ipv4) };
        let port = (port as u16).to_be().into();
        let of_port = find(address, port, protocol);
        let of_any = find(address, 0, protocol);
        let found = match (of_port, of_any) {
            (Some(port), Some(any)) if any.bits > port.bits => any,
            (Some(port), _) => port,
            (None, Some(any)) => any,
            (None, None) => return,
        };
        let Some(place) = found.place() else {
            return;
        };
        match STEERING_SOCKETS.redirect_sk_lookup(context, place, 0) {
            Ok(()) => count(SteeringEvent::Steered),
            Err(_) => count(SteeringEvent::NoSocket),
        }
    }

    /// What a trie is asked for, by words: the verifier follows those on the stack, and not how they come together from bytes.
    #[repr(C)]
    struct Question {
        bits: u32,
        port_and_protocol: u32,
        address: [u32; 4],
    }

    const _: () = assert!(size_of::<Question>() == size_of::<Key<Steered>>());

    /// `port` is in network order.
    #[inline(always)]
    fn find(address: [u32; 4], port: u32, protocol: u32) -> Option<&'static SteeredTo> {
        let question = Question {
            bits: Steered::PORT_BITS + Address::BITS,
            port_and_protocol: port | protocol << 16,
            address,
        };
        // SAFETY: both are of the same size, and a key is of bytes that may lie anywhere.
        let key = unsafe { &*(&raw const question).cast::<Key<Steered>>() };
        STEERED.get(key)
    }

    #[inline(always)]
    fn count(event: SteeringEvent) {
        if let Some(count) = STEERING_COUNTERS.get_ptr_mut(event.index()) {
            // SAFETY: it is this CPU's own. A lookup that interrupts another one may get lost.
            unsafe { *count += 1 };
        }
    }

    /// # Safety
    ///
    /// The field is one of the context.
    #[inline(always)]
    unsafe fn read(field: *const u32) -> u32 {
        // SAFETY: as the caller promises.
        unsafe { field.read_volatile() }
    }

    /// In the form of [`Address`], each word with its bytes in memory order.
    ///
    /// # Safety
    ///
    /// The context is the one that the kernel gave the program.
    #[inline(always)]
    unsafe fn local_address(lookup: *const bpf_sk_lookup, is_ipv4: bool) -> [u32; 4] {
        // All of them, whichever are there: chosen before they are read, the place would not be one that the verifier knows.
        // SAFETY: as the caller promises.
        let (v4, v6) = unsafe {
            let words = (&raw const (*lookup).local_ip6).cast::<u32>();
            (
                read(&raw const (*lookup).local_ip4),
                [
                    read(words),
                    read(words.add(1)),
                    read(words.add(2)),
                    read(words.add(3)),
                ],
            )
        };
        if is_ipv4 {
            [0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), v4]
        } else {
            v6
        }
    }

    /// Nothing panics: a program that could would need this loop, which the verifier refuses.
    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

/// There is nothing to run on the host.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
