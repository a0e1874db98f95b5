use std::{fmt::Write as _, time::Duration};

use super::*;
use crate::lease::{Epoch, NodePlace, Timers, Unfit, VipPlace, WitnessReport};

/// Now, in milliseconds.
const NOW: u64 = 20_000;
const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
/// The assignment that there is.
const EPOCH: Epoch = Epoch(5);
const TERM: u64 = 2;

fn at(ms: u64) -> Moment {
    Moment::from_nanos(ms * 1_000_000)
}

fn name(of: &str) -> Name {
    Name::parse(of, "").unwrap()
}

/// Two nodes, of which one is to have the VIP, or whichever.
fn rules(pin: Option<&str>) -> Arc<PlacementRules> {
    let node = NodePlace {
        weight: 1,
        labels: BTreeMap::new(),
        drained: false,
    };
    let vip = VipPlace {
        pin: pin.map(name),
        ..VipPlace::default()
    };
    Arc::new(PlacementRules {
        nodes: ["a", "b"].map(|it| (name(it), node.clone())).into(),
        vips: [(VIP, vip)].into(),
    })
}

fn assigned(to: &str, epoch: Epoch) -> Assignments {
    let mut assignments = Assignments::default();
    let other = if to == "a" { "b" } else { "a" };
    let assign = Assign {
        vip: VIP,
        to: Some(name(to)),
        peers: [name(other)].into(),
        replaces: None,
        released: true,
    };
    assert!(assignments.apply(epoch, &assign));
    assignments
}

fn request(node: &str, sent: u64) -> LeaseRequest {
    LeaseRequest {
        node: name(node),
        session: 1,
        sent: at(sent),
        holds: Epoch(0),
        released: BTreeMap::new(),
        ready: BTreeSet::new(),
        unfit: Arc::default(),
    }
}

fn round(started: u64, told: Option<u64>) -> Round {
    let told = told.map(|ms| (name("a"), Duration::from_millis(ms)));
    let report = WitnessReport {
        up_for: Duration::from_hours(1),
        told: told.into_iter().collect(),
    };
    let started = at(started);
    let reports = vec![report.clone(), report];
    Round { started, reports }
}

/// Elected long before the given time, with rounds and requests of the nodes every 20 ms until then.
fn led(assignments: Assignments, nodes: &[&str], until: u64) -> Leader {
    let controllers = [1, 2, 3].into();
    let pinned = rules(Some("a"));
    let begin = NOW - 11_000;
    let timers = Timers::default();
    let mut leader = Leader::new(at(begin), TERM, timers, controllers, pinned, assignments);
    let mut ms = begin;
    while ms <= until {
        for node in nodes {
            leader.request(at(ms), request(node, ms));
        }
        leader.round(at(ms), &round(ms, None));
        ms += 20;
    }
    leader
}

/// The owner answers, or has been silent for so many milliseconds, while the other node answers.
fn silent(ms: u64) -> Leader {
    let mut leader = led(assigned("a", EPOCH), &["a", "b"], NOW - ms);
    let mut later = NOW - ms + 20;
    while later < NOW {
        leader.request(at(later), request("b", later));
        // The last round is before the owner's time is over.
        if later < NOW - ms + 130 {
            leader.round(at(later), &round(later, None));
        }
        later += 20;
    }
    leader
}

fn moving() -> Leader {
    let mut leader = silent(20);
    leader.place(at(NOW - 10), rules(Some("b")));
    leader
}

fn releasing() -> Leader {
    let mut leader = moving();
    let mut ready = request("b", NOW - 5);
    ready.ready.insert(VIP);
    leader.request(at(NOW - 5), ready);
    leader
}

fn proposed() -> Leader {
    let mut leader = releasing();
    let mut released = request("a", NOW - 2);
    released.released = to_release(&leader);
    leader.request(at(NOW - 2), released);
    leader
}

/// What the leader asks the owner to release.
fn to_release(leader: &Leader) -> BTreeMap<IpAddr, Release> {
    let releases = leader.moves.iter().filter_map(|(vip, it)| match it {
        Move::Releasing { release, .. } => Some((*vip, *release)),
        Move::Warming { .. } => None,
    });
    releases.collect()
}

fn states() -> Vec<(&'static str, Leader)> {
    let controllers = BTreeSet::from([1, 2, 3]);
    let new = |ago, assignments| {
        let timers = Timers::default();
        let pinned = rules(Some("a"));
        let controllers = controllers.clone();
        Leader::new(
            at(NOW - ago),
            TERM,
            timers,
            controllers,
            pinned,
            assignments,
        )
    };
    let mut without_round = silent(20);
    without_round.round = None;
    vec![
        ("just elected", new(0, assigned("a", EPOCH))),
        ("elected a fence ago", new(130, assigned("a", EPOCH))),
        (
            "elected a fence ago, nothing assigned",
            new(130, Assignments::default()),
        ),
        ("leads", silent(20)),
        ("leads, without a round", without_round),
        ("the owner's lease is over", silent(120)),
        ("the owner is lost", silent(140)),
        ("a move warms up", moving()),
        ("a move waits for the release", releasing()),
        ("a move is proposed", proposed()),
    ]
}

type Happen = fn(&mut Leader) -> Vec<LeaderAction>;

fn asks(leader: &mut Leader, change: impl FnOnce(&mut LeaseRequest)) -> Vec<LeaderAction> {
    let mut request = request("a", NOW - 1);
    change(&mut request);
    leader.request(at(NOW), request)
}

