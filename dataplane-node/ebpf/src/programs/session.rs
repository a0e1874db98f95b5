//! Sessions in the maps: found for each packet, and kept up to date by what it says.

use core::ptr::NonNull;

use lbfabric_abi::{
    SESSION_WAYS, SOURCES_MAX, Session, SessionLife, SessionLine, SessionPacket, SessionPlace,
    SessionRecord, SessionState, SessionTick, SessionWord, Settings, session_of_end,
};

use super::{
    atomic,
    bytes::load1,
    frame::{Frame, opaque},
    headers::{Headers, TCP, protocol},
    ip::Ip,
    maps,
    packet::Family,
};

/// A line of words in a map.
#[derive(Clone, Copy)]
pub(crate) struct Line(NonNull<SessionLine>);

/// A session in the map.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    place: NonNull<Session>,
    pub(crate) index: u32,
    /// As it was when the session was found.
    pub(crate) life: SessionLife,
}

const WAY_BITS: u32 = SESSION_WAYS.trailing_zeros();
const WAYS: u32 = 1 << WAY_BITS;
/// The bits below a word's tag.
const TAG_AT: u32 = SessionWord::SESSIONS_MAX.trailing_zeros();

// Words are compared by arithmetic instead of branches: what would come after each branch, the verifier follows as often
// as there are words.
impl Line {
    /// A line of a map.
    #[inline(always)]
    pub(crate) const fn new(line: NonNull<SessionLine>) -> Self {
        Self(line)
    }

    /// The session that a tag leads to.
    #[inline(always)]
    pub(crate) fn find(self, tag: u64) -> Option<u32> {
        let mut found = 0;
        for way in 0..SESSION_WAYS {
            let word = self.load(way);
            found |= word.0 & has(word, tag);
        }
        (found != 0).then(|| SessionWord(found).session())
    }

    /// How many words have a tag.
    #[inline(always)]
    pub(crate) fn count(self, tag: u64) -> u64 {
        (0..SESSION_WAYS)
            .map(|way| has(self.load(way), tag) & 1)
            .sum()
    }

    /// How many words are free.
    #[inline(always)]
    pub(crate) fn free(self) -> u64 {
        (0..SESSION_WAYS).map(|way| is_free(self.load(way))).sum()
    }

    /// The first free place, if there is one.
    #[inline(always)]
    pub(crate) fn free_place(self) -> Option<u32> {
        let mut free = 0;
        for way in 0..SESSION_WAYS {
            free |= is_free(self.load(way)) << way;
        }
        if free == 0 {
            return None;
        }
        free &= free.wrapping_neg();
        let mut way = 0;
        for bit in 0..WAY_BITS {
            let mut ways = 0;
            for n in 0..SESSION_WAYS {
                if n >> bit & 1 == 1 {
                    ways |= free >> n;
                }
            }
            way |= (ways & 1) << bit;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a place in a line")]
        Some(way as u32)
    }

    /// Puts another word in a place; false if `old` is not there.
    #[inline(always)]
    pub(crate) fn replace(self, way: u32, old: SessionWord, new: SessionWord) -> bool {
        atomic::compare_exchange(self.place(way), old.0, new.0)
    }

    /// The word at a place.
    #[inline(always)]
    pub(crate) fn at(self, way: u32) -> SessionWord {
        // SAFETY: an aligned word of a line, which lives as long as its map; BPF reads eight bytes by one instruction.
        SessionWord(unsafe { self.place(way).read_volatile() })
    }

    #[inline(always)]
    fn load(self, way: usize) -> SessionWord {
        // SAFETY: as in `at`.
        unsafe { self.0.cast::<SessionWord>().add(way).read_volatile() }
    }

    #[inline(always)]
    fn place(self, way: u32) -> NonNull<u64> {
        // SAFETY: within the line.
        unsafe { self.0.cast().add(opaque(way as usize) % SESSION_WAYS) }
    }
}

impl Held {
    /// The session at an index, as it is now.
    #[inline(always)]
    pub(crate) fn at(index: u32) -> Option<Self> {
        let place = maps::session(index)?;
        let life = life(place);
        Some(Self { place, index, life })
    }

