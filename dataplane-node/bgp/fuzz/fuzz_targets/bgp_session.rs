//! A neighbor that follows no rule: what it sends, over connections that come and go at any time, while routes change.
#![no_main]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Once};
use std::time::Duration;

use lbfabric_bgp::{
    Action, Attributes, AttributesSpec, Cease, Direction, Event, GracefulRestart, Moment, Neighbor,
    NeighborSpec, NextHops, PerFamily, Prefix, State,
};
use libfuzzer_sys::fuzz_target;

/// The neighbor's OPEN for [`neighbor`], without its header: both families, IPv6 next hops, requests, restarts, four-byte numbers.
const OPEN: &[u8] = &[
    4, 0xfd, 0xfc, 0, 9, 192, 0, 2, 2, 46, 2, 44, 1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 2, 0, 70, 0,
    5, 6, 0, 1, 0, 1, 0, 2, 64, 10, 0x80, 30, 0, 1, 1, 0x80, 0, 2, 1, 0x80, 65, 4, 0, 0, 0xfd,
    0xfc, 128, 0,
];
const HEADER_LEN: usize = 19;

fn neighbor(seed: u8) -> Neighbor {
    let spec = NeighborSpec {
        local_as: 65_010,
        router_id: Ipv4Addr::new(192, 0, 2, 1 + (seed & 2)),
        peer_as: if seed & 4 == 0 { 65_020 } else { 65_010 },
        is_passive: seed & 8 != 0,
        hold_time_secs: 9,
        families: PerFamily::from_each(|_| true),
        next_hops: NextHops {
            ipv4: (seed & 16 == 0).then_some(Ipv4Addr::new(192, 0, 2, 1)),
            ipv6: "2001:db8::1".parse().ok(),
            link_local: "fe80::1".parse().ok(),
        },
        extended_next_hop: seed & 32 == 0,
        graceful_restart: (seed & 64 == 0).then_some(GracefulRestart {
            restart_time_secs: 30,
            has_restarted: seed & 1 != 0,
        }),
        import_default: PerFamily::from_each(|_| true),
        enforce_first_as: seed & 128 == 0,
    };
    Neighbor::new(
        spec.try_into().expect("these settings are valid"),
        seed.into(),
    )
}

/// What is outside of the neighbor, as a shell has it.
struct Outside {
    neighbor: Neighbor,
    now: Moment,
    open: BTreeSet<Direction>,
    is_dialling: bool,
    is_up: bool,
}

impl Outside {
    fn step(&mut self, event: Event<'_>) {
        let mut decisions = usize::from(matches!(event, Event::Accepted));
        for action in self.neighbor.step(self.now, event) {
            match action {
                Action::Dial => {
                    assert!(!self.is_dialling && !self.open.contains(&Direction::Outgoing));
                    self.is_dialling = true;
                }
                Action::Take => {
                    decisions -= 1;
                    assert!(
                        self.open.insert(Direction::Incoming),
                        "one is there already"
                    );
                }
                Action::Refuse => decisions -= 1,
                Action::Send(direction, bytes) => {
                    assert!(self.open.contains(&direction), "sent over nothing");
                    for message in messages(&bytes) {
                        assert_ne!(message[18], 2, "an UPDATE that was not asked for");
                    }
                }
                Action::Close(direction) => {
                    self.open.remove(&direction);
                    if direction == Direction::Outgoing {
                        self.is_dialling = false;
                    }
                }
                Action::Up(agreed) => {
                    assert!(!std::mem::replace(&mut self.is_up, true));
                    assert!(agreed.hold_time_secs == 0 || agreed.hold_time_secs >= 3);
                }
                Action::Down(_) => assert!(std::mem::replace(&mut self.is_up, false)),
                Action::Failed(_) => {}
                Action::Default(change) => {
                    assert_eq!(self.neighbor.default_route(change.family), change.route);
                }
            }
        }
        assert_eq!(decisions, 0, "an accepted connection was left as it is");
        self.check();
    }

    fn check(&mut self) {
        let is_established = self.neighbor.state() == State::Established;
        assert_eq!(is_established, self.is_up);
        assert_eq!(self.neighbor.negotiated().is_some(), is_established);
        while let Some((direction, bytes)) = self.neighbor.updates(self.now, 1) {
            assert!(is_established && self.open.contains(&direction));
            for message in messages(&bytes) {
                assert!(matches!(message[18], 2 | 5) && message.len() <= 4096);
            }
        }
        assert!(self.neighbor.routes().is_settled());
        if !is_established {
            assert_eq!(self.neighbor.routes().sent().count(), 0);
        }
    }

