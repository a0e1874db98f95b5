//! Packets for a VIP that are cut short or lie about their lengths.

use lbfabric_abi::{Mode, Protocol};

use super::{
    fabric::{CASES, Fabric, Family, request},
    kernel::Action,
    packets::{ETHERNET, fix_ipv4_checksum, l4_start},
};

const MODES: [Mode; 4] = [Mode::Dnat, Mode::Fullnat, Mode::Dsr, Mode::Tunnel];

fn assert_dropped(fabric: &Fabric, frame: &[u8], reason: &str, what: &str) {
    let ran = fabric.lb(frame);
    assert_eq!(
        (ran.action, ran.counter),
        (Action::Drop, Some(reason)),
        "{what}"
    );
    assert_eq!(ran.frame, frame, "{what}");
}

/// Every prefix of a packet, in every mode: it passes while its destination is not known, and is dropped from then on.
#[test]
fn every_prefix_of_a_packet() {
    for mode in MODES {
        let fabric = Fabric::new(mode);
        for (family, protocol) in CASES {
            let whole = request(family, protocol).build();
            let header = match family {
                Family::V4 => 20,
                Family::V6 => 40,
            };
            for length in ETHERNET..whole.len() {
                let ran = fabric.lb(&whole[..length]);
                let expected = if length < ETHERNET + header {
                    (Action::Pass, Some("pass-not-vip"))
                } else {
                    (Action::Drop, Some("drop-bad-length"))
                };
                assert_eq!(
                    (ran.action, ran.counter),
                    expected,
                    "{mode:?} {family:?} {length}"
                );
                assert_eq!(ran.frame, &whole[..length]);
            }
            assert_eq!(
                fabric.lb(&whole).action,
                Action::Redirect,
                "{mode:?} {family:?}"
            );
        }
    }
}

/// Every length that the IP header may claim, in a frame that stays as it is: never more goes out than came in and its
/// outer header.
#[test]
fn every_length_that_ip_can_claim() {
    for mode in MODES {
        let fabric = Fabric::new(mode);
        for (family, protocol) in CASES {
            let request = request(family, protocol);
            let whole = request.build();
            let actual = whole.len() - ETHERNET;
            for claimed in (0..200).chain([255, 256, 1500, 0x7fff, 0x8000, 0xfffe, 0xffff]) {
                let mut frame = whole.clone();
                let (at, header) = match family {
                    Family::V4 => (ETHERNET + 2, 0),
                    Family::V6 => (ETHERNET + 4, 40),
                };
                frame[at..at + 2].copy_from_slice(&u16::try_from(claimed).unwrap().to_be_bytes());
                if family == Family::V4 {
                    fix_ipv4_checksum(&mut frame);
                }
                let length = claimed + header;
                let l4_end = l4_start(&request) - ETHERNET
                    + match protocol {
                        Protocol::Tcp => 20,
                        Protocol::Udp => 8,
                        Protocol::Any => unreachable!("packets are of a protocol"),
                    };
                let ran = fabric.lb(&frame);
                let expected = if length > actual || length < l4_start(&request) - ETHERNET {
                    Some("drop-bad-length")
                } else if length < l4_end {
                    Some("drop-truncated")
                } else if protocol == Protocol::Udp && length < actual {
                    // The UDP header's own length is no longer covered.
                    Some("drop-bad-length")
                } else {
                    assert_eq!(
                        ran.action,
                        Action::Redirect,
                        "{mode:?} {family:?} {claimed}"
                    );
                    continue;
                };
                assert_eq!(
                    ran.counter, expected,
                    "{mode:?} {family:?} {protocol:?} {claimed}"
                );
                assert_eq!((ran.action, ran.frame), (Action::Drop, frame));
            }
        }
    }
}

#[test]
fn header_lengths_that_cannot_be() {
    let fabric = Fabric::new(Mode::Dnat);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let request = request(Family::V4, protocol);
        for words in 0..16u8 {
            let mut frame = request.build();
            frame[ETHERNET] = 0x40 | words;
            let total = frame.len() - ETHERNET;
            let ran = fabric.lb(&frame);
            assert_ne!(ran.action, Action::Aborted, "{words}");
            if words < 5 || usize::from(words) * 4 > total {
                assert_dropped(&fabric, &frame, "drop-bad-length", &format!("{words}"));
            }
        }
    }
    // A TCP header of each length: below its own minimum, up to the packet's end, and beyond.
    for family in [Family::V4, Family::V6] {
        let request = request(family, Protocol::Tcp);
        let at = l4_start(&request) + 12;
        for words in 0..16u8 {
            let mut frame = request.build();
            frame[at] = words << 4;
            let rest = frame.len() - l4_start(&request);
            if words < 5 || usize::from(words) * 4 > rest {
                assert_dropped(&fabric, &frame, "drop-bad-length", &format!("{words}"));
            } else {
                assert_eq!(fabric.lb(&frame).counter, Some("l4-dnat"), "{words}");
            }
        }
    }
}

#[test]
fn udp_lengths_that_cannot_be() {
    let fabric = Fabric::new(Mode::Dnat);
    for family in [Family::V4, Family::V6] {
        let request = request(family, Protocol::Udp);
        let at = l4_start(&request) + 4;
        let rest = u16::try_from(8 + request.payload.len()).unwrap();
        for length in (0..=rest + 2).chain([0x8000, 0xffff]) {
            let mut frame = request.build();
            frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
            if length < 8 || length > rest {
                assert_dropped(&fabric, &frame, "drop-bad-length", &format!("{length}"));
            } else {
                assert_eq!(fabric.lb(&frame).counter, Some("l4-dnat"), "{length}");
            }
        }
    }
}

/// Fragments after the first, each with nothing before it.
#[test]
fn fragments_without_their_first() {
    for mode in MODES {
        let fabric = Fabric::new(mode);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            // More to come; the last; with the reserved bit.
            for (high, low) in [(0x20, 1), (0x00, 1), (0x1f, 0xff), (0x80, 1)] {
                let mut frame = request(Family::V4, protocol).build();
                frame[ETHERNET + 6] = high;
                frame[ETHERNET + 7] = low;
                fix_ipv4_checksum(&mut frame);
                let what = format!("{high:#x} {low:#x}");
                assert_dropped(&fabric, &frame, "drop-fragment", &what);
            }
            let mut whole = request(Family::V4, protocol).build();
            whole[ETHERNET + 6] = 0x40;
            fix_ipv4_checksum(&mut whole);
            assert_eq!(fabric.lb(&whole).action, Action::Redirect);

            let mut frame = request(Family::V6, protocol).build();
            frame[ETHERNET + 6] = 44;
            assert_dropped(&fabric, &frame, "drop-fragment", "IPv6");
        }
    }
}
