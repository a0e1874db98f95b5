//! New full-NAT flows: an end of the node, and the session that lies where that end's does.
//!
//! Every server has a cursor that walks over all addresses and ports of the node, so a port that was given back is taken
//! again as late as possible, and a search that finds nothing goes on where it ended with the flow's next packet.

use core::num::NonZeroU64;

use lbfabric_abi::{
    DropReason, NAT_PORT_TRIES, RingSlot, SESSION_PORT_PATIENCE, SESSION_WAYS, SOURCES_MAX,
    Session, SessionLife, SessionPlace, SessionState, SessionTick, SessionWord, Settings,
};

use super::{
    dnat,
    frame::opaque,
    headers::Headers,
    ip::Ip,
    maps,
    packet::{Family, Scratch},
    session::{self, Ends, Held},
};

/// From one try of a search to the next: away from where ports that follow each other meet another server's.
pub(crate) const STEP: u64 = 1_000_003;
/// A line with so many free words is not crowded.
const ROOM: u64 = 2;
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
    if !backend.keeps_flows_of(scratch.service.pool) {
        return Err(DropReason::NoBackend);
    }
    let (server, _) = dnat::server::<I>(backend)?;
    let port = dnat::port_or(scratch.service.backend_port_be, headers.destination_port());
    let row = Row::<I>::new(settings, server, port, headers.protocol)?;
    search(settings, scratch, &row, now)?;
    let end = row.end(settings, scratch.candidate);
    vacate(scratch.session, &end.answers, now)?;
    // Where another CPU was faster, the flow's next packet goes on with the next port.
    let mut held = claim(scratch.session, now).ok_or(DropReason::NatPortsExhausted)?;
    let word = SessionWord::new(place.tag, held.index);
    let Some(tag_at) = enlist(settings, place, word, now) else {
        held.publish(held.life.with(SessionState::FREE, now));
        return Err(DropReason::NatTableFull);
    };
    // SAFETY: it was claimed above.
    let session = unsafe { held.fields_mut() };
    describe(session, scratch, headers, port);
    session.node_port_be = end.port_be.to_ne_bytes();
    let is_ipv6 = I::FAMILY as u8 == Family::Ipv6 as u8;
    session.origin = Session::origin_of(is_ipv6, headers.protocol, end.source);
    session.node_check = Session::check_of(I::fold(end.answers.destination));
    record(&held, headers, tag_at, 0)?;
    Ok(held)
}

/// Makes a session that is free the caller's.
#[inline(always)]
pub(crate) fn claim(index: u32, now: SessionTick) -> Option<Held> {
    let mut held = Held::at(index).filter(|it| it.life.state() == SessionState::FREE)?;
    let claimed = held.life.claimed(now);
    if !held.change(held.life, claimed) {
        return None;
    }
    held.life = claimed;
    Some(held)
}

/// Writes what a session of either kind has of its flow.
#[inline(always)]
pub(crate) fn describe<I: Ip>(
    session: &mut Session,
    scratch: &Scratch,
    headers: &Headers<I>,
    port: u16,
) {
    let service = &scratch.service;
    let [a, b, c, d] = headers.ports.to_ne_bytes();
    session.client = I::fold(headers.source);
    session.vip = I::fold(headers.destination);
    session.client_port_be = [a, b];
    session.vip_port_be = [c, d];
    session.server_port_be = port.to_ne_bytes();
    #[expect(clippy::cast_possible_truncation, reason = "ids are below 2^16")]
    {
        session.backend = scratch.server as u16;
        session.service = service.service as u16;
        session.pool = service.pool as u16;
    }
}

/// Writes what else there is of a session that the caller has claimed.
#[inline(always)]
pub(crate) fn record<I: Ip>(
    held: &Held,
    headers: &Headers<I>,
    tag_at: u32,
    back_at: u32,
) -> Result<(), DropReason> {
    let mut record = maps::session_record(held.index).ok_or(DropReason::Internal)?;
    // SAFETY: whoever has claimed a session alone writes its record.
    let record = unsafe { record.as_mut() };
    record.client = I::to_abi(headers.source);
    record.vip = I::to_abi(headers.destination);
    (record.tag_at, record.back_at) = (tag_at, back_at);
    Ok(())
}