    fn has(&self, direction: Direction) -> bool {
        self.open.contains(&direction)
    }
}

/// Messages that lie one after the other, whose lengths add up.
fn messages(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut messages = vec![];
    while !bytes.is_empty() {
        let length = u16::from_be_bytes([bytes[16], bytes[17]]);
        let (message, rest) = bytes.split_at(length.into());
        assert_eq!(message[..16], [0xff; 16]);
        messages.push(message);
        bytes = rest;
    }
    messages
}

/// A message of the kind with this body: the marker and the length are right, so that bodies are tried and not markers.
fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER_LEN + body.len()).unwrap_or(u16::MAX);
    [&[0xff; 16], &length.to_be_bytes()[..], &[kind], body].concat()
}

fn route(outside: &mut Outside, value: u8) {
    let spec = AttributesSpec {
        med: Some((value & 3).into()),
        ..AttributesSpec::default()
    };
    let attributes: Attributes = spec.try_into().expect("these attributes are valid");
    let address: IpAddr = if value & 4 == 0 {
        Ipv4Addr::new(203, 0, 113, value >> 4).into()
    } else {
        "2001:db8::7".parse().expect("an address")
    };
    let is_there = value & 8 == 0;
    let attributes = is_there.then(|| Arc::new(attributes));
    let routes = outside.neighbor.routes_mut();
    routes.set(Prefix::host(address), attributes);
}

impl Outside {
    fn new(seed: u8) -> Self {
        Self {
            neighbor: neighbor(seed),
            now: Moment::default(),
            open: BTreeSet::new(),
            is_dialling: false,
            is_up: false,
        }
    }
}

/// With [`OPEN`] there is a session: otherwise nothing beyond would be tried.
fn establish() {
    let mut outside = Outside::new(0);
    outside.step(Event::Start);
    outside.open.insert(Direction::Outgoing);
    outside.step(Event::Dialled);
    let open = [framed(1, OPEN), framed(4, &[])].concat();
    outside.step(Event::Received(Direction::Outgoing, &open));
    assert!(outside.is_up);
}

static ESTABLISHED: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    ESTABLISHED.call_once(establish);
    let Some((seed, mut rest)) = bytes.split_first() else {
        return;
    };
    let mut outside = Outside::new(*seed);
    while let Some(([what, value], more)) = rest.split_first_chunk::<2>() {
        rest = more;
        let direction = if what & 0x80 == 0 {
            Direction::Outgoing
        } else {
            Direction::Incoming
        };
        match what & 15 {
            0 => outside.step(Event::Start),
            1 if outside.is_dialling => {
                outside.is_dialling = false;
                outside.open.insert(Direction::Outgoing);
                outside.step(Event::Dialled);
            }
            2 => outside.step(Event::Accepted),
            3 if outside.has(direction) => {
                let open = [framed(1, OPEN), framed(4, &[])].concat();
                outside.step(Event::Received(direction, &open));
            }
            4..8 if outside.has(direction) => {
                let (body, more) = rest.split_at(rest.len().min((*value).into()));
                rest = more;
                let message = framed((what & 15) - 3, body);
                outside.step(Event::Received(direction, &message));
            }
            8 if outside.has(direction) => {
                let (bytes, more) = rest.split_at(rest.len().min((*value).into()));
                rest = more;
                outside.step(Event::Received(direction, bytes));
            }
            9 => {
                let was_open = outside.open.remove(&direction);
                let was_dialling =
                    direction == Direction::Outgoing && std::mem::take(&mut outside.is_dialling);
                if was_open || was_dialling {
                    outside.step(Event::Failed(direction));
                }
            }
            10 => {
                outside.now = outside.now + Duration::from_millis(u64::from(*value) * 50);
                outside.step(Event::Due);
                let deadline = outside.neighbor.deadline();
                assert!(deadline.is_none_or(|deadline| deadline > outside.now));
            }
            11 => {
                route(&mut outside, *value);
                outside.check();
            }
            12 if value & 1 == 0 => outside.step(Event::BfdDown),
            12 if outside.has(direction) => outside.step(Event::NotTaken(direction)),
            13 => outside.step(Event::Stop(Cease::PeerDeconfigured)),
            14 => {
                let refresh = framed(5, &[0, 1 + (value & 1), 0, 1]);
                if outside.has(direction) {
                    outside.step(Event::Received(direction, &refresh));
                }
            }
            15 => {
                outside.neighbor.routes_mut().set_draining(value & 1 == 0);
                outside.check();
            }
            _ => {}
        }
    }
});
