use super::*;
use crate::lab::exchange::Answer;
use crate::lab::frame::{Frame, Protocol};
use crate::lab::mode::{Form, Mode};
use crate::lab::topology::{Family, address, backend_address, mac};

const SENT: u32 = 4;
const PORT: u16 = 40_000;

fn case(mode: Mode) -> Case {
    Case {
        mode,
        family: Family::Ipv4,
        protocol: Protocol::Tcp,
    }
}

fn host(role: Role) -> Host {
    match role {
        Role::Client => Host::Client,
        Role::Router => Host::Router,
        Role::Node => Host::Node(1),
        Role::Server => Host::Server(1),
    }
}

fn address_of(case: Case, party: Party) -> std::net::IpAddr {
    match party {
        Party::Client => case.client(),
        Party::Vip => case.vip(),
        Party::Server => backend_address(case.mode, 1, case.family),
        Party::Node => address(Segment::Flat, Host::Node(1), case.family),
    }
}

fn frame_of(case: Case, step: Step) -> Frame {
    let name = |(from, to)| (address_of(case, from), address_of(case, to));
    let Form { outer, inner } = step.form;
    let port = case.protocol.port();
    let request = matches!(inner, (Party::Client | Party::Node, _));
    Frame {
        source_mac: mac(step.segment, host(step.from)),
        destination_mac: mac(step.segment, host(step.to)),
        outer: outer.map(name),
        inner: name(inner),
        load: if request {
            Load::Tcp(PORT, port)
        } else {
            Load::Tcp(port, PORT)
        },
    }
}

/// What the taps show of a step: both ends of a bridge, or the client's link.
fn seen(case: Case, step: Step) -> Vec<Sighting> {
    let frame = frame_of(case, step);
    let (from, to) = (host(step.from), host(step.to));
    let tap = |host, to_host| Sighting {
        tap: Tap {
            segment: step.segment,
            host,
            to_host,
        },
        frame,
    };
    match (step.segment, step.from) {
        (Segment::Client, Role::Client) => vec![tap(from, false)],
        // The routed segment's bridge is the router itself.
        (Segment::Client, _) | (Segment::Routed, Role::Router) => vec![tap(to, true)],
        _ => vec![tap(from, false), tap(to, true)],
    }
}

fn answers(case: Case) -> Exchange {
    let answer = Answer {
        server: "srv1".to_owned(),
        saw: address_of(case, case.mode.server_sees()),
        called: address_of(case, case.mode.server_called()),
    };
    Exchange {
        sent: SENT,
        answers: vec![answer; SENT as usize],
        failures: Vec::new(),
    }
}

fn captured(case: Case, steps: &[Step]) -> Taken {
    let once: Vec<Sighting> = steps.iter().flat_map(|&step| seen(case, step)).collect();
    Taken {
        sightings: once.repeat(SENT as usize),
        broken: 0,
    }
}

#[test]
fn a_mode_that_gives_what_it_owes_passes() {
    for case in Case::all() {
        let mut taken = captured(case, &case.mode.steps());
        if case.protocol == Protocol::Udp {
            for sighting in &mut taken.sightings {
                let Load::Tcp(from, to) = sighting.frame.load else {
                    unreachable!()
                };
                sighting.frame.load = Load::Udp(from, to);
            }
        }
        let row = judge(case, &answers(case), &taken);
        assert!(row.ok, "{case:?}: {:?}", row.problems);
        assert_eq!(row.answer_path, case.mode.answer_path().to_string());
        let columns = case.mode.columns();
        for (hop, expected) in [
            (&row.captured.client_to_node, columns.client_to_node),
            (&row.captured.node_to_server, columns.node_to_server),
            (&row.captured.server_answer, columns.server_answer),
            (&row.captured.answer_to_client, columns.answer_to_client),
        ] {
            assert_eq!(hop.expected, expected);
            assert_eq!(hop.seen.keys().collect::<Vec<_>>(), [expected], "{case:?}");
        }
    }
}

#[test]
fn a_mode_is_not_taken_for_another() {
    for mode in Mode::ALL {
        // Some modes put the same packets on the links.
        let others = Mode::ALL.into_iter();
        for other in others.filter(|other| other.steps() != mode.steps()) {
            let row = judge(
                case(mode),
                &answers(case(mode)),
                &captured(case(mode), &other.steps()),
            );
            assert!(!row.ok, "{other}'s packets pass for {mode}'s");
        }
    }
}

#[test]
fn every_step_has_to_be_seen() {
    for mode in Mode::ALL {
        for missing in 0..mode.steps().len() {
            let mut steps = mode.steps();
            steps.remove(missing);
            let row = judge(
                case(mode),
                &answers(case(mode)),
                &captured(case(mode), &steps),
            );
            assert!(!row.ok, "{mode} without step {missing}");
        }
    }
}

