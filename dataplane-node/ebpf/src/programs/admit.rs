//! New full-NAT flows: a session and a port of the node.
//!
//! Every server has a cursor that walks over all addresses and ports of the node, so a port that was given back is taken
//! again as late as possible, and a search that finds nothing goes on where it ended with the flow's next packet.

use core::num::NonZeroU64;

use lbfabric_abi::{
    DropReason, NAT_PORT_TRIES, RingSlot, SESSION_PORT_PATIENCE, SOURCES_MAX, Session, SessionLife,
    SessionPlace, SessionState, SessionTick, SessionWord, Settings,
};

use super::{
    dnat,
    frame::opaque,
    headers::{Headers, protocol},
    ip::Ip,
    maps,
    packet::{Family, Scratch},
    session::{Held, Line},
};

/// The distance between ports that follow each other: a prime above the number of all, so that none is left out.
const STEP: u64 = 1_000_003;
const _: () = assert!(STEP > (SOURCES_MAX as u64) << 16);
/// A line with so many free words is not crowded.
const ROOM: u64 = 3;
/// Words of a line.
const WAYS: u32 = 8;
/// The bit of an index that is no session's.
const OWNER_NONE_AT: u32 = SessionWord::SESSIONS_MAX.trailing_zeros();
/// As a count.
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
const SOURCES: u32 = SOURCES_MAX as u32;

/// Enters a flow that has no session. The session is still busy when it comes back: [`finish`] opens it.
#[inline(always)]
pub(crate) fn admit<I: Ip>(
    settings: &Settings,
    scratch: &mut Scratch,
    headers: &Headers<I>,
    place: SessionPlace,
    now: SessionTick,
) -> Result<Held, DropReason> {
    let id = scratch.server;
    if id == RingSlot::NONE {
        return Err(DropReason::NoBackend);
    }
    let backend = maps::backend(id).ok_or(DropReason::Internal)?;
    let (server, _) = dnat::server::<I>(backend)?;
    let row = Row::new::<I>(settings)?;
    let port = dnat::port_or(scratch.service.backend_port_be, headers.destination_port());
    let protocol = headers.protocol;
    let answers = Answers::<I> {
        server,
        port,
        protocol,
    };
    search(settings, scratch, &row, &answers)?;
    let is_tcp = protocol == protocol::TCP;
    // One of those that were taken may have become free: its flow is silent for too long, or was never more than its first
    // packet.
    if let Some(owner) = Held::at(scratch.owner) {
        if !owner.life.is_takeable(is_tcp, now, SESSION_PORT_PATIENCE) {
            return Err(DropReason::NatPortsExhausted);
        }
        release(owner.index, owner.life);
    }
    scratch.session = claim(settings, place, now, is_tcp);
    let mut held = Held::at(scratch.session).ok_or(DropReason::NatTableFull)?;
    let end = row.end(settings, scratch.candidate, &answers);
    let word = SessionWord::new(end.tag, held.index);
    let words = maps::session_back(end.line).ok_or(DropReason::Internal)?;
    let Some(way) = take(words, word, end.tag) else {
        // Another CPU was faster; the flow's next packet goes on with the next port.
        held.publish(held.life.with(SessionState::FREE, now));
        return Err(DropReason::NatPortsExhausted);
    };
    let [a, b, c, d] = headers.ports.to_ne_bytes();
    let service = &scratch.service;
    // SAFETY: `claim` has made it busy.
    let session = unsafe { held.fields_mut() };
    session.client = I::to_abi(headers.source);
    session.vip = I::to_abi(headers.destination);
    session.client_port_be = [a, b];
    session.vip_port_be = [c, d];
    session.node_port_be = end.port_be.to_ne_bytes();
    session.server_port_be = port.to_ne_bytes();
    #[expect(clippy::cast_possible_truncation, reason = "ids are below 2^16")]
    {
        session.backend = id as u16;
        session.service = service.service as u16;
        session.pool = service.pool as u16;
    }
    session.protocol = protocol;
    session.origin = Session::origin_of(I::FAMILY as u8 == Family::Ipv6 as u8, end.source);
    session.node = I::fold(end.node);
    session.back = Held::index_of(end.line, way);
    Ok(held)
}

