use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rustbgpd_wire::{MAX_MESSAGE_LEN, decode_message};

use super::*;
use crate::testing::{config, peer_open, spec};
use crate::{AttributesSpec, NeighborSpec, Notification, PerFamily, Prefix};

mod pair;

use pair::{Pair, Side};

fn at(secs: u64) -> Moment {
    Moment::after_start(Duration::from_secs(secs))
}

fn bytes(message: &Message) -> Vec<u8> {
    encode(message).to_vec()
}

fn sent(actions: &[Action]) -> Vec<Message> {
    let read = |action: &Action| match action {
        Action::Send(_, bytes) => decode_message(&mut bytes.clone(), MAX_MESSAGE_LEN).ok(),
        _ => None,
    };
    actions.iter().filter_map(read).collect()
}

fn notified(actions: &[Action]) -> Option<(u8, u8)> {
    sent(actions).into_iter().find_map(|message| match message {
        Message::Notification(it) => Some((it.code.as_u8(), it.subcode)),
        _ => None,
    })
}

/// A neighbor that has dialled and is established.
fn established(change: impl FnOnce(&mut NeighborSpec)) -> Neighbor {
    let mut spec = spec();
    change(&mut spec);
    let mut neighbor = Neighbor::new(spec.try_into().unwrap(), 1);
    assert_eq!(neighbor.step(at(0), Event::Start), [Action::Dial]);
    neighbor.step(at(0), Event::Dialled);
    for message in [Message::Open(peer_open()), Message::Keepalive] {
        let bytes = bytes(&message);
        neighbor.step(at(0), Event::Received(Direction::Outgoing, &bytes));
    }
    assert_eq!(neighbor.state(), State::Established);
    neighbor
}

fn vip() -> (Prefix, Option<Arc<crate::Attributes>>) {
    let attributes = AttributesSpec::default().try_into().unwrap();
    let prefix = Prefix::host(Ipv4Addr::new(203, 0, 113, 1).into());
    (prefix, Some(Arc::new(attributes)))
}

#[test]
fn nothing_is_announced_outside_a_session() {
    let mut neighbor = Neighbor::new(config(), 1);
    let (prefix, attributes) = vip();
    neighbor.routes_mut().set(prefix, attributes);
    neighbor.step(at(0), Event::Start);
    neighbor.step(at(0), Event::Dialled);
    assert_eq!(neighbor.updates(at(0), 1), None);
    let open = bytes(&Message::Open(peer_open()));
    neighbor.step(at(0), Event::Received(Direction::Outgoing, &open));
    assert_eq!(neighbor.updates(at(0), 1), None);
    let keepalive = bytes(&Message::Keepalive);
    neighbor.step(at(0), Event::Received(Direction::Outgoing, &keepalive));
    assert!(neighbor.updates(at(0), 1).is_some());
    assert_eq!(neighbor.updates(at(0), 1), None);
    neighbor.step(at(0), Event::Failed(Direction::Outgoing));
    assert_eq!(neighbor.updates(at(0), 1), None);
}

#[test]
fn updates_end_at_the_budget() {
    let mut neighbor = established(|_| ());
    let (prefix, attributes) = vip();
    neighbor.routes_mut().set(prefix, attributes);
    let other = AttributesSpec {
        med: Some(1),
        ..AttributesSpec::default()
    };
    let other: Option<Arc<crate::Attributes>> = Some(Arc::new(other.try_into().unwrap()));
    let second = Prefix::host(Ipv4Addr::new(203, 0, 113, 2).into());
    neighbor.routes_mut().set(second, other);
    let (_, first) = neighbor.updates(at(0), 1).unwrap();
    let (_, rest) = neighbor.updates(at(0), usize::MAX).unwrap();
    assert!(first.len() < 60 && rest.len() < 60);
    assert!(neighbor.routes().is_settled());
}

#[test]
fn two_that_dial_each_other_keep_the_connection_of_the_higher_one() {
    let mut pair = Pair::new(|_, _| ());
    pair.start();
    pair.run(Duration::from_secs(1));
    pair.assert_one_session();
    // Identifiers are .1 and .2.
    assert_eq!(pair.established(Side::B), Some(Direction::Outgoing));
}

#[test]
fn one_may_wait_for_the_other_but_not_both() {
    for passive in [Side::A, Side::B] {
        let mut pair = Pair::new(|side, spec| spec.is_passive = side == passive);
        pair.start();
        pair.run(Duration::from_secs(1));
        pair.assert_one_session();
        assert_eq!(pair.established(passive), Some(Direction::Incoming));
    }
    let mut pair = Pair::new(|_, spec| spec.is_passive = true);
    pair.start();
    pair.run(Duration::from_secs(100));
    assert_eq!(pair.states(), [State::Active; 2]);
}

