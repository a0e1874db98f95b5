use super::*;
use crate::lab::exchange::Answer;
use crate::lab::frame::{Frame, Protocol};
use crate::lab::mode::{Form, Mode};
use crate::lab::topology::{Family, Listening, address, backend_address, mac};

const SENT: u32 = 4;
const PORT: u16 = 40_000;

fn case(mode: Mode) -> Case {
    Case {
        mode,
        listening: Listening::Addresses,
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
        Party::Vip => case.target(1),
        Party::Server => backend_address(case.mode, case.listening, 1, case.family),
        Party::Node => address(Segment::Flat, Host::Node(1), case.family),
    }
}

fn frame_of(case: Case, step: Step) -> Frame {
    let name = |(from, to)| (address_of(case, from), address_of(case, to));
    let Form { outer, inner } = step.form;
    let request = matches!(inner, (Party::Client | Party::Node, _));
    Frame {
        source_mac: mac(step.segment, host(step.from)),
        destination_mac: mac(step.segment, host(step.to)),
        outer: outer.map(name),
        inner: name(inner),
        load: match (case.protocol, case.protocol.port()) {
            (Protocol::Tcp, Some(port)) if request => Load::Tcp(PORT, port),
            (Protocol::Tcp, Some(port)) => Load::Tcp(port, PORT),
            (_, Some(port)) if request => Load::Udp(PORT, port),
            (_, Some(port)) => Load::Udp(port, PORT),
            (_, None) => Load::Echo,
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
    let (served, echoed) = if case.is_served() {
        (SENT, 0)
    } else {
        (0, SENT)
    };
    Exchange {
        sent: SENT,
        answers: vec![answer; served as usize],
        echoes: echoed,
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
        let taken = captured(case, &case.steps());
        let row = judge(case, &answers(case), &taken);
        assert!(row.ok, "{case:?}: {:?}", row.problems);
        let path = if case.is_served() {
            case.mode.answer_path()
        } else {
            AnswerPath::Node
        };
        assert_eq!(row.answer_path, path.to_string());
        let columns = case.columns();
        for (hop, expected) in [
            (&row.captured.client_to_node, columns.client_to_node),
            (&row.captured.node_to_server, columns.node_to_server),
            (&row.captured.server_answer, columns.server_answer),
            (&row.captured.answer_to_client, columns.answer_to_client),
        ] {
            assert_eq!(hop.expected, expected);
            let seen = hop.seen.keys().map(String::as_str).collect::<Vec<_>>();
            let is_nothing = expected == "nothing" && seen.is_empty();
            assert!(is_nothing || seen == [expected], "{case:?}: {seen:?}");
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

/// A server that is pinged in the VIP's name says the same as a node; it may not have come to that.
#[test]
fn pings_are_for_nodes_alone() {
    for case in Case::all().into_iter().filter(|case| !case.is_served()) {
        for missing in 0..case.steps().len() {
            let mut steps = case.steps();
            steps.remove(missing);
            assert!(!judge(case, &answers(case), &captured(case, &steps)).ok);
        }
        let forwarded = captured(case, &case.mode.steps());
        assert!(!judge(case, &answers(case), &forwarded).ok, "{case}");
        let mut silent = answers(case);
        silent.echoes -= 1;
        let row = judge(case, &silent, &captured(case, &case.steps()));
        assert_eq!((row.ok, row.answered), (false, SENT - 1));
    }
}

/// Which is none if it is one of the host's own addresses; the loopback has VIPs of other services.
#[test]
fn a_vip_of_transparent_listening_is_on_no_interface() {
    let of = |listening| Case {
        listening,
        ..case(Mode::Reverse)
    };
    let [plain, transparent] = Listening::ALL.map(of);
    let on = |address| (Host::Node(2), address);
    let own = on(address_of(plain, Party::Node));
    let fine = [own, on(plain.target(0))];
    assert_eq!(configured(plain, &fine), Vec::<String>::new());
    assert_eq!(configured(transparent, &fine), Vec::<String>::new());
    for number in 0..4 {
        let problems = configured(transparent, &[own, on(transparent.target(number))]);
        assert_eq!(problems.len(), 1);
        let mut row = judge(
            transparent,
            &answers(transparent),
            &captured(transparent, &transparent.steps()),
        );
        assert!(row.ok, "{:?}", row.problems);
        row.blame(problems);
        assert!(!row.ok && row.problems[0].starts_with("node2 has the VIP "));
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

/// Those of the same mode, too, while its VIPs are pinged.
#[test]
fn a_kept_connection_ends_beside_pings() {
    let pinged = |mode| Case {
        listening: Listening::Transparent,
        protocol: Protocol::Icmp,
        ..case(mode)
    };
    for (mode, is_fine) in [(Mode::Reverse, true), (Mode::Fullnat, false)] {
        let case = pinged(mode);
        let served = Case {
            protocol: Protocol::Tcp,
            ..case
        };
        let is_to_server = |it: &&Step| it.to == Role::Server;
        let steps = served.steps();
        let kept = steps.iter().find(is_to_server).expect("a server is asked");
        let mut taken = captured(case, &case.steps());
        taken.sightings.extend(seen(served, *kept));
        assert_eq!(judge(case, &answers(case), &taken).ok, is_fine, "{case}");
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
