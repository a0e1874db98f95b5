//! How long full NAT's sessions last: states of TCP, port reuse, and what gives way to what.

use lbfabric_abi::{
    Mode, Protocol, SESSION_IDLE_CLOSED_SECS, SESSION_IDLE_OPEN_SECS, SESSION_IDLE_RESET_SECS,
    Settings,
};

use super::{
    fabric::{Fabric, Family, OTHER_SERVER, RING_SLOTS, RING_START, SERVER, request, settings},
    kernel::{Action, Program},
    packets::{ETHERNET, Packet, l4_start},
    sessions,
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;
const SYN_ACK: u8 = 0x12;

/// A client's connection, packet by packet.
struct Connection {
    client: Packet,
    /// What its first packet became.
    sent: Vec<u8>,
}

impl Connection {
    /// Sends a SYN that full NAT must take.
    fn open(fabric: &Fabric, client: Packet) -> Self {
        let ran = fabric.lb(&client.build());
        assert_eq!(ran.counter, Some("l4-fullnat"));
        Self {
            client,
            sent: ran.frame,
        }
    }

    /// As [`Connection::open`], up to the end of the handshake.
    fn establish(fabric: &Fabric, client: Packet) -> Self {
        let connection = Self::open(fabric, client);
        connection.answer(fabric, SYN_ACK);
        connection.send(fabric, ACK);
        connection
    }

    fn send(&self, fabric: &Fabric, flags: u8) {
        let frame = with_flags(self.client.build(), l4_start(&self.client), flags);
        assert_eq!(fabric.lb(&frame).counter, Some("l4-fullnat"));
    }

    /// An answer of the server. Without a route it is the kernel's.
    fn answer(&self, fabric: &Fabric, flags: u8) {
        let frame = turned(&self.sent, l4_start(&self.client));
        let frame = with_flags(frame, l4_start(&self.client), flags);
        let (action, _) = fabric.kernel.run_uncounted(Program::Lb, &frame, 1);
        assert_eq!(action, Action::Pass);
    }

    /// Both sides close.
    fn close(&self, fabric: &Fabric) {
        self.send(fabric, FIN_ACK);
        self.answer(fabric, FIN_ACK);
        self.send(fabric, ACK);
    }

    fn node_port(&self) -> u16 {
        let at = l4_start(&self.client);
        u16::from_be_bytes([self.sent[at], self.sent[at + 1]])
    }
}

fn with_flags(mut frame: Vec<u8>, l4: usize, flags: u8) -> Vec<u8> {
    frame[l4 + 13] = flags;
    frame
}

/// The packet with its ends exchanged.
pub(crate) fn turned(frame: &[u8], l4: usize) -> Vec<u8> {
    let mut turned = frame.to_vec();
    let (addresses, length) = if frame[ETHERNET] >> 4 == 4 {
        (ETHERNET + 12, 4)
    } else {
        (ETHERNET + 8, 16)
    };
    for (at, length) in [(addresses, length), (l4, 2)] {
        let (a, b) = (at..at + length, at + length..at + 2 * length);
        turned[a.clone()].copy_from_slice(&frame[b.clone()]);
        turned[b].copy_from_slice(&frame[a]);
    }
    turned
}

fn client(family: Family, port: u16) -> Packet {
    let mut client = request(family, Protocol::Tcp);
    client.source.set_port(port);
    client
}

/// A node that has one port to send from.
fn with_one_port() -> Fabric {
    let mut fabric = Fabric::new(Mode::Fullnat);
    fabric.settings(Settings {
        nat_port_count: 1,
        ..settings()
    });
    fabric
}

fn is_refused(fabric: &Fabric, client: &Packet) -> bool {
    let ran = fabric.lb(&client.build());
    if ran.action == Action::Drop {
        assert_eq!(ran.counter, Some("drop-nat-ports-exhausted"));
        return true;
    }
    assert_eq!(ran.counter, Some("l4-fullnat"));
    false
}

/// The bug of IPVS that made such a client wait for a second: its SYN met what was left of the last connection.
#[test]
fn row_36_a_client_comes_back_from_the_same_port_at_once() {
    for family in FAMILIES {
        for reset in [false, true] {
            let mut fabric = Fabric::new(Mode::Fullnat);
            let old = Connection::establish(&fabric, client(family, 4000));
            if reset {
                old.answer(&fabric, RST);
            } else {
                old.close(&fabric);
            }
            assert!(
                sessions::of(&mut fabric, &old.client)
                    .unwrap()
                    .life
                    .state()
                    .is_closing()
            );
            // The server is the same, so its port may be: the server's own TIME-WAIT knows what to do.
            let new = Connection::open(&fabric, client(family, 4000));
            assert_eq!(new.sent, old.sent);
            let state = sessions::of(&mut fabric, &new.client).unwrap().life.state();
            assert!(!state.is_closing() && !state.is_confirmed());
        }
    }
}

#[test]
fn row_36_a_new_connection_leaves_a_server_that_takes_none() {
    for family in FAMILIES {
        let mut fabric = Fabric::new(Mode::Fullnat);
        let old = Connection::establish(&fabric, client(family, 4000));
        fabric.ring(RING_START, &[OTHER_SERVER; RING_SLOTS as usize]);
        // A SYN that is sent again changes nothing while the connection stands.
        assert_eq!(
            Connection::open(&fabric, client(family, 4000)).sent,
            old.sent
        );
        old.close(&fabric);
        Connection::open(&fabric, client(family, 4000));
        let session = sessions::of(&mut fabric, &old.client).unwrap();
        assert_eq!(u32::from(session.backend), OTHER_SERVER);
        assert_eq!(sessions::words(&mut fabric), 1, "the old one is gone");
        fabric.ring(RING_START, &[SERVER; RING_SLOTS as usize]);
    }
}

#[test]
fn row_36_a_port_is_used_again_after_time_wait() {
    for family in FAMILIES {
        let mut fabric = with_one_port();
        let old = Connection::establish(&fabric, client(family, 4000));
        let new = client(family, 4001);
        assert!(is_refused(&fabric, &new), "in use");
        old.close(&fabric);
        sessions::age(&mut fabric, &old.client, SESSION_IDLE_CLOSED_SECS / 2);
        assert!(is_refused(&fabric, &new), "in TIME-WAIT");
        sessions::age(&mut fabric, &old.client, SESSION_IDLE_CLOSED_SECS);
        let connection = Connection::open(&fabric, new);
        assert_eq!(connection.node_port(), old.node_port());
        assert_eq!(sessions::of(&mut fabric, &old.client), None);
        assert_eq!(sessions::words(&mut fabric), 1);
    }
}

#[test]
fn row_36_each_state_has_its_time() {
    let mut fabric = with_one_port();
    let new = client(Family::V4, 4001);
    let old = Connection::establish(&fabric, client(Family::V4, 4000));
    sessions::age(&mut fabric, &old.client, SESSION_IDLE_OPEN_SECS - 60);
    assert!(
        is_refused(&fabric, &new),
        "an open connection may be silent for two hours"
    );
    old.answer(&fabric, RST);
    assert!(is_refused(&fabric, &new), "its reset may be on the way");
    // A packet after the reset: nobody took it.
    old.send(&fabric, ACK);
    sessions::age(&mut fabric, &old.client, 60);
    assert!(is_refused(&fabric, &new));
    old.send(&fabric, RST);
    sessions::age(&mut fabric, &old.client, SESSION_IDLE_RESET_SECS + 3);
    assert!(!is_refused(&fabric, &new));
}

/// A SYN alone holds its port while its client may send it again; a connection that is open keeps it.
#[test]
fn row_33_a_flood_gives_its_ports_back() {
    let mut fabric = with_one_port();
    let flood = Connection::open(&fabric, client(Family::V4, 4000));
    let new = client(Family::V4, 4001);
    assert!(is_refused(&fabric, &new));
    sessions::age(&mut fabric, &flood.client, 14);
    let live = Connection::establish(&fabric, new);
    sessions::age(&mut fabric, &live.client, 14);
    assert!(is_refused(&fabric, &client(Family::V4, 4002)));
    live.send(&fabric, SYN);
    live.send(&fabric, ACK);
}