#[test]
fn a_dead_neighbor_is_missed_after_the_hold_time() {
    let mut pair = Pair::new(|_, spec| spec.hold_time_secs = 3);
    pair.start();
    pair.run(Duration::from_secs(10));
    pair.assert_one_session();
    assert_eq!(pair.sessions(), [1, 1]);
    pair.is_cut = true;
    pair.run(Duration::from_millis(1_900));
    assert_eq!(pair.states(), [State::Established; 2]);
    pair.run(Duration::from_millis(1_200));
    assert!(
        pair.states()
            .into_iter()
            .all(|state| state < State::OpenConfirm)
    );
    let (when, end) = pair.neighbor(Side::A).last_end().unwrap();
    assert_eq!(*end, End::Sent(Notification::hold_timer_expired()));
    assert!(*when - at(0) > Duration::from_secs(12));
    pair.is_cut = false;
    pair.run(Duration::from_secs(20));
    pair.assert_one_session();
}

#[test]
fn a_stop_says_why_and_lasts() {
    let mut pair = Pair::new(|_, _| ());
    pair.start();
    pair.run(Duration::from_secs(1));
    let cease = Cease::AdministrativeShutdown("work on the rack".to_owned());
    pair.step(Side::A, Event::Stop(cease));
    pair.run(Duration::from_mins(1));
    assert_eq!(pair.states()[0], State::Idle);
    assert!(pair.states()[1] < State::OpenSent);
    let told = pair.first_down(Side::B).unwrap();
    let End::Received(notification) = told else {
        panic!("{told:?}");
    };
    let said = notification.communication();
    assert_eq!(said.as_deref(), Some("work on the rack"));
    pair.step(Side::A, Event::Start);
    pair.run(Duration::from_secs(20));
    pair.assert_one_session();
}

#[test]
fn bfd_ends_the_session_and_it_begins_again() {
    let mut neighbor = established(|_| ());
    let actions = neighbor.step(at(1), Event::BfdDown);
    assert_eq!(notified(&actions), Some((6, 10)));
    assert!(matches!(actions.last(), Some(Action::Down(End::Sent(_)))));
    let due = neighbor.deadline().unwrap();
    assert!(due <= at(2));
    assert_eq!(neighbor.step(due, Event::Due), [Action::Dial]);
    assert_eq!(neighbor.step(due, Event::BfdDown), []);
}

#[test]
fn what_is_not_taken_ends_the_session() {
    let mut neighbor = established(|_| ());
    let actions = neighbor.step(at(1), Event::NotTaken(Direction::Outgoing));
    assert_eq!(notified(&actions), Some((8, 0)));
}

#[test]
fn messages_at_the_wrong_time() {
    let update = Message::Update(crate::update::Update::end_of_rib(Family::Ipv4).to_message());
    let update = bytes(&update);
    let mut neighbor = Neighbor::new(config(), 1);
    neighbor.step(at(0), Event::Start);
    neighbor.step(at(0), Event::Dialled);
    let actions = neighbor.step(at(0), Event::Received(Direction::Outgoing, &update));
    assert_eq!(notified(&actions), Some((5, 1)));
    // What comes after the end is nobody's.
    let open = bytes(&Message::Open(peer_open()));
    let actions = neighbor.step(at(0), Event::Received(Direction::Outgoing, &open));
    assert_eq!(actions, []);
    let mut neighbor = established(|_| ());
    let actions = neighbor.step(at(0), Event::Received(Direction::Outgoing, &open));
    assert_eq!(notified(&actions), Some((5, 3)));
}

#[test]
fn errors_in_updates() {
    let attributes = [0x40, 1, 1, 9, 0x40, 2, 0, 0x40, 3, 4, 192, 0, 2, 2];
    let update = |nlri: &'static [u8]| {
        bytes(&Message::Update(rustbgpd_wire::UpdateMessage {
            withdrawn_routes: Bytes::new(),
            path_attributes: Bytes::copy_from_slice(&attributes),
            nlri: Bytes::from_static(nlri),
        }))
    };
    let mut neighbor = established(|_| ());
    let withdrawn = update(&[0]);
    let actions = neighbor.step(at(0), Event::Received(Direction::Outgoing, &withdrawn));
    assert_eq!((actions, neighbor.state()), (vec![], State::Established));
    assert_eq!(neighbor.import_counts().treated_as_withdrawn, 1);
    let reset = update(&[99]);
    let actions = neighbor.step(at(0), Event::Received(Direction::Outgoing, &reset));
    assert_eq!(notified(&actions), Some((3, 10)));
}

