//! On a server: reads the clients' addresses out of the SYNs of full-NAT nodes, see `client_address`, and gives them to programs
//! that ask who their peer is.
//!
//! ```text
//! XDP          SYN with the option    CLIENT_ADDRESSES: node, server's address and port -> client
//!              SYN without it         the entry goes: its port is another connection's now
//!              SYN as a fragment, or  as without the option: nodes put none in
//!              behind IPv6's headers
//! getpeername  and accept             the node's address and port become the client's
//! ```

use core::mem::offset_of;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{bpf_sock, bpf_sock_addr},
    programs::SockAddrContext,
};
use lbfabric_abi::{Address, CLIENT_ADDRESS_KIND, ClientAddress, Flow};

use super::{
    aligned::Aligned,
    bytes::{load1, load2, load4, load8, store4, swap2},
    frame::Frame,
    headers::{TCP, protocol, tcp_flags},
    ip::Ip,
    maps, parse,
    v4::V4,
};

/// Reads a TCP packet, whose IP header is in the frame.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
pub(crate) fn note<I: Ip>(frame: &Frame, ip: usize, tcp: usize) {
    const SYN: u64 = tcp_flags::SYN as u64;
    const BOTH: u64 = (tcp_flags::SYN | tcp_flags::ACK) as u64;
    if !frame.reaches(tcp + TCP) {
        return;
    }
    // SAFETY: both headers are in the frame.
    let (flags, from, to) = unsafe { (load1::<13>(tcp), load2::<0>(tcp), load2::<2>(tcp)) };
    if flags & BOTH != SYN || !maps::is_told_port(swap2(to) as u16) {
        return;
    }
    // SAFETY: as above.
    let (source, destination) = unsafe { (I::source(ip), I::destination(ip)) };
    let key = Aligned(Flow {
        source: I::to_abi(source),
        destination: I::to_abi(destination),
        source_port_be: (from as u16).to_ne_bytes(),
        destination_port_be: (to as u16).to_ne_bytes(),
        protocol: protocol::TCP,
        zero: [0; 3],
    });
    if !maps::is_told_by(&key.source) {
        return;
    }
    match option::<I>(frame, tcp) {
        Some(client) => maps::remember_client(&key, &client),
        None => maps::forget_client(&key),
    }
}

/// Reads a packet that is a fragment or has extension headers: a node lets its SYN through without the option.
#[inline(always)]
pub(crate) fn note_odd(frame: &Frame) {
    let Some(scratch) = maps::scratch() else {
        return;
    };
    let packet = &mut scratch.packet;
    // A SYN that is none to the parser is none to nodes, either.
    if parse::read(frame, packet).is_err() || !packet.is_syn {
        return;
    }
    if maps::is_told_port(u16::from_be_bytes(packet.flow.destination_port_be))
        && maps::is_told_by(&packet.flow.source)
    {
        maps::forget_client(&packet.flow);
    }
}

/// What the option right behind the TCP header says.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
fn option<I: Ip>(frame: &Frame, tcp: usize) -> Option<Aligned<ClientAddress>> {
    let length = I::CLIENT_ADDRESS_OPTION;
    if !frame.reaches(tcp + TCP + length) {
        return None;
    }
    // SAFETY: the header and the option are in the frame.
    let (header, first) = unsafe { (load1::<12>(tcp) >> 4 << 2, load4::<20>(tcp) as u32) };
    let [kind, option_length, port_high, port_low] = first.to_ne_bytes();
    if header < (TCP + length) as u64
        || kind != CLIENT_ADDRESS_KIND
        || usize::from(option_length) != length
    {
        return None;
    }
    Some(Aligned(ClientAddress {
        // SAFETY: as above.
        address: I::to_abi(unsafe { I::load(tcp + TCP + 4) }),
        port_be: [port_high, port_low],
        zero: [0; 2],
    }))
}

