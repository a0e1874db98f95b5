//! What a VIP's new owner tells its neighbors, and what it asks them before.
//!
//! ```text
//! ARP    request and reply, sender and target are the VIP        RFC 5227 section 3: some hosts take the one, some the other
//!        a probe: who has the VIP, from nobody                   RFC 5227 section 2.1.1
//! ND     advertisement to all nodes, override                    RFC 4861 section 7.2.6
//!        a solicitation from nobody                              RFC 4862 section 5.4.2
//! ```
//!
//! Nobody learns anything from a question that comes from nobody, and the node needs no address to ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lbfabric_abi::Checksum;

use super::Mac;

const BROADCAST: Mac = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;
const ADVERTISEMENT: u8 = 136;
/// The option with the target's link-layer address.
const TARGET_LINK: u8 = 2;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// The frames by which the interface with this address takes the VIP.
pub(super) fn announcements(vip: IpAddr, mac: Mac) -> Vec<Vec<u8>> {
    match vip {
        IpAddr::V4(vip) => [REQUEST, REPLY]
            .map(|operation| gratuitous_arp(vip, mac, operation))
            .into(),
        IpAddr::V6(vip) => vec![unsolicited_advertisement(vip, mac)],
    }
}

/// The frame by which the interface with this address asks who has the VIP.
pub(super) fn question(vip: IpAddr, mac: Mac) -> Vec<u8> {
    match vip {
        IpAddr::V4(vip) => arp(REQUEST, (mac, Ipv4Addr::UNSPECIFIED), ([0; 6], vip)),
        IpAddr::V6(vip) => probe(vip, mac),
    }
}

fn gratuitous_arp(vip: Ipv4Addr, mac: Mac, operation: u8) -> Vec<u8> {
    // Of a request nobody reads the target's address, of a reply it is the sender's.
    let target_mac = if operation == REQUEST { [0; 6] } else { mac };
    arp(operation, (mac, vip), (target_mac, vip))
}

/// To all hosts, from the sender and about the target.
fn arp(operation: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let network = [0, 1, 8, 0, 6, 4, 0, operation];
    [
        &ethernet(BROADCAST, sender.0, [0x08, 0x06])[..],
        &network,
        &sender.0,
        &sender.1.octets(),
        &target.0,
        &target.1.octets(),
        // An Ethernet frame has 60 bytes at least.
        &[0; 18],
    ]
    .concat()
}

fn unsolicited_advertisement(vip: Ipv6Addr, mac: Mac) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    let message = [
        &[ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0][..],
        &vip.octets(),
        &[TARGET_LINK, 1],
        &mac,
    ]
    .concat();
    icmpv6((mac, vip), (ALL_NODES_MAC, ALL_NODES), message)
}

fn probe(vip: Ipv6Addr, mac: Mac) -> Vec<u8> {
    const SOLICITATION: u8 = 135;
    let message = [&[SOLICITATION, 0, 0, 0, 0, 0, 0, 0][..], &vip.octets()].concat();
    let [.., a, b, c] = vip.octets();
    // All hosts whose addresses end so, RFC 4291 section 2.7.1.
    let group = Ipv6Addr::from_bits(u128::from_be_bytes([
        0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c,
    ]));
    let group_mac = [0x33, 0x33, 0xff, a, b, c];
    icmpv6((mac, Ipv6Addr::UNSPECIFIED), (group_mac, group), message)
}

/// A message of neighbor discovery, whose checksum is still zero.
fn icmpv6(from: (Mac, Ipv6Addr), to: (Mac, Ipv6Addr), mut message: Vec<u8>) -> Vec<u8> {
    let [high, low] = u16::try_from(message.len())
        .expect("a few dozen bytes")
        .to_be_bytes();
    let checksum = sum(from.1, to.1, &message).field();
    message[2..4].copy_from_slice(&checksum.to_ne_bytes());
    [
        &ethernet(to.0, from.0, [0x86, 0xdd])[..],
        &[0x60, 0, 0, 0, high, low, ICMPV6, u8::MAX],
        &from.1.octets(),
        &to.1.octets(),
        &message,
    ]
    .concat()
}

