//! Flows that a server could not tell apart: the same client, to two VIPs that end at one endpoint.

use lbfabric_abi::{
    Protocol, SESSION_IDLE_OPEN_SECS, SESSION_IDLE_UDP_SECS, SESSION_PORT_PATIENCE, VipService,
};

use super::{
    exact_fabric::{
        ACK, FIN_ACK, Flow, RST, SYN, SYN_ACK, assert_all_words_lead_to_sessions, exact, fabric,
    },
    fabric::{CASES, Fabric, Family, OTHER_SERVER, RING_SLOTS, SERVER},
    network::in_network,
    sessions,
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const CLASH: &str = "drop-exact-state-clash";

/// The same client to both VIPs.
fn pair(family: Family, protocol: Protocol) -> [Flow; 2] {
    family.vips().map(|vip| Flow::new(protocol, vip, 4000))
}

/// The first flow is over: the second one has taken its place.
fn assert_taken_over(fabric: &mut Fabric, old: &Flow, new: &Flow) {
    new.assert_begins(fabric);
    assert_eq!(sessions::of(fabric, &old.packet), None);
    assert_eq!(sessions::all(fabric).len(), 1);
    assert_all_words_lead_to_sessions(fabric);
}

#[test]
fn the_second_flow_is_refused_and_the_first_goes_on() {
    in_network(|network| {
        for (family, protocol) in CASES {
            let mut fabric = fabric();
            let [first, second] = pair(family, protocol);
            first.assert_begins(&fabric);
            for _ in 0..2 {
                second.assert_refused(&fabric, CLASH);
                first.assert_answered(&fabric, network);
                first.assert_sends(&fabric, &first.packet.clone().established());
            }
            let later = Flow {
                packet: second.packet.clone().established(),
                ..second.clone()
            };
            later.assert_refused(&fabric, CLASH);
            // From another port it is another connection.
            Flow::new(protocol, family.second_vip(), 4001).assert_begins(&fabric);
            assert_eq!(sessions::all(&mut fabric).len(), 2);
            assert_all_words_lead_to_sessions(&mut fabric);
        }
    });
}

/// Other servers, or other ports, are other connections.
#[test]
fn only_one_endpoint_of_a_server_clashes() {
    in_network(|network| {
        let mut fabric = fabric();
        fabric.ring(40, &[OTHER_SERVER; RING_SLOTS as usize]);
        for (family, protocol) in CASES {
            let [first, mut second] = pair(family, protocol);
            second.server = family.other_server();
            let elsewhere = VipService {
                ring_start: 40,
                ..exact()
            };
            fabric.serve(family.second_vip(), protocol, elsewhere);
            first.assert_begins(&fabric);
            second.assert_begins(&fabric);
            first.assert_answered(&fabric, network);
            second.assert_answered(&fabric, network);
            for (flow, server) in [(first, SERVER), (second, OTHER_SERVER)] {
                let session = sessions::of(&mut fabric, &flow.packet).unwrap();
                assert_eq!(u32::from(session.backend), server);
            }
        }
    });
}

#[test]
fn row_36_a_syn_takes_over_from_a_connection_that_is_over() {
    for family in FAMILIES {
        for how in [[(false, RST)].as_slice(), &[(true, RST)], &[]] {
            let mut fabric = fabric();
            let [old, new] = pair(family, Protocol::Tcp);
            old.establish(&fabric);
            if how.is_empty() {
                old.talk(&fabric, &[(true, FIN_ACK)]);
                // The server may go on sending.
                new.assert_refused(&fabric, CLASH);
                old.talk(&fabric, &[(false, FIN_ACK), (true, ACK)]);
            } else {
                old.talk(&fabric, how);
            }
            // What is no SYN begins nothing: late packets of the old connection may be on the way.
            let late = Flow {
                packet: new.packet.clone().established(),
                ..new.clone()
            };
            late.assert_refused(&fabric, CLASH);
            assert_taken_over(&mut fabric, &old, &new);
        }
    }
}

/// The same flow's own SYN, as full NAT has it.
#[test]
fn a_client_comes_back_from_the_same_port_at_once() {
    for family in FAMILIES {
        let mut fabric = fabric();
        let [flow, _] = pair(family, Protocol::Tcp);
        flow.establish(&fabric);
        flow.close(&fabric);
        flow.talk(&fabric, &[(true, SYN)]);
        let state = |fabric: &mut Fabric| {
            let session = sessions::of(fabric, &flow.packet).unwrap();
            session.life.state()
        };
        let begun = state(&mut fabric);
        assert!(!begun.is_closing() && !begun.is_confirmed());
        flow.talk(&fabric, &[(false, SYN_ACK), (true, ACK)]);
        assert!(state(&mut fabric).is_confirmed());
        assert_all_words_lead_to_sessions(&mut fabric);
    }
}

#[test]
fn a_flow_that_was_silent_for_too_long_gives_way() {
    for family in FAMILIES {
        let mut fabric = fabric();
        let [old, new] = pair(family, Protocol::Tcp);
        old.assert_begins(&fabric);
        sessions::age(&mut fabric, &old.packet, SESSION_PORT_PATIENCE - 3);
        new.assert_refused(&fabric, CLASH);
        // No client has confirmed it.
        sessions::age(&mut fabric, &old.packet, SESSION_PORT_PATIENCE);
        assert_taken_over(&mut fabric, &old, &new);

        new.establish(&fabric);
        sessions::age(&mut fabric, &new.packet, SESSION_IDLE_OPEN_SECS - 60);
        old.assert_refused(&fabric, CLASH);
        sessions::age(&mut fabric, &new.packet, 120);
        assert_taken_over(&mut fabric, &new, &old);
    }
}

#[test]
fn udp_gives_way_when_it_is_silent() {
    for family in FAMILIES {
        let mut fabric = fabric();
        let [old, new] = pair(family, Protocol::Udp);
        old.establish(&fabric);
        sessions::age(&mut fabric, &old.packet, SESSION_IDLE_UDP_SECS - 10);
        new.assert_refused(&fabric, CLASH);
        sessions::age(&mut fabric, &old.packet, 20);
        assert_taken_over(&mut fabric, &old, &new);
    }
}
