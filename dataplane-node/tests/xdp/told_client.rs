//! The server's side of `client_address_option`: what it remembers of SYNs.

use std::net::{IpAddr, SocketAddr};

use lbfabric_abi::{Address, ClientAddress, Flow, Mode, Protocol};

use super::{
    client_address::option,
    decap::{Outer, server},
    fabric::{Fabric, Family},
    fragments::fragments,
    kernel::{Action, Program, Ran},
    packets::{ETHERNET, Packet, fix_ipv4_checksum},
    shapes::{extended, padding, routing},
};

const NOP: u8 = 1;

/// A server at port 80 of which the node's first addresses may say who clients are.
fn told_server() -> Fabric {
    let mut fabric = Fabric::new(Mode::Fullnat);
    for family in [Family::V4, Family::V6] {
        let node = Address::from(family.node());
        let mut told_by = fabric.kernel.hash::<Address, u32>("TOLD_BY");
        told_by.insert(node, 1, 0).unwrap();
    }
    let mut ports = fabric.kernel.array::<u64>("TOLD_PORTS");
    ports.set(80 / u64::BITS, 1 << (80 % u64::BITS), 0).unwrap();
    fabric
}

/// A SYN from a node to the server.
fn syn(family: Family, node: IpAddr, options: Vec<u8>) -> Packet {
    let source = SocketAddr::new(node, 20_001);
    let mut syn = Packet::new(Protocol::Tcp, source, family.server());
    syn.tcp_options = options;
    syn
}

fn key(packet: &Packet) -> Flow {
    Flow {
        source: packet.source.ip().into(),
        destination: packet.destination.ip().into(),
        source_port_be: packet.source.port().to_be_bytes(),
        destination_port_be: packet.destination.port().to_be_bytes(),
        protocol: Protocol::Tcp as u8,
        zero: [0; 3],
    }
}

/// All that is remembered.
fn remembered(fabric: &mut Fabric) -> Vec<(Flow, ClientAddress)> {
    let map = fabric
        .kernel
        .hash::<Flow, ClientAddress>("CLIENT_ADDRESSES");
    map.iter().map(Result::unwrap).collect()
}

/// Whatever it says, the stack gets it as it is.
fn pass(fabric: &Fabric, frame: Vec<u8>) {
    let expected = Ran {
        action: Action::Pass,
        counter: Some("pass-not-vip"),
        frame,
    };
    let ran = fabric.kernel.run(Program::Server, &expected.frame);
    assert_eq!(ran, expected);
}

fn entry(packet: &Packet, client: SocketAddr) -> (Flow, ClientAddress) {
    let client = ClientAddress {
        address: client.ip().into(),
        port_be: client.port().to_be_bytes(),
        zero: [0; 2],
    };
    (key(packet), client)
}

#[test]
fn a_nodes_syn_tells_its_client_until_one_without_the_option() {
    let mut fabric = told_server();
    for family in [Family::V4, Family::V6] {
        let client = family.client();
        for own in [vec![], vec![NOP; 20]] {
            let syn = syn(family, family.node(), [option(client), own].concat());
            pass(&fabric, syn.build());
            assert_eq!(remembered(&mut fabric), [entry(&syn, client)]);
        }
        // The port's next connection is another client's.
        let other = SocketAddr::new(client.ip(), 4);
        let next = syn(family, family.node(), option(other));
        pass(&fabric, next.build());
        assert_eq!(remembered(&mut fabric), [entry(&next, other)]);
        // What follows changes nothing.
        let mut syn_ack = syn(family, family.node(), vec![]);
        syn_ack.ack = true;
        for packet in [syn_ack, syn(family, family.node(), vec![]).established()] {
            pass(&fabric, packet.build());
            assert_eq!(remembered(&mut fabric), [entry(&next, other)]);
        }
        pass(&fabric, syn(family, family.node(), vec![NOP; 20]).build());
        assert_eq!(remembered(&mut fabric), []);
    }
}

#[test]
fn nobody_else_is_believed() {
    let mut fabric = told_server();
    for family in [Family::V4, Family::V6] {
        let forged = syn(family, family.second_node(), option(family.client()));
        pass(&fabric, forged.build());
        let mut elsewhere = syn(family, family.node(), option(family.client()));
        elsewhere.destination.set_port(81);
        pass(&fabric, elsewhere.build());
        assert_eq!(remembered(&mut fabric), []);
        // Nor does a stranger make it forget.
        let told = syn(family, family.node(), option(family.client()));
        pass(&fabric, told.build());
        pass(&fabric, syn(family, family.second_node(), vec![]).build());
        assert_eq!(remembered(&mut fabric), [entry(&told, family.client())]);
        pass(&fabric, syn(family, family.node(), vec![]).build());
    }
}

