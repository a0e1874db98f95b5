//! The tables of sessions with flows of destination NAT, and with full NAT's beside them.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use lbfabric_abi::{Mode, NatCursor, Protocol, Settings, VipService};
use lbfabric_model::{BackendId, ObjectKind};
use lbfabric_proto::v1::{self, node_object::Object};

use super::{
    exact_fabric::{self, ACK, FIN_ACK, Flow, RST, SYN, assert_all_words_lead_to_sessions},
    fabric::{CASES, Fabric, Family, SERVER, octets4, service, settings},
    generator::Random,
    keeper::{Agent, BUCKETS, POOL, SLOTS, packet},
    kernel::{Action, INGRESS, Kernel, Program, Sizes},
    packets::{ETHERNET, Packet, l4_start},
    sessions,
};

/// A table with so many lines of words, and eight sessions for each.
fn fabric(session_lines: u32) -> Fabric {
    let sizes = Sizes {
        session_lines,
        ..Sizes::default()
    };
    let mut fabric = exact_fabric::on(Kernel::load_with(sizes));
    fabric.settings(Settings {
        session_mask: session_lines - 1,
        nat_port_first: 1024,
        nat_port_count: 31_744,
        nat_port_gap_at: 31_744,
        ..settings()
    });
    fabric
}

/// Every flow has two words: four of them fill a line.
#[test]
fn a_full_table_refuses_new_flows_and_keeps_the_others() {
    for (family, protocol) in CASES {
        let mut fabric = fabric(1);
        let flows: Vec<Flow> = (4000..4004)
            .map(|port| Flow::new(protocol, family.second_vip(), port))
            .collect();
        for flow in &flows {
            flow.establish(&fabric);
        }
        let more = Flow::new(protocol, family.vip(), 5000);
        more.assert_refused(&fabric, "drop-nat-table-full");
        let cursor = fabric.kernel.array::<NatCursor>("NAT_CURSOR");
        let cursor = cursor.get(&SERVER, 0).unwrap();
        assert!(cursor.no_room_at > 0 && cursor.no_port_at == 0);
        for flow in &flows {
            flow.assert_sends(&fabric, &flow.packet.clone().established());
        }
        assert_all_words_lead_to_sessions(&mut fabric);
        assert_eq!(sessions::all(&mut fabric).len(), 4);
    }
}

/// Half-open flows give way with both their words: a flood of them lets others in, of either kind.
#[test]
fn half_open_flows_give_their_place() {
    for family in [Family::V4, Family::V6] {
        let mut fabric = fabric(1);
        let mut vip = family.vip();
        vip.set_port(81);
        fabric.serve(vip, Protocol::Tcp, service(Mode::Fullnat));
        let live = Flow::new(Protocol::Tcp, family.vip(), 3999);
        live.establish(&fabric);
        let mut fullnat = 0;
        for port in 4000..4100 {
            Flow::new(Protocol::Tcp, family.second_vip(), port).assert_begins(&fabric);
            assert_all_words_lead_to_sessions(&mut fabric);
            let other = Flow::new(Protocol::Tcp, vip, port);
            let ran = fabric.lb(&other.packet.build());
            assert_eq!(ran.counter, Some("l4-fullnat"));
            fullnat += usize::from(sessions::of(&mut fabric, &other.packet).is_some());
            assert_all_words_lead_to_sessions(&mut fabric);
            live.assert_sends(&fabric, &live.packet.clone().established());
        }
        assert_eq!(fullnat, 100);
    }
}

/// A fabric as the agent writes it: a line for words, and two VIPs.
fn swept(kernel: &mut Kernel) -> Agent {
    let mut agent = Agent::new(kernel, &[(1, 1, 100), (2, 2, 0)]);
    let vips = Family::V4.vips().map(|it| octets4(it.ip()).to_vec());
    let service = Object::Service(Box::new(v1::NodeServiceObject {
        vips: vips.to_vec(),
        ports: vec![v1::NodePortRange {
            first: 80,
            last: 80,
        }],
        protocol: v1::Protocol::Tcp.into(),
        mode: v1::Mode::L4Dnat.into(),
        pool_id: POOL,
        affinity: v1::Affinity::FiveTuple.into(),
        exact_state: true,
        ..v1::NodeServiceObject::default()
    }));
    agent.set(ObjectKind::Service, 1, service);
    agent.write();
    agent
}

/// A connection that both sides have confirmed, with the server of this last byte; false if it is refused.
fn connects(kernel: &Kernel, n: u32, server: u8) -> bool {
    let client = packet(n).to(Family::V4.second_vip());
    let run = |packet: &Packet| kernel.run_uncounted(Program::Lb, &packet.build(), INGRESS);
    let (action, frame) = run(&client);
    if action == Action::Drop {
        return false;
    }
    let at = SocketAddr::new([10, 2, 0, server].into(), 80);
    let to = exact_fabric::destination(&frame);
    assert_eq!((action, to), (Action::Redirect, at.ip().into()));
    let answer = Packet::new(Protocol::Tcp, at, client.source).established();
    assert_eq!(run(&answer).0, Action::Pass, "the kernel routes it");
    assert_eq!(run(&client.established()).0, Action::Redirect);
    true
}

