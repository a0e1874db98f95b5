//! `client_address_option`: the TCP option that tells a full-NAT server its client.

use std::net::{IpAddr, SocketAddr};

use lbfabric_abi::{CLIENT_ADDRESS_KIND, Mode, OptionEvent, Protocol, VipService};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    fabric::{CASES, EGRESS_MAC, Fabric, Family, SERVER, SERVER_MAC, backend, request, service},
    fragments::fragments,
    kernel::{Action, Ran},
    packets::{Packet, l4_start},
    shapes::{TAGS, extended, padding, tagged},
};

const NOP: u8 = 1;
/// A kind without a meaning.
const EXPERIMENT: u8 = 253;
const MSS: [u8; 4] = [2, 4, 0x05, 0xb4];

/// A fabric whose service is of full NAT with these flags.
fn fabric(flags: u32) -> Fabric {
    let mut fabric = Fabric::new(Mode::Fullnat);
    for (family, protocol) in CASES {
        let service = VipService {
            flags,
            ..service(Mode::Fullnat)
        };
        fabric.serve(family.vip(), protocol, service);
    }
    fabric
}

/// The option, as the documentation has it.
pub(crate) fn option(client: SocketAddr) -> Vec<u8> {
    let port = client.port().to_be_bytes();
    match client.ip() {
        IpAddr::V4(v4) => [&[254, 8], &port[..], &v4.octets()].concat(),
        IpAddr::V6(v6) => [&[254, 20], &port[..], &v6.octets()].concat(),
    }
}

/// A SYN with these options.
fn syn(family: Family, options: &[u8]) -> Packet {
    let mut syn = request(family, Protocol::Tcp);
    syn.tcp_options = options.to_vec();
    syn
}

/// The packet as it goes on to the server, all checksums computed from scratch. The port of the node is what the frame says.
fn forwarded(packet: &Packet, family: Family, ran: &Ran) -> Ran {
    let at = l4_start(packet);
    let port = u16::from_be_bytes([ran.frame[at], ran.frame[at + 1]]);
    let packet = packet
        .clone()
        .macs(EGRESS_MAC, SERVER_MAC)
        .from(SocketAddr::new(family.node(), port))
        .to(family.server())
        .ttl(packet.ttl - 1);
    Ran {
        action: Action::Redirect,
        counter: Some("l4-fullnat"),
        frame: packet.build(),
    }
}

/// The packet with these options instead.
fn with(packet: &Packet, options: Vec<u8>) -> Packet {
    Packet {
        tcp_options: options,
        ..packet.clone()
    }
}

/// The packet as it is to be, by the rules in words: the option in front of the client's own if there is room, else the client's
/// own, of which the first is none of the kind.
fn told(packet: &Packet) -> Packet {
    let own = &packet.tcp_options;
    let option = option(packet.source);
    if option.len() + own.len() <= 40 && packet.ip_options.is_empty() {
        return with(packet, [option, own.clone()].concat());
    }
    let mut own = own.clone();
    if own.first() == Some(&CLIENT_ADDRESS_KIND) {
        own[0] = EXPERIMENT;
    }
    with(packet, own)
}

fn omitted(fabric: &Fabric) -> u64 {
    fabric
        .kernel
        .counter(OptionEvent::ClientAddressOmitted.index())
}

fn check(fabric: &Fabric, family: Family, packet: &Packet, expected: &Packet) {
    let ran = fabric.lb(&packet.build());
    assert_eq!(
        ran,
        forwarded(expected, family, &ran),
        "{family:?} {packet:?}"
    );
}

#[test]
fn it_stands_before_the_clients_own_options() {
    let fabric = fabric(VipService::CLIENT_ADDRESS_OPTION);
    for family in [Family::V4, Family::V6] {
        for own in [
            vec![],
            MSS.to_vec(),
            [&MSS[..], &[NOP, 3, 3, 7, 4, 2, NOP, NOP]].concat(),
            // As much as there can be beside an IPv6 address.
            vec![NOP; 20],
            // A forged one has no place where the server looks.
            option("192.0.2.66:666".parse().unwrap()),
        ] {
            let syn = syn(family, &own);
            let expected = with(&syn, [option(family.client()), own].concat());
            check(&fabric, family, &syn, &expected);
            // Again, as a retransmission.
            check(&fabric, family, &syn, &expected);
        }
        let mut bare = syn(family, &[]);
        bare.payload.clear();
        bare.padding = 6;
        let ran = fabric.lb(&bare.build());
        assert_eq!(ran, forwarded(&told(&bare), family, &ran));
    }
    assert_eq!(omitted(&fabric), 0);
}

#[test]
fn tags_are_off_before_it_is_put_in() {
    let fabric = fabric(VipService::CLIENT_ADDRESS_OPTION);
    for family in [Family::V4, Family::V6] {
        let syn = syn(family, &MSS);
        for tags in TAGS {
            let ran = fabric.lb(&tagged(&syn.build(), tags));
            assert_eq!(ran, forwarded(&told(&syn), family, &ran), "{tags:?}");
        }
    }
    assert_eq!(omitted(&fabric), 0);
}