#[test]
fn a_lost_request_fails() {
    let case = case(Mode::Dsr);
    let mut exchange = answers(case);
    exchange.answers.pop();
    let row = judge(case, &exchange, &captured(case, &case.mode.steps()));
    assert!(!row.ok);
    assert_eq!((row.sent, row.answered), (SENT, SENT - 1));
}

#[test]
fn nothing_sent_is_not_success() {
    let case = case(Mode::Dsr);
    assert!(!judge(case, &Exchange::default(), &Taken::default()).ok);
}

#[test]
fn the_server_must_see_whom_the_mode_promises() {
    let case = case(Mode::Dnat);
    let mut exchange = answers(case);
    exchange.answers[0].saw = address_of(case, Party::Node);
    assert!(!judge(case, &exchange, &captured(case, &case.mode.steps())).ok);
    let mut exchange = answers(case);
    exchange.answers[0].server = "srv2".to_owned();
    assert!(!judge(case, &exchange, &captured(case, &case.mode.steps())).ok);
}

#[test]
fn strangers_fail_whatever_they_are() {
    let case = case(Mode::Fullnat);
    let good = captured(case, &case.mode.steps());
    let spoil = |change: fn(&mut Frame)| {
        let mut taken = Taken {
            sightings: good.sightings.clone(),
            broken: 0,
        };
        let mut extra = taken.sightings[0];
        change(&mut extra.frame);
        taken.sightings.push(extra);
        judge(case, &answers(case), &taken)
    };
    assert!(spoil(|_| {}).ok);
    assert!(!spoil(|frame| frame.inner.0 = "192.0.2.1".parse().unwrap()).ok);
    assert!(!spoil(|frame| frame.load = Load::Other(1)).ok);
    assert!(!spoil(|frame| frame.load = Load::Tcp(1, 2)).ok);
    assert!(!spoil(|frame| frame.source_mac.0[5] = 0xee).ok);
    let broken = Taken {
        broken: 1,
        ..captured(case, &case.mode.steps())
    };
    assert!(!judge(case, &answers(case), &broken).ok);
}

#[test]
fn another_nodes_or_servers_address_is_noticed() {
    let case = case(Mode::Fullnat);
    let mut taken = captured(case, &case.mode.steps());
    for sighting in &mut taken.sightings {
        if sighting.frame.inner.0 == address_of(case, Party::Node) {
            sighting.frame.inner.0 = address(Segment::Flat, Host::Node(2), case.family);
        }
    }
    let row = judge(case, &answers(case), &taken);
    assert!(
        row.problems
            .iter()
            .any(|problem| problem.contains("node2's")),
        "{:?}",
        row.problems
    );
}

/// A connection that a node has kept ends while requests of another case of the engine run; nothing else of that case has a part in them.
#[test]
fn a_kept_connection_ends_when_it_likes() {
    let (v4, v6) = (Family::Ipv4, Family::Ipv6);
    for (mode, other, party, is_fine) in [
        (Mode::Reverse, (Mode::Reverse, v6), Party::Node, true),
        (Mode::Reverse, (Mode::Reverse, v6), Party::Client, false),
        (Mode::Fullnat, (Mode::Fullnat, v6), Party::Node, false),
        (Mode::Transparent, (Mode::Reverse, v4), Party::Node, true),
        (
            Mode::Transparent,
            (Mode::Transparent, v6),
            Party::Client,
            true,
        ),
        (
            Mode::Transparent,
            (Mode::Transparent, v6),
            Party::Node,
            false,
        ),
    ] {
        let case = case(mode);
        let mut taken = captured(case, &case.mode.steps());
        let is_to_server = |it: &Sighting| matches!(it.tap.host, Host::Server(_)) && it.tap.to_host;
        let seen = taken.sightings.iter().copied().find(is_to_server);
        let mut kept = seen.expect("a server gets packets");
        let (mode, family) = other;
        let other = Case {
            mode,
            family,
            ..case
        };
        kept.frame.inner = (address_of(other, party), address_of(other, Party::Server));
        taken.sightings.push(kept);
        assert_eq!(
            judge(case, &answers(case), &taken).ok,
            is_fine,
            "{case:?} {other:?} {party:?}"
        );
    }
}

#[test]
fn a_flooded_copy_is_nobodys_fault() {
    let case = case(Mode::Dsr);
    let mut taken = captured(case, &case.mode.steps());
    let mut copy = taken.sightings[1];
    copy.tap = Tap {
        segment: Segment::Flat,
        host: Host::Server(3),
        to_host: true,
    };
    taken.sightings.push(copy);
    assert!(judge(case, &answers(case), &taken).ok);
}