/// Opens a session, with `back` for its answers if it is destination NAT's. False if another CPU has entered the same flow at the
/// same moment, or one that the server could not tell from it: then this one is not.
#[inline(always)]
pub(crate) fn finish(
    settings: &Settings,
    held: &Held,
    place: SessionPlace,
    back: Option<SessionPlace>,
    life: SessionLife,
) -> bool {
    held.publish(life);
    // If both see the other, both go, and the flow's next look enters it anew.
    if tags(settings, place) > 1 || back.is_some_and(|it| tags(settings, it) > 1) {
        release(held.index, life);
        return false;
    }
    true
}

/// Ends a session, if it still has this life.
#[inline(never)]
pub(crate) fn release(index: u32, life: SessionLife) {
    end(index, life);
}

/// As [`release`]. Linux 6.1 has no stack left for a function that a function calls.
#[inline(always)]
fn end(index: u32, life: SessionLife) {
    let Some(held) = Held::at(index) else {
        return;
    };
    let busy = life.with(SessionState::BUSY, life.tick());
    if held.change(life, busy) {
        let (first, second) = held.tags_at();
        if let Some(first) = first {
            held.unlist(first);
        }
        if let Some(second) = second {
            held.unlist(second);
        }
        held.publish(busy.with(SessionState::FREE, busy.tick()));
    }
}

/// How many words have a flow's tag.
#[inline(always)]
pub(crate) fn tags(settings: &Settings, place: SessionPlace) -> u64 {
    let mask = settings.session_mask;
    let (first, second) = (place.first(mask), place.second(mask));
    let count = |index| maps::session_tags(index).map_or(0, |line| line.count(place.tag));
    if second == first {
        count(first)
    } else {
        count(first) + count(second)
    }
}

/// Ends the flow that has a session which is to be another's, if it may be: it is silent for too long, or was never more than
/// its first packet.
#[inline(always)]
fn vacate<I: Ip>(index: u32, answers: &Ends<I>, now: SessionTick) -> Result<(), DropReason> {
    let owner = Held::at(index).ok_or(DropReason::Internal)?;
    if owner.life.state() == SessionState::FREE {
        return Ok(());
    }
    // The end itself is taken, or only the place.
    let (patience, otherwise) = if session::is_servers(&owner, answers) {
        (SESSION_PORT_PATIENCE, DropReason::NatPortsExhausted)
    } else {
        (0, DropReason::NatTableFull)
    };
    if !owner
        .life
        .is_takeable(owner.fields().is_tcp(), now, patience)
    {
        return Err(otherwise);
    }
    release(owner.index, owner.life);
    Ok(())
}

/// Puts a flow's word into one of its lines, and gives its place.
#[inline(never)]
pub(crate) fn enlist(
    settings: &Settings,
    place: SessionPlace,
    word: SessionWord,
    now: SessionTick,
) -> Option<u32> {
    let mask = settings.session_mask;
    let (first, second) = (place.first(mask), place.second(mask));
    let (one, other) = (maps::session_tags(first)?, maps::session_tags(second)?);
    let (free, others) = (one.free(), other.free());
    if free | others == 0 {
        let held = Held::at(first_to_go(first, second, now))?;
        if !held.life.is_takeable(held.fields().is_tcp(), now, 0) {
            return None;
        }
        end(held.index, held.life);
    }
    let (line, index) = if free < ROOM && free < others || one.free() == 0 {
        (other, second)
    } else {
        (one, first)
    };
    let way = line.free_place()?;
    // Where another CPU has just taken the place, the flow's next packet finds one.
    line.replace(way, SessionWord::FREE, word)
        .then_some(Held::tag_at(index, way))
}