    /// Its fields.
    #[inline(always)]
    pub(crate) fn fields(&self) -> &'static Session {
        // SAFETY: a session lives as long as the map. Where another CPU writes it meanwhile, `note` finds another life.
        unsafe { self.place.as_ref() }
    }

    /// Its fields, to write them.
    ///
    /// # Safety
    /// The caller has made the session busy.
    #[inline(always)]
    pub(crate) unsafe fn fields_mut(&mut self) -> &mut Session {
        // SAFETY: the caller's.
        unsafe { self.place.as_mut() }
    }

    /// Notes what a packet has said; false if the session has become another's since it was found.
    #[inline(always)]
    pub(crate) fn note(
        &self,
        now: SessionTick,
        after: impl Fn(SessionState) -> SessionState,
    ) -> bool {
        let new = self.life.with(after(self.life.state()), now);
        if new == self.life {
            return life(self.place) == new;
        }
        if self.change(self.life, new) {
            return true;
        }
        // Another CPU was faster; what it wrote comes before what this packet says. A third one may win here: then a state
        // is noted with the next packet.
        let found = life(self.place);
        if !found.is_of(self.life) || !found.state().is_open() {
            return false;
        }
        self.change(found, found.with(after(found.state()), now));
        true
    }

    /// Gives it another life; false if it does not have this one.
    #[inline(always)]
    pub(crate) fn change(&self, old: SessionLife, new: SessionLife) -> bool {
        atomic::compare_exchange(life_of(self.place), old.0, new.0)
    }

    /// Gives a session that is the caller's its new life, with all that was written before.
    #[inline(always)]
    pub(crate) fn publish(&self, new: SessionLife) {
        atomic::publish(life_of(self.place), new.0);
    }

    /// What else there is of it.
    #[inline(always)]
    pub(crate) fn record(&self) -> Option<&'static SessionRecord> {
        // SAFETY: as in `fields`.
        maps::session_record(self.index).map(|it| unsafe { it.as_ref() })
    }

    /// The client's address and the VIP.
    #[inline(always)]
    pub(crate) fn ends<I: Ip>(&self) -> Option<(I::Address, I::Address)> {
        let session = self.fields();
        if let (Some(client), Some(vip)) = (I::unfold(session.client), I::unfold(session.vip)) {
            return Some((client, vip));
        }
        let record = self.record()?;
        Some((I::of(&record.client), I::of(&record.vip)))
    }

    /// The node's address; none if the node has it no more.
    #[inline(always)]
    pub(crate) fn node<I: Ip>(&self, settings: &Settings) -> Option<I::Address> {
        let session = self.fields();
        let index = session.source();
        let node = I::node(settings, index);
        let is_there = (index as u32) < I::sources(settings);
        (is_there && Session::check_of(I::fold(node)) == session.node_check).then_some(node)
    }

    /// Where its words lie in `SESSION_TAGS`; destination NAT has two.
    #[inline(always)]
    pub(crate) fn tags_at(&self) -> (Option<u32>, Option<u32>) {
        let Some(record) = self.record() else {
            return (None, None);
        };
        let back = self.fields().is_dnat().then_some(record.back_at);
        (Some(record.tag_at), back)
    }

    /// Frees a word of its in `SESSION_TAGS`.
    #[inline(always)]
    pub(crate) fn unlist(&self, tag_at: u32) {
        if let Some(line) = maps::session_tags(tag_at >> WAY_BITS) {
            let way = tag_at % WAYS;
            let word = line.at(way);
            if word.session() == self.index {
                line.replace(way, word, SessionWord::FREE);
            }
        }
    }

    /// The place of a word in a line, as the fields have it.
    #[inline(always)]
    pub(crate) const fn tag_at(line: u32, way: u32) -> u32 {
        line << WAY_BITS | way
    }
}

// The compiler must not see that these two are comparisons, or it makes branches of them.