/// Over a message of whole words, and its pseudo-header (RFC 8200 section 8.1).
fn sum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Checksum {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let pseudo = [
        &source.octets()[..],
        &destination.octets(),
        &length.to_be_bytes(),
        &[0, 0, 0, ICMPV6],
    ]
    .concat();
    let words = pseudo.chunks_exact(2).chain(message.chunks_exact(2));
    words.fold(Checksum::default(), |sum, word| {
        sum.add16(u16::from_ne_bytes([word[0], word[1]]))
    })
}

/// The address, and the host that says to have it: of a frame that answers a question.
pub(super) fn answer(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let (vip, mac) = arp_reply(frame).or_else(|| advertisement(frame))?;
    let is_of_one = mac[0] & 1 == 0 && mac != [0; 6];
    is_of_one.then_some((vip, mac))
}

fn arp_reply(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let arp = frame.get(12..42)?;
    let sender = arp.strip_prefix(&[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, REPLY])?;
    let (mac, rest) = sender.split_first_chunk::<6>()?;
    let (address, _) = rest.split_first_chunk::<4>()?;
    Some((Ipv4Addr::from(*address).into(), *mac))
}

/// RFC 4861 section 7.1.2: what is not as it has to be is none.
fn advertisement(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    const HEADER: usize = 40;
    let packet = frame.get(12..)?.strip_prefix(&[0x86, 0xdd])?;
    let (header, rest) = packet.split_first_chunk::<HEADER>()?;
    let [_, _, _, _, high, low, ICMPV6, u8::MAX, addresses @ ..] = header else {
        return None;
    };
    let message = rest.get(..u16::from_be_bytes([*high, *low]).into())?;
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let destination: &[u8; 16] = destination.try_into().ok()?;
    let is_whole = message.len() % 8 == 0
        && sum((*source).into(), (*destination).into(), message).field() == 0;
    let rest = message.strip_prefix(&[ADVERTISEMENT, 0]);
    let rest = rest.filter(|_| is_whole)?;
    let (target, mut options) = rest.get(6..)?.split_first_chunk::<16>()?;
    while let [_, units, ..] = options
        && *units > 0
    {
        let (option, others) = options.split_at_checked(usize::from(*units) * 8)?;
        if let [TARGET_LINK, 1, mac @ ..] = option {
            return Some((Ipv6Addr::from(*target).into(), mac.try_into().ok()?));
        }
        options = others;
    }
    None
}