/// Opens a session. False if another CPU has entered the same flow at the same moment, and its session stands.
#[inline(always)]
pub(crate) fn finish(
    settings: &Settings,
    held: &Held,
    place: SessionPlace,
    life: SessionLife,
) -> bool {
    held.publish(life);
    let (line, way) = Held::word(held.index);
    if let Some(line) = maps::session_tags(line) {
        line.publish(way, SessionWord::new(place.tag, held.index));
    }
    let (count, sum) = tags(settings, place);
    // Of two the one with the smaller index stands, whichever CPU looks.
    let own = u64::from(held.index);
    if count > 1 && sum.wrapping_sub(own) < own {
        release(held.index, life);
        return false;
    }
    true
}

/// Ends a session, if it still has this life.
#[inline(never)]
pub(crate) fn release(index: u32, life: SessionLife) {
    let Some(held) = Held::at(index) else {
        return;
    };
    let busy = life.with(SessionState::BUSY, life.tick());
    if held.change(life, busy) {
        unlink(&held);
        held.publish(busy.with(SessionState::FREE, busy.tick()));
    }
}

/// How many words have a flow's tag, and the sum of their sessions.
#[inline(always)]
pub(crate) fn tags(settings: &Settings, place: SessionPlace) -> (u64, u64) {
    let mask = settings.session_mask;
    let (first, second) = (place.first(mask), place.second(mask));
    let (mut count, mut sum) = (0, 0);
    if let Some(line) = maps::session_tags(first) {
        (count, sum) = line.count(place.tag);
    }
    if second != first
        && let Some(line) = maps::session_tags(second)
    {
        let (more, others) = line.count(place.tag);
        (count, sum) = (count + more, sum + others);
    }
    (count, sum)
}

/// Takes away both words of a session that is the caller's.
#[inline(always)]
fn unlink(held: &Held) {
    let (line, way) = Held::word(held.index);
    if let Some(line) = maps::session_tags(line) {
        line.publish(way, SessionWord::FREE);
    }
    let (line, way) = Held::word(held.fields().back);
    if let Some(line) = maps::session_back(line) {
        let word = line.at(way);
        if word.session() == held.index {
            line.replace(way, word, SessionWord::FREE);
        }
    }
}

/// Makes a session in one of a flow's lines busy and gives its index, or one that is none.
#[inline(never)]
fn claim(settings: &Settings, place: SessionPlace, now: SessionTick, is_tcp: bool) -> u32 {
    let mask = settings.session_mask;
    let (first, second) = (place.first(mask), place.second(mask));
    let (Some(one), Some(other)) = (maps::session_tags(first), maps::session_tags(second)) else {
        return SessionWord::SESSIONS_MAX;
    };
    let (_, home) = Held::word(place.home(mask));
    let (free, others) = (one.free(), other.free());
    let at_home = one.at(home) == SessionWord::FREE;
    let (line, found) = if at_home {
        (first, Some(home))
    } else if free < ROOM && free < others {
        (second, other.free_place())
    } else {
        (first, one.free_place())
    };
    // Where another CPU has just taken the place, the flow's next packet finds one.
    if let Some(way) = found {
        return Held::at(Held::index_of(line, way))
            .filter(|it| it.life.state() == SessionState::FREE)
            .filter(|it| it.change(it.life, it.life.claimed(now)))
            .map_or(SessionWord::SESSIONS_MAX, |it| it.index);
    }
    let index = first_to_go(first, second, now);
    if let Some(held) = Held::at(index)
        && held.life.is_takeable(is_tcp, now, 0)
        && held.change(held.life, held.life.claimed(now))
    {
        unlink(&held);
        return index;
    }
    SessionWord::SESSIONS_MAX
}