/// All ones if a word has a tag, else zero.
#[inline(always)]
fn has(word: SessionWord, tag: u64) -> u64 {
    let differs = opaque(((word.0 ^ tag) >> TAG_AT) as usize) as u64;
    // The borrow: all ones if they do not differ.
    0u64.wrapping_sub(differs.wrapping_sub(1) >> 63)
}

/// One if a word is free, else zero.
#[inline(always)]
fn is_free(word: SessionWord) -> u64 {
    let less = opaque(word.0.wrapping_sub(1) as usize) as u64;
    (less & !word.0) >> 63
}

/// The two ends of a packet, as it says or as a quote of it says.
pub(crate) struct Ends<I: Ip> {
    pub(crate) source: I::Address,
    pub(crate) destination: I::Address,
    /// Source and destination port, as they stand in a header.
    pub(crate) ports: u32,
    pub(crate) protocol: u8,
}

impl<I: Ip> Ends<I> {
    /// As in a frame.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "half of a word")]
    pub(crate) const fn source_port(&self) -> u16 {
        self.ports as u16
    }
}

/// Which sessions a look is for: the bits of `origin` that count, and what they are but for the family's.
#[derive(Clone, Copy)]
struct Kind {
    mask: u8,
    bits: u8,
}

impl Kind {
    const FULLNAT: Self = Self {
        mask: Session::IPV6 | Session::DNAT,
        bits: 0,
    };
    const DNAT: Self = Self {
        mask: Session::IPV6 | Session::DNAT,
        bits: Session::DNAT,
    };
    const ANY: Self = Self {
        mask: Session::IPV6,
        bits: 0,
    };
}

/// Full NAT's session of a client's packet.
#[inline(always)]
pub(crate) fn of_client<I: Ip>(
    settings: &Settings,
    ends: &Ends<I>,
    place: SessionPlace,
) -> Option<Held> {
    listed(settings, place).filter(|it| is_clients(it, ends, Kind::FULLNAT))
}

/// The session of a client's packet, full NAT's or destination NAT's.
#[inline(always)]
pub(crate) fn of_any_client<I: Ip>(
    settings: &Settings,
    ends: &Ends<I>,
    place: SessionPlace,
) -> Option<Held> {
    listed(settings, place).filter(|it| is_clients(it, ends, Kind::ANY))
}

/// Destination NAT's session of a server's packet to the client.
#[inline(always)]
pub(crate) fn of_exact_server<I: Ip>(settings: &Settings, ends: &Ends<I>) -> Option<Held> {
    let held = listed(settings, place(settings, ends))?;
    let session = held.fields();
    let is_its = session.server_ports().rotate_left(16) == ends.ports
        && session.client == I::fold(ends.destination)
        && is_of::<I>(session, ends, Kind::DNAT)
        && is_from_server(session, ends)
        && held.life.state().is_open();
    let (client, _) = held.ends::<I>()?;
    (is_its && client == ends.destination).then_some(held)
}

/// The session that the word at a place leads to.
#[inline(always)]
fn listed(settings: &Settings, place: SessionPlace) -> Option<Held> {
    let mask = settings.session_mask;
    let index = match maps::session_tags(place.first(mask))?.find(place.tag) {
        Some(index) => index,
        None => maps::session_tags(place.second(mask))?.find(place.tag)?,
    };
    Held::at(index)
}

#[inline(always)]
fn is_clients<I: Ip>(held: &Held, ends: &Ends<I>, kind: Kind) -> bool {
    let session = held.fields();
    // The ports first: in nearly every other session they differ.
    session.client_ports() == ends.ports
        && session.client == I::fold(ends.source)
        && session.vip == I::fold(ends.destination)
        && is_of::<I>(session, ends, kind)
        && held.life.state().is_open()
        && held.ends::<I>() == Some((ends.source, ends.destination))
}

/// Where a flow has its word: a client's by what the client sends, destination NAT's another one by what the server answers.
#[inline(always)]
pub(crate) fn place<I: Ip>(settings: &Settings, ends: &Ends<I>) -> SessionPlace {
    let Ends {
        source,
        destination,
        ports,
        protocol,
    } = *ends;
    let key = &settings.flow_key;
    SessionPlace::of(I::hash(key, source, destination, ports, protocol))
}

