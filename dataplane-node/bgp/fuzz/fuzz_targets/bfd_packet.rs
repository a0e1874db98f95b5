//! Packets of BFD: what is read is written as it was, and is read again as the same.
#![no_main]

use lbfabric_bgp::bfd::Packet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(packet) = Packet::read(bytes) else {
        return;
    };
    let written = packet.to_bytes();
    assert_eq!(Packet::read(&written), Ok(packet));
    // All but the length, which may be that of more than is known of.
    assert_eq!(written[..3], bytes[..3]);
    assert_eq!(written[4..], bytes[4..Packet::LEN]);
});