/// The session of two lines that is looked at first to be taken.
#[inline(always)]
fn first_to_go(first: u32, second: u32, now: SessionTick) -> u32 {
    let (mut most, mut index) = (0, SessionWord::SESSIONS_MAX);
    for n in 0..2 * WAYS {
        let line = if n < WAYS { first } else { second };
        let other = Held::index_of(line, n % WAYS);
        if let Some(held) = Held::at(other) {
            let rank = held.life.rank(now);
            if rank > most {
                (most, index) = (rank, other);
            }
        }
    }
    index
}

/// The node's addresses and ports, counted through as one row.
struct Row {
    ports: NonZeroU64,
    count: NonZeroU64,
}

/// What a server's answers have in common.
struct Answers<I: Ip> {
    server: I::Address,
    /// As in a frame.
    port: u16,
    protocol: u8,
}

/// An address and port of the node, and the place of the answers that come there.
struct End<I: Ip> {
    source: usize,
    node: I::Address,
    port_be: u16,
    tag: u64,
    line: u32,
}

impl Row {
    #[inline(always)]
    fn new<I: Ip>(settings: &Settings) -> Result<Self, DropReason> {
        let sources = u64::from(I::sources(settings).min(SOURCES));
        if sources == 0 {
            return Err(DropReason::NoSourceAddress);
        }
        let ports = NonZeroU64::new(settings.nat_port_count.min(1 << 16).into());
        let ports = ports.ok_or(DropReason::NatPortsExhausted)?;
        let count = NonZeroU64::new(ports.get() * sources).ok_or(DropReason::Internal)?;
        Ok(Self { ports, count })
    }

    /// The place in the row at a turn of the cursor.
    #[inline(always)]
    fn candidate(&self, turn: u64) -> u64 {
        (turn % self.count) * STEP % self.count
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "remainders")]
    fn end<I: Ip>(&self, settings: &Settings, candidate: u64, answers: &Answers<I>) -> End<I> {
        let Answers {
            server,
            port,
            protocol,
        } = *answers;
        let source = (candidate / self.ports) as usize;
        let node = I::node(settings, source);
        let port_be = settings.nat_port((candidate % self.ports) as u32).to_be();
        let ports = u32::from(port) | u32::from(port_be) << 16;
        let hash = I::hash(&settings.flow_key, server, node, ports, protocol);
        let place = SessionPlace::of(hash);
        End {
            source,
            node,
            port_be,
            tag: place.tag,
            line: place.first(settings.back_mask()),
        }
    }
}

/// Looks for an end at the node that no flow to the server has, and leaves it in `scratch`, or else the last one it has
/// looked at, with its owner.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an index")]
fn search<I: Ip>(
    settings: &Settings,
    scratch: &mut Scratch,
    row: &Row,
    answers: &Answers<I>,
) -> Result<(), DropReason> {
    for _ in 0..NAT_PORT_TRIES {
        let turn = maps::nat_turn(scratch.server).ok_or(DropReason::Internal)?;
        let candidate = row.candidate(turn);
        let End { tag, line, .. } = row.end(settings, candidate, answers);
        let words = maps::session_back(line).ok_or(DropReason::Internal)?;
        scratch.candidate = candidate;
        let (owners, owner) = words.count(tag);
        // One branch for both, which the verifier follows at each turn.
        let none = (owners ^ 1) & 1;
        scratch.owner = owner as u32 | (none as u32) << OWNER_NONE_AT;
        if opaque((none * words.free()) as usize) != 0 {
            break;
        }
    }
    Ok(())
}

/// Writes a word, and gives its place in the line, unless the tag is there already or no place is free.
#[inline(always)]
fn take(line: Line, word: SessionWord, tag: u64) -> Option<u32> {
    let way = line.free_place()?;
    if !line.replace(way, SessionWord::FREE, word) {
        return None;
    }
    if line.count(tag).0 > 1 {
        // Another flow has it, or another CPU has met us: then neither of the two takes it.
        line.replace(way, word, SessionWord::FREE);
        return None;
    }
    Some(way)
}
