use super::*;

fn link(index: u32, name: &str, mac: u8) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    message
        .attributes
        .push(LinkAttribute::Address(vec![mac; 6]));
    message.attributes.push(LinkAttribute::Mtu(1500));
    message
}

fn neighbour(state: NeighbourState, mac: Option<u8>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = 3;
    message.header.state = state;
    let address = NeighbourAddress::Inet("10.0.0.2".parse().unwrap());
    message
        .attributes
        .push(NeighbourAttribute::Destination(address));
    let mac = mac.map(|mac| NeighbourAttribute::LinkLayerAddress(vec![mac; 6]));
    message.attributes.extend(mac);
    message
}

#[test]
fn a_doubted_neighbour_keeps_its_address_until_there_is_a_new_one() {
    let server: IpAddr = "10.9.9.9".parse().unwrap();
    let key = NeighbourKey {
        ifindex: 3,
        address: "10.0.0.2".parse().unwrap(),
    };
    let mut table = NetworkTable::default();
    table.set_links(&[link(3, "eth0", 1)]);
    let route = Route {
        via: key,
        mtu: None,
    };
    table.routes.insert(server, route);
    let mac = |table: &mut NetworkTable| {
        table
            .view(&[], &BTreeSet::new())
            .next_hops
            .get(&server)
            .map(|way| way.hop.mac)
    };
    assert_eq!(mac(&mut table), None);
    assert!(table.wants_probe(key));
    table.note_neighbour(&neighbour(NeighbourState::Incomplete, None));
    assert_eq!(mac(&mut table), None);
    assert!(!table.wants_probe(key));
    table.note_neighbour(&neighbour(NeighbourState::Reachable, Some(7)));
    assert_eq!(mac(&mut table), Some([7; 6]));
    table.note_neighbour(&neighbour(NeighbourState::Failed, None));
    assert_eq!(mac(&mut table), Some([7; 6]));
    assert!(table.wants_probe(key));
    table.forget_neighbour(&neighbour(NeighbourState::Failed, None));
    assert_eq!(mac(&mut table), Some([7; 6]));
    table.note_neighbour(&neighbour(NeighbourState::Stale, Some(8)));
    assert_eq!(mac(&mut table), Some([8; 6]));
    assert_eq!(
        table.view(&[], &BTreeSet::new()).next_hops[&server],
        Way {
            hop: NextHop {
                ifindex: 3,
                source_mac: [1; 6],
                mac: [8; 6]
            },
            mtu: 1500,
            host_bits: 0,
        }
    );
    // What the kernel knows of the path counts where it is less.
    for (learnt, mtu) in [(1300, 1300), (9000, 1500)] {
        table.routes.insert(
            server,
            Route {
                via: key,
                mtu: Some(learnt),
            },
        );
        assert_eq!(
            table.view(&[], &BTreeSet::new()).next_hops[&server].mtu,
            mtu
        );
    }
    // Another way to the server begins without knowledge.
    table.routes.clear();
    assert_eq!(mac(&mut table), None);
    table.routes.insert(server, route);
    table.forget_neighbour(&neighbour(NeighbourState::Stale, None));
    assert_eq!(mac(&mut table), None);
}

/// Of several subnets the widest counts, on the server's own link, and only without a router between.
#[test]
fn a_servers_subnet_is_that_of_the_nodes_own_address() {
    let server = |ip: &str| ip.parse::<IpAddr>().unwrap();
    let mut table = NetworkTable::default();
    table.set_links(&[link(3, "eth0", 1), link(4, "eth1", 1)]);
    let own = |index: u32, ip: &str, prefix_len| {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = prefix_len;
        message.header.scope = AddressScope::Universe;
        let address = AddressAttribute::Address(server(ip));
        message.attributes.push(address);
        message
    };
    table.set_addresses(&[
        own(3, "10.1.2.1", 24),
        own(3, "10.1.0.1", 16),
        own(3, "10.2.0.1", 32),
        own(3, "10.9.0.1", 0),
        own(3, "2001:db8::1", 64),
        own(4, "10.0.0.1", 8),
    ]);
    let host_bits = |ip| {
        table.host_bits(NeighbourKey {
            ifindex: 3,
            address: server(ip),
        })
    };
    assert_eq!(host_bits("10.1.2.7"), 16);
    assert_eq!(host_bits("192.0.2.7"), 0);
    assert_eq!(host_bits("10.3.0.7"), 0);
    assert_eq!(host_bits("2001:db8::7"), 64);
    assert_eq!(host_bits("2001:db8:0:1::7"), 0);

    for (via, expected) in [("10.1.2.7", 16), ("10.1.2.99", 0)] {
        let via = NeighbourKey {
            ifindex: 3,
            address: server(via),
        };
        table.last.insert(via, [7; 6]);
        let way = table.way(server("10.1.2.7"), Route { via, mtu: None });
        assert_eq!(way.map(|it| it.host_bits), Some(expected));
    }
}

#[test]
fn only_global_addresses_that_are_ready_count() {
    let address = |index: u32, ip: &str, scope: AddressScope, flags: AddressFlags| {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.scope = scope;
        message
            .attributes
            .push(AddressAttribute::Address(ip.parse().unwrap()));
        message.attributes.push(AddressAttribute::Flags(flags));
        message
    };
    let none = AddressFlags::empty();
    let mut table = NetworkTable::default();
    table.set_links(&[link(3, "eth0", 1), link(4, "eth1", 1)]);
    table.set_addresses(&[
        address(4, "10.1.0.1", AddressScope::Universe, none),
        address(3, "fe80::1", AddressScope::Link, none),
        address(
            3,
            "2001:db8::1",
            AddressScope::Universe,
            AddressFlags::Tentative,
        ),
        address(
            3,
            "10.0.0.1",
            AddressScope::Universe,
            AddressFlags::Permanent,
        ),
    ]);
    let view = table.view(&["eth0".to_owned()], &BTreeSet::new());
    assert_eq!(view.on_interface, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(view.on_node.len(), 2);
    let links = |view: &NetworkView| -> Vec<_> {
        let placed = view.placed.iter();
        placed.map(|it| (it.link.clone(), it.address)).collect()
    };
    assert_eq!(links(&view), [("eth0".to_owned(), view.on_interface[0])]);
    // In the order of the interfaces that are followed.
    let both = ["eth1", "eth0"].map(str::to_owned);
    let view = table.view(&both, &BTreeSet::new());
    let expected = ["eth1", "eth0"].map(str::to_owned).into_iter();
    let expected = expected.zip(view.on_interface.iter().copied());
    assert_eq!(links(&view), expected.collect::<Vec<_>>());
}