/// The agent frees what a dead server leaves behind: with a word of each left, there would be no room for as many again.
#[test]
fn a_dead_servers_sessions_leave_with_both_words() {
    let mut kernel = Kernel::load_with(Sizes {
        ring_slots: SLOTS,
        flow_buckets: BUCKETS,
        session_lines: 1,
    });
    let mut agent = swept(&mut kernel);
    assert!((0..4).all(|n| connects(&kernel, n, 1)));
    assert!(!connects(&kernel, 4, 1), "every word is taken");
    agent.set_pool(POOL, &[(1, 1, 100), (2, 2, 100)]);
    agent.keeper.note_probe(BackendId(1), false, agent.now);
    agent.write();
    assert!(!connects(&kernel, 5, 2), "it is not dead yet");
    agent.now += Duration::from_secs(3601);
    agent.write();
    assert!((10..14).all(|n| connects(&kernel, n, 2)));
    assert!(!connects(&kernel, 14, 2));
}

/// What flows of both kinds have sent, and what their servers have seen of it.
struct Both {
    fabric: Fabric,
    random: Random,
    /// Whose packets come from this end, as the server sees it.
    seen: HashMap<(SocketAddr, Protocol), Packet>,
    /// Of each kind.
    admitted: [usize; 2],
    clashes: usize,
    full: usize,
}

impl Both {
    /// The server's port is one for all, so that both kinds and both VIPs meet there.
    fn new() -> Self {
        let mut fabric = fabric(4);
        for (family, protocol) in CASES {
            for (port, mode) in [(80, Mode::Dnat), (81, Mode::Fullnat)] {
                for mut vip in family.vips() {
                    vip.set_port(port);
                    let served = VipService {
                        backend_port_be: 80u16.to_be_bytes(),
                        flags: if mode == Mode::Dnat {
                            VipService::EXACT_STATE
                        } else {
                            0
                        },
                        ..service(mode)
                    };
                    fabric.serve(vip, protocol, served);
                }
            }
        }
        Self {
            fabric,
            random: Random(7),
            seen: HashMap::new(),
            admitted: [0; 2],
            clashes: 0,
            full: 0,
        }
    }

    /// A packet of one of 96 flows, with an answer if it gets to the server, and then perhaps a pause.
    fn step(&mut self) {
        let (family, protocol) = self.random.pick(&CASES);
        let mut vip = self.random.pick(&family.vips());
        vip.set_port(self.random.pick(&[80, 81]));
        let port = 4000 + self.random.word() % 6;
        let packet = Flow::new(protocol, vip, port).packet;
        let frame = self.flagged(&packet, &[SYN, SYN, ACK, ACK, ACK, FIN_ACK, RST]);
        let ran = self.fabric.lb(&frame);
        match ran.counter {
            Some(name @ ("l4-dnat" | "l4-fullnat")) => {
                self.admitted[usize::from(name == "l4-fullnat")] += 1;
                let from = source(&ran.frame, &packet);
                assert_eq!(from == packet.source, vip.port() == 80);
                self.seen.insert((from, protocol), packet.clone());
                if !self.random.one_in(3) {
                    self.answer(from, &packet);
                }
                if self.random.one_in(4) {
                    let secs = self.random.pick(&[5, 20, 70, 300, 8000]);
                    sessions::age(&mut self.fabric, &packet, secs);
                }
            }
            Some("drop-exact-state-clash") => self.clashes += 1,
            Some("drop-nat-table-full" | "drop-nat-ports-exhausted") => self.full += 1,
            other => panic!("{other:?}"),
        }
    }

    /// Whoever has sent last from an end as the server sees it, gets what the server answers there.
    fn answer(&mut self, to: SocketAddr, request: &Packet) {
        let family = exact_fabric::family_of(to);
        let answer = Packet::new(request.protocol, family.server(), to).established();
        let frame = self.flagged(&answer, &[ACK, ACK, ACK, FIN_ACK, RST]);
        let ran = self.fabric.lb(&frame);
        assert_eq!(
            (ran.action, ran.counter),
            (Action::Pass, Some("pass-to-route"))
        );
        let asked = &self.seen[&(to, request.protocol)];
        assert_eq!(source(&ran.frame, &answer), asked.destination);
        assert_eq!(
            exact_fabric::destination(&ran.frame),
            asked.source.ip().into()
        );
    }

    fn flagged(&mut self, packet: &Packet, flags: &[u8]) -> Vec<u8> {
        let mut frame = packet.build();
        if packet.protocol == Protocol::Tcp {
            frame[l4_start(packet) + 13] = self.random.pick(flags);
        }
        frame
    }
}

/// The source of a frame like this packet.
fn source(frame: &[u8], like: &Packet) -> SocketAddr {
    let at = l4_start(like);
    let port = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let address: std::net::IpAddr = if like.source.is_ipv4() {
        <[u8; 4]>::try_from(&frame[ETHERNET + 12..ETHERNET + 16])
            .unwrap()
            .into()
    } else {
        <[u8; 16]>::try_from(&frame[ETHERNET + 8..ETHERNET + 24])
            .unwrap()
            .into()
    };
    SocketAddr::new(address, port)
}

/// Answers reach whom they are for, whatever was released, taken over and refused before; and no word is left behind.
///
/// How often the tables are full depends on the clock, by which the programs choose the sessions that give way.
#[test]
fn both_kinds_share_the_tables_and_never_meet() {
    let mut both = Both::new();
    let mut steps = 0;
    while steps < 6000 || both.clashes.min(both.full) < 100 {
        both.step();
        steps += 1;
        if steps % 50 == 0 {
            assert_all_words_lead_to_sessions(&mut both.fabric);
        }
        assert!(steps < 60_000, "{} {}", both.clashes, both.full);
    }
    assert_all_words_lead_to_sessions(&mut both.fabric);
    let [dnat, fullnat] = both.admitted;
    assert!(dnat > 500 && fullnat > 500, "{dnat} {fullnat}");
}