#[test]
fn a_syn_without_room_goes_without_and_tells_nothing_forged() {
    let fabric = fabric(VipService::CLIENT_ADDRESS_OPTION);
    let mut count = 0;
    for (family, length) in [(Family::V4, 36), (Family::V6, 24), (Family::V6, 40)] {
        let forged = [
            option("192.0.2.66:666".parse().unwrap()),
            vec![NOP; length - 8],
        ]
        .concat();
        let mut disowned = forged.clone();
        disowned[0] = EXPERIMENT;
        for (own, expected) in [
            (vec![NOP; length], vec![NOP; length]),
            (forged.clone(), disowned),
        ] {
            let syn = syn(family, &own);
            check(&fabric, family, &syn, &with(&syn, expected));
            count += 1;
            assert_eq!(omitted(&fabric), count);
        }
    }
}

#[test]
fn a_syn_that_would_outgrow_the_way_goes_without() {
    let mut fabric = fabric(VipService::CLIENT_ADDRESS_OPTION);
    for (family, headers, option_length) in [(Family::V4, 40, 8), (Family::V6, 60, 20)] {
        let mut server = backend(Family::V4.server().ip(), Family::V6.server().ip());
        (server.mtu4, server.mtu6) = (1000, 1000);
        fabric.backend(SERVER, server);
        let mut full = syn(family, &[]);
        full.payload = vec![7; 1000 - headers - option_length];
        check(&fabric, family, &full, &told(&full));
        let before = omitted(&fabric);
        full.payload.push(7);
        check(&fabric, family, &full, &full);
        assert_eq!(omitted(&fabric), before + 1);
    }
}

#[test]
fn ip_options_leave_no_place_for_it() {
    let fabric = fabric(VipService::CLIENT_ADDRESS_OPTION);
    let mut syn = syn(Family::V4, &option("192.0.2.66:666".parse().unwrap()));
    syn.ip_options = vec![NOP; 4];
    check(&fabric, Family::V4, &syn, &told(&syn));
    assert_eq!(omitted(&fabric), 1);
}

#[test]
fn extension_headers_and_fragments_leave_no_place_for_it() {
    let fabric = fabric(VipService::CLIENT_ADDRESS_OPTION);
    let mut count = 0;
    for family in [Family::V4, Family::V6] {
        let forged = option("192.0.2.66:666".parse().unwrap());
        let mut disowned = forged.clone();
        disowned[0] = EXPERIMENT;
        let mut syn = syn(family, &forged);
        syn.payload = vec![7; 90];
        let shape = |packet: &Packet| match family {
            Family::V4 => fragments(packet, 40, 7)[0].clone(),
            Family::V6 => extended(&packet.build(), &[(60, padding(1))]),
        };
        let ran = fabric.lb(&shape(&syn));
        let l4 = l4_start(&syn) + if syn.source.is_ipv6() { 16 } else { 0 };
        let port = u16::from_be_bytes([ran.frame[l4], ran.frame[l4 + 1]]);
        let expected = with(&syn, disowned)
            .macs(EGRESS_MAC, SERVER_MAC)
            .from(SocketAddr::new(family.node(), port))
            .to(family.server())
            .ttl(syn.ttl - 1);
        assert_eq!(ran.counter, Some("l4-fullnat"));
        assert_eq!(ran.frame, shape(&expected), "{family:?}");
        count += 1;
        assert_eq!(omitted(&fabric), count);
    }
}

#[test]
fn nothing_but_syns_of_such_services_changes() {
    let telling = fabric(VipService::CLIENT_ADDRESS_OPTION);
    let silent = fabric(0);
    for family in [Family::V4, Family::V6] {
        let forged = option("192.0.2.66:666".parse().unwrap());
        let syn = syn(family, &forged);
        check(&silent, family, &syn, &syn);
        let later = syn.clone().established();
        let mut syn_ack = syn.clone();
        syn_ack.ack = true;
        let datagram = request(family, Protocol::Udp);
        for packet in [later, syn_ack, datagram] {
            check(&telling, family, &packet, &packet);
        }
    }
    assert_eq!((omitted(&telling), omitted(&silent)), (0, 0));
}

#[test]
fn the_mss_is_clamped_behind_it() {
    let fabric = fabric(VipService::CLIENT_ADDRESS_OPTION | VipService::CLAMP_MSS);
    for (family, fitting) in [(Family::V4, 1460u16), (Family::V6, 1440)] {
        let mss = |value: u16| [&[2, 4], &value.to_be_bytes()[..]].concat();
        let expected = told(&syn(family, &mss(fitting)));
        check(&fabric, family, &syn(family, &mss(9000)), &expected);
    }
}

/// Any client and any options, against the rules in words.
#[test]
fn any_syn_becomes_what_the_rules_say() {
    let fabric = fabric(VipService::CLIENT_ADDRESS_OPTION);
    let words = vec(
        prop_oneof![
            any::<[u8; 4]>(),
            Just([NOP; 4]),
            Just(MSS),
            Just([CLIENT_ADDRESS_KIND, 8, 0, 80]),
            Just([CLIENT_ADDRESS_KIND, 20, 0xff, 0xff]),
        ],
        0..=10,
    );
    let case = (any::<bool>(), words, 1..u16::MAX, any::<u16>(), 0..200usize);
    TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    })
    .run(&case, |(v6, words, port, host, payload)| {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let [high, low] = host.to_be_bytes();
        let mut syn = syn(family, &words.concat());
        let client: IpAddr = if v6 {
            [0x2001, 0xdb8, host, !host, 0, port, 0xffff, 1].into()
        } else {
            [198, 18, high, low].into()
        };
        syn.source = SocketAddr::new(client, port);
        syn.payload = vec![high; payload];
        let ran = fabric.lb(&syn.build());
        prop_assert_eq!(&ran, &forwarded(&told(&syn), family, &ran));
        Ok(())
    })
    .unwrap();
}