fn events() -> Vec<(&'static str, Happen)> {
    vec![
        ("time passes", |it| it.tick(at(NOW))),
        ("the owner asks", |it| asks(it, |_| ())),
        ("the owner asks, and holds all", |it| {
            asks(it, |request| request.holds = EPOCH)
        }),
        ("the owner asks, and has released", |it| {
            let released = to_release(it);
            asks(it, |request| request.released = released)
        }),
        ("the owner asks, and has released for another", |it| {
            let asked = Ordinal { term: 1, number: 1 };
            let release = Release {
                epoch: EPOCH,
                asked,
            };
            asks(it, |request| request.released = [(VIP, release)].into())
        }),
        ("the owner asks, and cannot serve it", |it| {
            let unfit = [(VIP, Unfit::FewServers)];
            asks(it, |request| request.unfit = Arc::new(unfit.into()))
        }),
        ("the owner asks again", |it| {
            let last = it.nodes.get(&name("a")).map(|node| node.request.clone());
            last.map_or(vec![], |last| it.request(at(NOW), last))
        }),
        ("the owner has restarted", |it| {
            asks(it, |request| request.session = 2)
        }),
        ("the other node asks", |it| {
            it.request(at(NOW), request("b", NOW - 1))
        }),
        ("the other node is ready", |it| {
            let mut ready = request("b", NOW - 1);
            ready.ready.insert(VIP);
            it.request(at(NOW), ready)
        }),
        ("a round", |it| it.round(at(NOW), &round(NOW - 2, None))),
        ("a round that told the owner", |it| {
            it.round(at(NOW), &round(NOW - 2, Some(50)))
        }),
        ("a round with one just started", |it| {
            let mut round = round(NOW - 2, None);
            round.reports[1].up_for = Duration::ZERO;
            it.round(at(NOW), &round)
        }),
        ("a round that is slow", |it| {
            it.round(at(NOW), &round(NOW - 61, None))
        }),
        ("applied: nothing new", |it| {
            let same = it.assignments.clone();
            it.applied(at(NOW), same)
        }),
        ("applied: the other node's", |it| {
            it.applied(at(NOW), assigned("b", Epoch(6)))
        }),
        ("applied: nobody's", |it| {
            it.applied(at(NOW), Assignments::default())
        }),
        ("refused", |it| {
            let all: Vec<Assign> = it.proposed.values().cloned().collect();
            it.refused(at(NOW), &all)
        }),
        ("wanted at the owner", |it| {
            it.place(at(NOW), rules(Some("a")))
        }),
        ("wanted elsewhere", |it| it.place(at(NOW), rules(Some("b")))),
        ("wanted nowhere", |it| {
            let mut none = PlacementRules::clone(&rules(None));
            none.vips.clear();
            it.place(at(NOW), Arc::new(none))
        }),
        ("other controllers", |it| {
            it.reconfigured(at(NOW), [1, 2, 4].into());
            vec![]
        }),
    ]
}

fn action(action: &LeaderAction) -> String {
    match action {
        LeaderAction::Grant(node, grant) => {
            let vips = match &grant.vips {
                None => "as held".to_owned(),
                Some(granted) => format!("{} VIPs", granted.vips.len()),
            };
            let mut text = format!(
                "grant {node} {} ms v{} {vips}",
                grant.valid.as_millis(),
                grant.version.0
            );
            if !grant.release.is_empty() {
                text += " to release";
            }
            if !grant.warm.is_empty() {
                text += " to warm";
            }
            text
        }
        LeaderAction::Propose(assigns) => {
            let assign = |it: &Assign| {
                let to = it.to.as_ref().map_or("nobody", Name::as_str);
                let replaces = it.replaces.map_or(0, |it| it.0);
                let how = if it.released { "released" } else { "lost" };
                format!("propose {to} for {replaces} {how}")
            };
            let all: Vec<String> = assigns.iter().map(assign).collect();
            all.join(" ")
        }
        LeaderAction::Round => "round".to_owned(),
    }
}

/// What is done, and what the leader minds after it: until when it waits, how old its round is, moves and proposals.
fn cell(mut leader: Leader, happen: Happen) -> String {
    let actions = happen(&mut leader);
    let mut parts: Vec<String> = actions.iter().map(action).collect();
    parts.push("=>".to_owned());
    let waits = leader.settled_at.since(at(NOW)).as_millis();
    if waits > 0 {
        parts.push(format!("waits {waits}"));
    }
    let round = leader.round.as_ref().map(|it| at(NOW).since(it.started));
    parts.push(match round {
        None => "no round".to_owned(),
        Some(age) => format!("round -{}", age.as_millis()),
    });
    for it in leader.moves.values() {
        parts.push(match it {
            Move::Warming { to } => format!("warming {to}"),
            Move::Releasing { release, .. } => format!("releasing {}", release.epoch.0),
        });
    }
    if !leader.proposed.is_empty() {
        parts.push("proposed".to_owned());
    }
    parts.join(" ")
}

#[test]
fn every_state_and_event() {
    let mut table = String::new();
    for (state, leader) in states() {
        writeln!(table, "{state}").unwrap();
        for (event, happen) in events() {
            writeln!(table, "  {event}: {}", cell(leader.clone(), happen)).unwrap();
        }
    }
    assert_eq!(table, include_str!("tests/table.txt"), "\n{table}");
}
