use std::{fmt::Write as _, time::Duration};

use super::*;
use crate::lease::{Grant, Granted};

/// Now, in milliseconds.
const NOW: u64 = 1_000;
const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
const SESSION: u64 = 3;
/// The version that a node holds, and the epoch of what it holds.
const VERSION: Epoch = Epoch(7);

fn at(ms: u64) -> Moment {
    Moment::from_nanos(ms * 1_000_000)
}

fn name(of: &str) -> Name {
    Name::parse(of, "").unwrap()
}

fn question(number: u64) -> Ordinal {
    Ordinal { term: 2, number }
}

fn started(ms: u64, adopted: Adopted) -> Owner {
    let timers = Timers::default();
    let policy = LossPolicy::Hold;
    Owner::new(at(ms), name("a"), SESSION, timers, policy, adopted)
}

fn granted(vips: &[IpAddr]) -> Granted {
    Granted {
        vips: vips.iter().map(|vip| (*vip, VERSION)).collect(),
        peers: [name("b"), name("c")].into(),
    }
}

/// A grant that was asked for then, as the so many-th of a leader.
fn grant(sent: u64, number: u64) -> Grant {
    Grant {
        ordinal: question(number),
        session: SESSION,
        sent: at(sent),
        valid: Duration::from_millis(120),
        version: VERSION,
        vips: Some(granted(&[ONE])),
        controllers: [1, 2, 3].into(),
        release: BTreeMap::new(),
        warm: BTreeSet::new(),
    }
}

fn releases() -> BTreeMap<IpAddr, Release> {
    let asked = question(9);
    [(
        ONE,
        Release {
            epoch: VERSION,
            asked,
        },
    )]
    .into()
}

/// One that was granted its VIP so many milliseconds ago, with what it has asked since.
fn leased(ago: u64) -> Owner {
    let mut owner = started(100, Adopted::default());
    owner.granted(at(NOW - ago), grant(NOW - ago, 1));
    let mut ms = NOW - ago;
    while ms < NOW {
        owner.tick(at(ms));
        ms += 10;
    }
    owner
}

fn states() -> Vec<(&'static str, Owner)> {
    let map = Adopted {
        vips: [(ONE, VERSION)].into(),
        until: at(NOW + 50),
    };
    let old_map = Adopted {
        until: at(NOW - 1),
        ..map.clone()
    };
    let mut idle = started(100, Adopted::default());
    idle.somebody_leads(at(NOW - 10));
    let mut promised = started(100, Adopted::default());
    promised.peer_asks(at(NOW - 30));
    promised.granted(at(NOW - 10), grant(NOW - 10, 1));
    let mut warming = leased(10);
    let mut warm = grant(NOW - 5, 2);
    warm.warm.insert(TWO);
    warming.granted(at(NOW - 5), warm);
    let mut released = leased(10);
    let mut release = grant(NOW - 5, 2);
    release.release = releases();
    released.granted(at(NOW - 5), release);
    let mut held = leased(100);
    for peer in ["b", "c"] {
        held.peer_agrees(at(NOW - 5), name(peer), at(NOW - 20));
    }
    let mut over = held.clone();
    if let Some(holding) = &mut over.holding {
        holding.leased_until = at(NOW - 30);
        holding.held_until = at(NOW);
    }
    if let Some(holding) = &mut held.holding {
        holding.leased_until = at(NOW - 10);
    }
    vec![
        ("just started", started(NOW, Adopted::default())),
        ("just started, with a map", started(NOW, map)),
        ("just started, with an old map", started(NOW, old_map)),
        ("idle", idle),
        ("leased", leased(10)),
        ("leased, and promised to peers", promised),
        ("leased, and to get ready", warming),
        ("leased, and released", released),
        ("leased, and without controllers", leased(100)),
        ("held by peers", held),
        ("over", over),
    ]
}

type Happen = fn(&mut Owner) -> Vec<OwnerAction>;

/// Gives an owner a grant, changed.
fn take(owner: &mut Owner, change: impl FnOnce(&mut Grant)) -> Vec<OwnerAction> {
    let mut grant = grant(NOW - 1, 10);
    change(&mut grant);
    owner.granted(at(NOW), grant)
}

/// Answers of these controllers to the newest question.
fn told(owner: &mut Owner, by: &[u64]) -> Vec<OwnerAction> {
    let asked = owner.asked_controllers.answers.keys().last();
    let asked = asked.copied().unwrap_or(at(NOW));
    let tell = |controller: &u64| owner.nobody_leads(at(NOW), *controller, asked);
    by.iter().flat_map(tell).collect()
}

fn agreed(owner: &mut Owner, asked: Option<Moment>, by: &[&str]) -> Vec<OwnerAction> {
    let newest = owner.asked_peers.answers.keys().last().copied();
    let asked = asked.or(newest).unwrap_or(at(NOW));
    let agree = |peer: &&str| owner.peer_agrees(at(NOW), name(peer), asked);
    by.iter().flat_map(agree).collect()
}