/// Says who the peer of an IPv4 socket is.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
pub(crate) fn name4(context: &SockAddrContext) {
    const ADDRESS: usize = offset_of!(bpf_sock_addr, user_ip4);
    const LOCAL: usize = offset_of!(bpf_sock, src_ip4);
    let at = context.as_ptr() as usize;
    // SAFETY: fields of what the kernel gave the program.
    let (peer, local) = unsafe { (load4::<ADDRESS>(at), load4::<LOCAL>(socket(at))) };
    let (peer, local) = (V4::to_abi(peer as u32), V4::to_abi(local as u32));
    let Some(client) = client(at, peer, local) else {
        return;
    };
    if let Some(address) = client.address.ipv4_word() {
        // SAFETY: as above.
        unsafe { store4::<ADDRESS>(at, address.into()) };
        set_port(at, client);
    }
}

/// As [`name4`], for an IPv6 socket; its IPv4 peers are mapped, as everywhere in the maps.
#[inline(always)]
pub(crate) fn name6(context: &SockAddrContext) {
    const ADDRESS: usize = offset_of!(bpf_sock_addr, user_ip6);
    const LOCAL: usize = offset_of!(bpf_sock, src_ip6);
    let at = context.as_ptr() as usize;
    // SAFETY: fields of what the kernel gave the program.
    let (peer, local) = unsafe {
        let socket = socket(at);
        (
            address([
                load4::<ADDRESS>(at),
                load4::<{ ADDRESS + 4 }>(at),
                load4::<{ ADDRESS + 8 }>(at),
                load4::<{ ADDRESS + 12 }>(at),
            ]),
            address([
                load4::<LOCAL>(socket),
                load4::<{ LOCAL + 4 }>(socket),
                load4::<{ LOCAL + 8 }>(socket),
                load4::<{ LOCAL + 12 }>(socket),
            ]),
        )
    };
    let Some(client) = client(at, peer, local) else {
        return;
    };
    let [a, b, c, d] = client.address.words();
    // SAFETY: as above.
    unsafe {
        store4::<ADDRESS>(at, a.into());
        store4::<{ ADDRESS + 4 }>(at, b.into());
        store4::<{ ADDRESS + 8 }>(at, c.into());
        store4::<{ ADDRESS + 12 }>(at, d.into());
    }
    set_port(at, client);
}

/// The client behind a TCP socket's peer.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
fn client(at: usize, peer: Address, local: Address) -> Option<&'static ClientAddress> {
    const PROTOCOL: usize = offset_of!(bpf_sock_addr, protocol);
    const PORT: usize = offset_of!(bpf_sock_addr, user_port);
    const LOCAL_PORT: usize = offset_of!(bpf_sock, src_port);
    // SAFETY: fields of what the kernel gave the program. The local port stands in the machine's order.
    let (number, port, local_port) = unsafe {
        (
            load4::<PROTOCOL>(at),
            load4::<PORT>(at) as u16,
            load4::<LOCAL_PORT>(socket(at)) as u16,
        )
    };
    if number != protocol::TCP.into() {
        return None;
    }
    maps::client(&Aligned(Flow {
        source: peer,
        destination: local,
        source_port_be: port.to_ne_bytes(),
        destination_port_be: local_port.to_be_bytes(),
        protocol: protocol::TCP,
        zero: [0; 3],
    }))
}

#[inline(always)]
fn set_port(at: usize, client: &ClientAddress) {
    const PORT: usize = offset_of!(bpf_sock_addr, user_port);
    // SAFETY: a field of what the kernel gave the program.
    unsafe { store4::<PORT>(at, u16::from_ne_bytes(client.port_be).into()) };
}

/// The socket that is asked about.
///
/// # Safety
/// `at` is the context's address.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an address")]
unsafe fn socket(at: usize) -> usize {
    const SOCKET: usize = offset_of!(bpf_sock_addr, __bindgen_anon_1);
    // SAFETY: the caller's.
    unsafe { load8::<SOCKET>(at) as usize }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
fn address(words: [u64; 4]) -> Address {
    let words = words.map(|word| word as u32);
    // SAFETY: sixteen bytes are sixteen bytes.
    Address(unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) })
}