#[test]
fn what_is_not_the_option_in_its_place_counts_as_none() {
    let mut fabric = told_server();
    for family in [Family::V4, Family::V6] {
        let right = option(family.client());
        let other = match family {
            Family::V4 => option(Family::V6.client()),
            Family::V6 => [option(Family::V4.client()), vec![NOP; 12]].concat(),
        };
        let mut lengths = [0, 1, 2, 7, 9, 21, 40, 255].map(|length| {
            let mut wrong = right.clone();
            wrong[1] = length;
            wrong
        });
        let mut other_kind = right.clone();
        other_kind[0] = 253;
        lengths[0] = [vec![NOP; 4], right.clone()].concat();
        for options in lengths.into_iter().chain([other, other_kind]) {
            let told = syn(family, family.node(), right.clone());
            pass(&fabric, told.build());
            assert_eq!(remembered(&mut fabric).len(), 1);
            pass(&fabric, syn(family, family.node(), options.clone()).build());
            assert_eq!(remembered(&mut fabric), [], "{family:?} {options:?}");
        }
    }
}

/// A header that is said to end before the option does, and frames cut off in it.
#[test]
fn what_is_cut_short_tells_nothing() {
    let mut fabric = told_server();
    for family in [Family::V4, Family::V6] {
        let mut told = syn(family, family.node(), option(family.client()));
        told.payload.clear();
        let header = match family {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        let whole = told.build();
        let mut short = whole.clone();
        short[ETHERNET + header + 12] = 0x60;
        pass(&fabric, short);
        for length in ETHERNET + header + 20..whole.len() {
            pass(&fabric, whole[..length].to_vec());
        }
        assert_eq!(remembered(&mut fabric), []);
    }
}

/// A fragment's first bytes may be replaced by another that overlaps it.
#[test]
fn fragments_and_tunnels_tell_nothing() {
    let mut fabric = told_server();
    let told = syn(Family::V4, Family::V4.node(), option(Family::V4.client()));
    let mut fragment = told.build();
    fragment[ETHERNET + 6] |= 0x20;
    fix_ipv4_checksum(&mut fragment);
    pass(&fabric, fragment);
    assert_eq!(remembered(&mut fabric), []);

    let mut tunnelled = server();
    let mut told_by = tunnelled.kernel.hash::<Address, u32>("TOLD_BY");
    told_by
        .insert(Address::from(Family::V4.node()), 1, 0)
        .unwrap();
    let mut inner = told;
    inner.destination = Family::V4.vip();
    let outer = Outer::new(Family::V4, &inner).wrap(&inner.ip_packet());
    let ran = tunnelled.kernel.run(Program::Server, &outer);
    assert_eq!(ran.counter, Some("decapsulated"));
    assert_eq!(remembered(&mut tunnelled), []);
}

/// Two fragments, the first with the whole TCP header.
fn split(packet: &Packet) -> [Vec<u8>; 2] {
    let mut packet = packet.clone();
    packet.payload = vec![7; 90];
    fragments(&packet, 40, 7)
}

/// The shapes, other than plain ones, in which a node lets packets through. It puts no option into these.
fn shapes(family: Family, packet: &Packet) -> Vec<Vec<u8>> {
    let [first, _] = split(packet);
    let mut shapes = vec![first];
    match family {
        Family::V4 => {
            let mut longer = packet.clone();
            longer.ip_options = vec![NOP; 4];
            longer.tcp_options.clear();
            shapes.push(longer.build());
        }
        Family::V6 => {
            let whole = || (44, vec![0, 0, 0, 1, 2, 3, 4]);
            let chains = [
                vec![(0, padding(0))],
                vec![(60, padding(40))],
                vec![(43, routing(0))],
                vec![whole()],
                vec![(60, padding(0)); 8],
            ];
            shapes.extend(chains.map(|chain| extended(&packet.build(), &chain)));
            let in_front = vec![(60, padding(1))];
            shapes.push(extended(&shapes[0], &in_front));
        }
    }
    shapes
}

/// Or else a client would be taken for the one that had the node's port before.
#[test]
fn a_syn_of_any_shape_makes_it_forget() {
    let mut fabric = told_server();
    for family in [Family::V4, Family::V6] {
        let told = syn(family, family.node(), option(family.client()));
        for frame in shapes(family, &told) {
            pass(&fabric, told.build());
            assert_eq!(remembered(&mut fabric), [entry(&told, family.client())]);
            pass(&fabric, frame.clone());
            assert_eq!(remembered(&mut fabric), [], "{family:?} {frame:02x?}");
        }
    }
}

#[test]
fn other_packets_of_such_shapes_change_nothing() {
    let mut fabric = told_server();
    for family in [Family::V4, Family::V6] {
        let told = syn(family, family.node(), option(family.client()));
        pass(&fabric, told.build());
        let [_, later] = split(&told);
        let mut elsewhere = told.clone();
        elsewhere.destination.set_port(81);
        let others = [
            told.clone().established(),
            elsewhere,
            syn(family, family.second_node(), option(family.client())),
        ];
        let others = others.iter().flat_map(|other| shapes(family, other));
        for frame in others.chain([later]) {
            pass(&fabric, frame);
            assert_eq!(remembered(&mut fabric), [entry(&told, family.client())]);
        }
        pass(&fabric, syn(family, family.node(), vec![]).build());
    }
}