#[test]
fn a_neighbor_that_comes_again_before_it_says_anything_is_believed() {
    let mut neighbor = Neighbor::new(config(), 1);
    neighbor.step(at(0), Event::Start);
    let first = neighbor.step(at(0), Event::Accepted);
    assert_eq!(first[0], Action::Take);
    let second = neighbor.step(at(1), Event::Accepted);
    assert_eq!(second[0], Action::Close(Direction::Incoming));
    assert!(second.contains(&Action::Take) && !second.contains(&Action::Refuse));
    let open = bytes(&Message::Open(peer_open()));
    neighbor.step(at(1), Event::Received(Direction::Incoming, &open));
    assert_eq!(neighbor.step(at(2), Event::Accepted), [Action::Refuse]);
}

#[test]
fn one_that_restarts_gets_its_new_connection() {
    let restarts = |spec: &mut NeighborSpec| {
        spec.graceful_restart = Some(crate::GracefulRestart {
            restart_time_secs: 60,
            has_restarted: false,
        });
    };
    for (restarts_gracefully, taken) in [(true, true), (false, false)] {
        let mut open = peer_open();
        if restarts_gracefully {
            let mut other = spec();
            restarts(&mut other);
            let capability = offer(&other.try_into().unwrap(), true).capabilities;
            open.capabilities.extend(
                capability
                    .into_iter()
                    .filter(|it| matches!(it, rustbgpd_wire::Capability::GracefulRestart { .. })),
            );
        }
        let mut neighbor = Neighbor::new(config(), 1);
        neighbor.step(at(0), Event::Start);
        neighbor.step(at(0), Event::Accepted);
        for message in [Message::Open(open), Message::Keepalive] {
            let bytes = bytes(&message);
            neighbor.step(at(0), Event::Received(Direction::Incoming, &bytes));
        }
        assert_eq!(neighbor.state(), State::Established);
        let actions = neighbor.step(at(1), Event::Accepted);
        assert_eq!(actions.contains(&Action::Take), taken);
        assert_eq!(actions.contains(&Action::Down(End::Lost)), taken);
        assert_eq!(notified(&actions), None);
    }
}

#[test]
fn idle_refuses() {
    let mut neighbor = Neighbor::new(config(), 1);
    assert_eq!(neighbor.step(at(0), Event::Accepted), [Action::Refuse]);
    assert_eq!(neighbor.deadline(), None);
}

#[test]
fn a_request_is_answered_with_the_family_that_it_names() {
    let mut neighbor = established(|_| ());
    let (prefix, attributes) = vip();
    neighbor.routes_mut().set(prefix, attributes);
    neighbor.updates(at(0), usize::MAX);
    let ask = |neighbor: &mut Neighbor, afi, subtype| {
        let message = RouteRefreshMessage::new_with_subtype(afi, Safi::Unicast, subtype);
        let bytes = bytes(&Message::RouteRefresh(message));
        neighbor.step(at(0), Event::Received(Direction::Outgoing, &bytes));
        neighbor.updates(at(0), usize::MAX).is_some()
    };
    let normal = RouteRefreshSubtype::Normal;
    assert!(ask(&mut neighbor, rustbgpd_wire::Afi::Ipv4, normal));
    assert!(!ask(&mut neighbor, rustbgpd_wire::Afi::Ipv6, normal));
    let begin = RouteRefreshSubtype::BoRR;
    assert!(!ask(&mut neighbor, rustbgpd_wire::Afi::Ipv4, begin));
    assert_eq!(neighbor.state(), State::Established);
}

#[test]
fn a_default_route_comes_with_the_session_and_goes_with_it() {
    let mut pair = Pair::new(|side, spec| {
        spec.import_default = PerFamily::from_each(|_| side == Side::A);
    });
    let attributes = AttributesSpec::default().try_into().unwrap();
    let everything = Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0).unwrap();
    let routes = pair.neighbor_mut(Side::B).routes_mut();
    routes.set(everything, Some(Arc::new(attributes)));
    pair.start();
    pair.run(Duration::from_secs(1));
    let route = pair.neighbor(Side::A).default_route(Family::Ipv4);
    let next_hop = pair.neighbor(Side::B).config().spec().next_hops.ipv4;
    assert_eq!(route.map(|it| it.next_hop), next_hop.map(Into::into));
    pair.step(Side::B, Event::Stop(Cease::PeerDeconfigured));
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.neighbor(Side::A).default_route(Family::Ipv4), None);
}