/// Full NAT's session of a packet from a server to the node.
#[inline(always)]
pub(crate) fn of_server<I: Ip>(settings: &Settings, ends: &Ends<I>) -> Option<Held> {
    let held = Held::at(index_of(settings, ends))?;
    (is_servers(&held, ends) && held.life.state().is_open()).then_some(held)
}

/// Whether a session is full NAT's and has the end of the node that a server's packet goes to.
#[inline(always)]
pub(crate) fn is_servers<I: Ip>(held: &Held, ends: &Ends<I>) -> bool {
    let session = held.fields();
    session.server_ports().rotate_left(16) == ends.ports
        && session.node_check == Session::check_of(I::fold(ends.destination))
        && is_of::<I>(session, ends, Kind::FULLNAT)
        && is_from_server(session, ends)
}

/// Whether a packet comes from a session's server.
#[inline(always)]
fn is_from_server<I: Ip>(session: &Session, ends: &Ends<I>) -> bool {
    maps::backend(session.backend.into())
        .and_then(I::server)
        .is_some_and(|(server, _)| server == ends.source)
}

/// Where the session of a server's packet lies, if it has one.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves of a word")]
pub(crate) fn index_of<I: Ip>(settings: &Settings, ends: &Ends<I>) -> u32 {
    let Ends {
        source: server,
        destination: node,
        ports,
        protocol,
    } = *ends;
    let base = base::<I>(settings, server, ports as u16, protocol);
    let port = u16::from_be((ports >> 16) as u16);
    session_of_end(
        base,
        source::<I>(settings, node),
        port,
        settings.sessions_mask(),
    )
}

/// The hash of a server's end; the port as it stands in a header.
#[inline(always)]
pub(crate) fn base<I: Ip>(settings: &Settings, server: I::Address, port: u16, protocol: u8) -> u64 {
    I::hash(&settings.flow_key, server, server, port.into(), protocol)
}

/// The first place at which the node has an address. Without branches: the verifier would follow what comes after for each.
#[inline(always)]
fn source<I: Ip>(settings: &Settings, node: I::Address) -> u32 {
    let mut index = 0;
    for n in (0..SOURCES_MAX).rev() {
        let differs = opaque(I::difference(I::node(settings, n), node) as usize) as u64;
        let differs = 0u64.wrapping_sub((differs | differs.wrapping_neg()) >> 63);
        index = index & differs | n as u64 & !differs;
    }
    index as u32
}

#[inline(always)]
fn is_of<I: Ip>(session: &Session, ends: &Ends<I>, kind: Kind) -> bool {
    let is_ipv6 = I::FAMILY as u8 == Family::Ipv6 as u8;
    let ipv6 = if is_ipv6 { Session::IPV6 } else { 0 };
    session.protocol() == ends.protocol && session.origin & kind.mask == kind.bits | ipv6
}

/// What a packet says of its flow.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a byte was read")]
pub(crate) fn said<I: Ip>(frame: &Frame, headers: &Headers<I>) -> SessionPacket {
    if headers.protocol != protocol::TCP || !frame.reaches(headers.l4 + TCP) {
        return SessionPacket::of_tcp(0);
    }
    // SAFETY: the header is in the frame.
    SessionPacket::of_tcp(unsafe { load1::<13>(headers.l4) } as u8)
}

/// The moment.
#[inline(always)]
pub(crate) fn now() -> SessionTick {
    SessionTick::at(maps::coarse_clock())
}

#[inline(always)]
fn life_of(session: NonNull<Session>) -> NonNull<u64> {
    // SAFETY: a field of a session.
    unsafe {
        session
            .byte_add(core::mem::offset_of!(Session, life))
            .cast()
    }
}

#[inline(always)]
fn life(session: NonNull<Session>) -> SessionLife {
    // SAFETY: an aligned word of a session, which lives as long as the map; BPF reads eight bytes by one instruction.
    SessionLife(unsafe { life_of(session).read_volatile() })
}
