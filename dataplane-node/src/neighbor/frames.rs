//! What a VIP's new owner tells its neighbors.
//!
//! ```text
//! ARP    request and reply, sender and target are the VIP        RFC 5227 section 3: some hosts take the one, some the other
//! ND     advertisement to all nodes, override                    RFC 4861 section 7.2.6
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lbfabric_abi::Checksum;

use super::Mac;

const BROADCAST: Mac = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;
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

fn gratuitous_arp(vip: Ipv4Addr, mac: Mac, operation: u8) -> Vec<u8> {
    // Of a request nobody reads the target's address, of a reply it is the sender's.
    let target_mac = if operation == REQUEST { [0; 6] } else { mac };
    let vip = vip.octets();
    let network = [0, 1, 8, 0, 6, 4, 0, operation];
    [
        &ethernet(BROADCAST, mac, [0x08, 0x06])[..],
        &network,
        &mac,
        &vip,
        &target_mac,
        &vip,
        // An Ethernet frame has 60 bytes at least.
        &[0; 18],
    ]
    .concat()
}

fn unsolicited_advertisement(vip: Ipv6Addr, mac: Mac) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    let mut message = [
        &[136, 0, 0, 0, OVERRIDE, 0, 0, 0][..],
        &vip.octets(),
        &[2, 1],
        &mac,
    ]
    .concat();
    let [high, low] = u16::try_from(message.len())
        .expect("thirty-two bytes")
        .to_be_bytes();
    let pseudo = [
        &vip.octets()[..],
        &ALL_NODES.octets(),
        &[0, 0, high, low, 0, 0, 0, ICMPV6],
    ]
    .concat();
    let checksum = [pseudo, message.clone()]
        .concat()
        .chunks_exact(2)
        .fold(Checksum::default(), |sum, word| {
            sum.add16(u16::from_ne_bytes([word[0], word[1]]))
        });
    message[2..4].copy_from_slice(&checksum.field().to_ne_bytes());
    [
        &ethernet(ALL_NODES_MAC, mac, [0x86, 0xdd])[..],
        &[0x60, 0, 0, 0, high, low, ICMPV6, u8::MAX],
        &vip.octets(),
        &ALL_NODES.octets(),
        &message,
    ]
    .concat()
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