/// The session of two full lines that is looked at first to be taken.
#[inline(always)]
fn first_to_go(first: u32, second: u32, now: SessionTick) -> u32 {
    let (mut most, mut index) = (0, SessionWord::SESSIONS_MAX);
    for n in 0..2 * SESSION_WAYS {
        let line = if n < SESSION_WAYS { first } else { second };
        let Some(line) = maps::session_tags(line) else {
            continue;
        };
        let other = line.at(n as u32).session();
        if let Some(held) = Held::at(other) {
            let rank = held.life.rank(now);
            if rank > most {
                (most, index) = (rank, other);
            }
        }
    }
    index
}

/// The node's addresses and ports, counted through as one row, for a server's end.
struct Row<I: Ip> {
    sources: NonZeroU64,
    count: NonZeroU64,
    server: I::Address,
    /// As in a frame.
    port: u16,
    protocol: u8,
    /// Where the row begins: for each server, and on each node, somewhere else.
    begin: u64,
}

/// An address and port of the node.
struct End<I: Ip> {
    source: usize,
    port_be: u16,
    /// Of the server's packets that come there.
    answers: Ends<I>,
}

impl<I: Ip> Row<I> {
    #[inline(always)]
    fn new(
        settings: &Settings,
        server: I::Address,
        port: u16,
        protocol: u8,
    ) -> Result<Self, DropReason> {
        let sources = NonZeroU64::new(I::sources(settings).min(SOURCES).into());
        let sources = sources.ok_or(DropReason::NoSourceAddress)?;
        let ports = u64::from(settings.nat_port_count.min(1 << 16));
        let count = NonZeroU64::new(ports * sources.get()).ok_or(DropReason::NatPortsExhausted)?;
        Ok(Self {
            sources,
            count,
            server,
            port,
            protocol,
            begin: session::base::<I>(settings, server, port, protocol) >> 32,
        })
    }

    /// The place in the row at a turn of the cursor, for the n-th try of a search.
    #[inline(always)]
    fn candidate(&self, turn: u64, n: u64) -> u64 {
        ((turn & 0xffff_ffff) + self.begin + n * STEP) % self.count
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "remainders")]
    fn end(&self, settings: &Settings, candidate: u64) -> End<I> {
        let source = (candidate % self.sources) as usize;
        let port_be = settings.nat_port((candidate / self.sources) as u32).to_be();
        let answers = Ends {
            source: self.server,
            destination: I::node(settings, source),
            ports: u32::from(self.port) | u32::from(port_be) << 16,
            protocol: self.protocol,
        };
        End {
            source,
            port_be,
            answers,
        }
    }
}

/// Looks for an end at the node whose session is free, and leaves it in `scratch`, or else that one of those it has looked at
/// which is to go first.
#[inline(always)]
fn search<I: Ip>(
    settings: &Settings,
    scratch: &mut Scratch,
    row: &Row<I>,
    now: SessionTick,
) -> Result<(), DropReason> {
    let mut most = 0;
    for n in 0..NAT_PORT_TRIES {
        let turn = maps::nat_turn(scratch.server).ok_or(DropReason::Internal)?;
        let candidate = row.candidate(turn, n.into());
        let index = session::index_of(settings, &row.end(settings, candidate).answers);
        let rank = rank(index, now)?;
        if rank > most {
            most = rank;
            scratch.candidate = candidate;
            scratch.session = index;
        }
        if rank == FREE {
            break;
        }
    }
    Ok(())
}

/// The rank of a session that is free: before all others.
pub(crate) const FREE: u64 = u64::MAX;

/// How soon a session is looked at to be taken.
#[inline(always)]
pub(crate) fn rank(index: u32, now: SessionTick) -> Result<u64, DropReason> {
    let life = Held::at(index).ok_or(DropReason::Internal)?.life;
    let rank = if life.state() == SessionState::FREE {
        FREE
    } else {
        life.rank(now).into()
    };
    // Forgotten where it comes from: the verifier would follow each value.
    Ok(opaque(rank as usize) as u64)
}