fn ethernet(destination: Mac, source: Mac, ethertype: [u8; 2]) -> [u8; 14] {
    let mut header = [0; 14];
    header[..6].copy_from_slice(&destination);
    header[6..12].copy_from_slice(&source);
    header[12..].copy_from_slice(&ethertype);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0xaa, 0xbb, 0xcc];

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .chars()
            .filter_map(|digit| digit.to_digit(16))
            .map(|digit| u8::try_from(digit).unwrap())
            .collect();
        digits.chunks(2).map(|it| it[0] << 4 | it[1]).collect()
    }

    #[test]
    fn arp_in_both_forms() {
        let [request, reply] = announcements("192.0.2.10".parse().unwrap(), MAC)
            .try_into()
            .unwrap();
        let zero = "00".repeat(18);
        assert_eq!(
            request,
            hex(&format!(
                "ffffffffffff 020000aabbcc 0806 0001 0800 06 04 0001 \
                 020000aabbcc c000020a 000000000000 c000020a {zero}"
            ))
        );
        assert_eq!(
            reply,
            hex(&format!(
                "ffffffffffff 020000aabbcc 0806 0001 0800 06 04 0002 \
                 020000aabbcc c000020a 020000aabbcc c000020a {zero}"
            ))
        );
    }

    #[test]
    fn a_question_names_nobody_but_who_asks() {
        let zero = "00".repeat(18);
        assert_eq!(
            question("192.0.2.10".parse().unwrap(), MAC),
            hex(&format!(
                "ffffffffffff 020000aabbcc 0806 0001 0800 06 04 0001 \
                 020000aabbcc 00000000 000000000000 c000020a {zero}"
            ))
        );
        let mut frame = question("2001:db8::10:2030".parse().unwrap(), MAC);
        // Of the checksum, `answers_are_read_as_they_come` makes sure.
        frame[56..58].fill(0);
        assert_eq!(
            frame,
            hex("3333ff102030 020000aabbcc 86dd 60000000 0018 3a ff \
                 00000000000000000000000000000000 ff0200000000000000000001ff102030 \
                 87 00 0000 00000000 20010db8000000000000000000102030")
        );
    }

    #[test]
    fn answers_are_read_as_they_come() {
        for vip in ["192.0.2.10", "2001:db8::10"] {
            let vip = vip.parse().unwrap();
            let mut frame = announcements(vip, MAC).pop().unwrap();
            assert_eq!(answer(&frame), Some((vip, MAC)));
            // Whatever is missing, nothing is made up, and padding does not matter.
            for length in 0..42 {
                assert_eq!(answer(&frame[..length]), None, "{vip} {length}");
            }
            frame.extend([0; 20]);
            assert_eq!(answer(&frame), Some((vip, MAC)));
            assert_eq!(answer(&question(vip, MAC)), None);
            // A group has no address, and what it says is of nobody.
            assert_eq!(answer(&announcements(vip, [1; 6]).pop().unwrap()), None);
        }
    }

    #[test]
    fn what_is_no_advertisement_is_not_taken_for_one() {
        let vip: Ipv6Addr = "2001:db8::10".parse().unwrap();
        let message = [
            &[ADVERTISEMENT, 0, 0, 0, 0x40, 0, 0, 0][..],
            &vip.octets(),
            // An option that nobody knows (RFC 4861 section 4.6), and then the one that counts.
            &[14, 1, 1, 2, 3, 4, 5, 6, TARGET_LINK, 1],
            &MAC,
        ]
        .concat();
        let frame = |message| icmpv6((MAC, vip), (MAC, vip), message);
        let good = frame(message.clone());
        assert_eq!(answer(&good), Some((vip.into(), MAC)));
        for (what, at, byte) in [
            ("no ICMPv6", 20, 17),
            ("it came through a router", 21, 254),
            ("a length beyond the end", 19, 48),
            ("a solicitation", 54, 135),
            ("a code", 55, 1),
            ("a checksum that does not hold", 85, 0),
        ] {
            let mut frame = good.clone();
            assert_ne!(std::mem::replace(&mut frame[at], byte), byte);
            assert_eq!(answer(&frame), None, "{what}");
        }
        for (what, at, byte) in [("no units", 25, 0), ("too many", 25, 3), ("two", 33, 2)] {
            let mut message = message.clone();
            message[at] = byte;
            assert_eq!(answer(&frame(message)), None, "{what}");
        }
    }

    /// The checksum by hand: pseudo-header and message add up to `sum`, as `ping6`'s would.
    #[test]
    fn an_advertisement_to_all_nodes() {
        let [frame] = announcements("2001:db8::10".parse().unwrap(), MAC)
            .try_into()
            .unwrap();
        let words = |bytes: &[u8]| -> u32 {
            bytes
                .chunks(2)
                .map(|it| u32::from(u16::from_be_bytes([it[0], it[1]])))
                .sum()
        };
        // Addresses, length and protocol, message with its checksum: all ones.
        let sum = words(&frame[22..]) + 32 + 58;
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        let mut unsummed = frame;
        unsummed[56..58].fill(0);
        assert_eq!(
            unsummed,
            hex("333300000001 020000aabbcc 86dd 60000000 0020 3a ff \
                 20010db8000000000000000000000010 ff020000000000000000000000000001 \
                 88 00 0000 20000000 20010db8000000000000000000000010 02 01 020000aabbcc")
        );
    }
}