fn events() -> Vec<(&'static str, Happen)> {
    vec![
        ("time passes", |it| it.tick(at(NOW))),
        ("grant", |it| take(it, |_| ())),
        ("grant of the same", |it| {
            take(it, |grant| grant.vips = None)
        }),
        ("grant of another version", |it| {
            take(it, |grant| {
                grant.version = Epoch(8);
                grant.vips = None;
            })
        }),
        ("grant of another VIP", |it| {
            take(it, |grant| {
                grant.version = Epoch(8);
                grant.vips = Some(granted(&[TWO]));
            })
        }),
        ("grant of nothing", |it| {
            take(it, |grant| {
                grant.version = Epoch(8);
                grant.vips = Some(granted(&[]));
            })
        }),
        ("grant that is older", |it| {
            take(it, |grant| grant.ordinal = Ordinal::default())
        }),
        ("grant that is late", |it| {
            take(it, |grant| grant.sent = at(NOW - 120))
        }),
        ("grant for another session", |it| {
            take(it, |grant| grant.session += 1)
        }),
        ("grant from later", |it| {
            take(it, |grant| grant.sent = at(NOW + 1))
        }),
        ("grant that is too long", |it| {
            take(it, |grant| grant.valid = Duration::from_millis(121))
        }),
        ("grant with a release", |it| {
            take(it, |grant| grant.release = releases())
        }),
        ("grant with a warm-up", |it| {
            take(it, |grant| grant.warm = [TWO].into())
        }),
        ("ready", |it| it.ready(at(NOW), TWO)),
        ("cannot serve a VIP", |it| {
            it.unfit(at(NOW), &Arc::new([(ONE, Unfit::FewServers)].into()))
        }),
        ("one controller: nobody leads", |it| told(it, &[1])),
        ("two controllers: nobody leads", |it| told(it, &[1, 2])),
        ("two strangers: nobody leads", |it| told(it, &[8, 9])),
        ("somebody leads", |it| {
            it.somebody_leads(at(NOW));
            vec![]
        }),
        ("a peer asks", |it| {
            it.peer_asks(at(NOW));
            vec![]
        }),
        ("one peer agrees", |it| agreed(it, None, &["b"])),
        ("all peers agree", |it| agreed(it, None, &["b", "c"])),
        ("peers agree to nothing asked", |it| {
            agreed(it, Some(at(NOW - 3)), &["b", "c"])
        }),
    ]
}

/// A moment from now on, in milliseconds; nothing if it is over.
fn ahead(moment: Moment) -> Option<u128> {
    let ms = moment.since(at(NOW)).as_millis();
    (ms > 0).then_some(ms)
}

fn last(vip: IpAddr) -> char {
    if vip == ONE { '1' } else { '2' }
}

fn action(action: &OwnerAction) -> String {
    match action {
        OwnerAction::Answer(vip, epoch) => format!("answer {}@{}", last(*vip), epoch.0),
        OwnerAction::Stop(vip) => format!("stop {}", last(*vip)),
        OwnerAction::Until(until) => format!("until +{}", ahead(*until).unwrap_or(0)),
        OwnerAction::Warm(vip) => format!("warm {}", last(*vip)),
        OwnerAction::Request(request) => {
            let released = if request.released.is_empty() {
                ""
            } else {
                " released"
            };
            let ready = if request.ready.is_empty() {
                ""
            } else {
                " ready"
            };
            let unfit = if request.unfit.is_empty() {
                ""
            } else {
                " unfit"
            };
            format!("request v{}{released}{ready}{unfit}", request.holds.0)
        }
        OwnerAction::AskControllers(_) => "ask controllers".to_owned(),
        OwnerAction::AskPeers(_, peers) => format!("ask {} peers", peers.len()),
    }
}

/// What is done, and what the owner is after it: until when it is leased and held, its VIPs with those that it answers for marked, and whatever else it
/// minds.
fn cell(mut owner: Owner, happen: Happen) -> String {
    let actions = happen(&mut owner);
    let mut parts: Vec<String> = actions.iter().map(action).collect();
    parts.push("=>".to_owned());
    match &owner.holding {
        None => parts.push("none".to_owned()),
        Some(holding) => {
            parts.push(format!("v{}", holding.version.0));
            let ends = [
                ("leased", holding.leased_until),
                ("held", holding.held_until),
            ];
            for (how, end) in ends {
                parts.extend(ahead(end).map(|ms| format!("{how} +{ms}")));
            }
            for (vip, held) in &holding.vips {
                let mark = if held.is_answered { "!" } else { "" };
                parts.push(format!("{}{mark}", last(*vip)));
            }
        }
    }
    let marks = [
        ("released", owner.released.is_empty()),
        ("warms", owner.warm.is_empty()),
        ("ready", owner.ready.is_empty()),
    ];
    let marks = marks.into_iter().filter(|(_, is_empty)| !is_empty);
    parts.extend(marks.map(|(mark, _)| mark.to_owned()));
    parts.extend(ahead(owner.takes_from).map(|ms| format!("takes from +{ms}")));
    parts.join(" ")
}

#[test]
fn every_state_and_event() {
    let mut table = String::new();
    for (state, owner) in states() {
        writeln!(table, "{state}").unwrap();
        for (event, happen) in events() {
            writeln!(table, "  {event}: {}", cell(owner.clone(), happen)).unwrap();
        }
    }
    assert_eq!(table, include_str!("tests/table.txt"), "\n{table}");
}
