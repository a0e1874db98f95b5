use lbfabric_abi::{
    Address, DropReason, Endpoint, Flow, NextHop, RateLimit, Reverse, RingSlot, Session,
    SessionRecord, Verdict, VipPrefix, VipService,
};

use crate::maps::ReadMapError;

/// A whole packet of usual looks: nothing about it but this decides where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Its ports are zero where its protocol has none.
    pub(crate) flow: Flow,
    pub(crate) is_ipv6: bool,
    /// It asks for a TCP connection.
    pub(crate) is_syn: bool,
}

/// What a packet meets on its way, by the ids and addresses of the maps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) service: Option<VipService>,
    /// The slot of the pool's ring, and what it holds.
    pub(crate) slot: Option<(u32, RingSlot)>,
    /// The server that the flow table has for the flow.
    pub(crate) entry: Option<u32>,
    /// Destination NAT has left it to full NAT.
    pub(crate) is_hairpin: bool,
    /// The flow's session, if the packet goes by one.
    pub(crate) session: Option<Session>,
    /// Where it goes.
    pub(crate) server: Option<u32>,
    pub(crate) hop: Option<NextHop>,
    pub(crate) steps: Vec<Step>,
}

/// How a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Leaves(Verdict),
    Dropped(DropReason),
}

/// Why a packet goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    Outcome(Outcome),
    /// That cannot be said.
    Unreadable(ReadMapError),
}

/// One thing that is decided of a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// The address filter has no bit of its destination.
    Filtered,
    /// Its destination is no address of a VIP.
    NotVip,
    /// Its destination is a VIP's address, but nothing serves the port and protocol there.
    NotServed,
    /// It is for the node itself.
    OwnAddress,
    /// It comes from a server, and becomes an answer of the VIP.
    Answer(Reverse),
    /// It answers in a full-NAT session, and becomes an answer of the VIP.
    SessionAnswer(Session, SessionRecord),
    /// It answers in a session of destination NAT, and becomes an answer of the VIP.
    ExactAnswer(Session, SessionRecord),
    /// It comes from an endpoint of several VIPs, and no session says which one it answers for.
    UnknownAnswer,
    Service(Match),
    /// It comes from the very address that it is for.
    Land,
    MartianSource,
    /// It comes from a VIP.
    VipSource,
    /// Whether a list has the client, and what it says.
    Client {
        is_listed: bool,
        is_allowed: bool,
    },
    /// It begins a flow, and a limit has room for it or not.
    Limit {
        of: LimitOf,
        limit: RateLimit,
        has_room: bool,
    },
    /// Limits count new flows, and it is of none.
    NotCounted,
    Choice(Choice),
    /// The server is dead, or of another pool.
    NotOfPool,
    /// The server could not tell it from the flow of this session, which is not over.
    Clash(Session, SessionRecord),
    /// The server has no address of the family.
    NoAddress,
    /// The server's link-layer address is not known.
    Unresolved,
    /// The node has no address to send from.
    NoSource,
    Delivery(Delivery),
    /// Its connection is older than the node's hold on the VIP: who held that before has its session.
    ToPredecessor,
    /// The node has just given the VIP up, and does not know its connection.
    VipMoved,
}

/// One thing that is decided on the way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The ring has no slots.
    NoRing,
    /// Its place in the ring; the service's affinity says what that goes by.
    Slot {
        number: u32,
        of: u32,
    },
    /// A QUIC connection ID may name a server, which comes before the ring.
    QuicFirst,
    /// The slot has one server, and the flow table is not asked.
    Steady,
    /// The flow table has the flow.
    Known,
    /// The flow table has the flow with a server that is dead, removed or of another pool, or was silent for too long.
    Forgotten,
    Unknown,
    /// A flow's first packet goes to the slot's server of new flows.
    ToCurrent,
    /// The slot's server of old flows takes it.
    ToBase,
    /// That one is dead: the server of new flows takes it.
    BaseIsDead,
    /// Full NAT chooses at admission: a flow with a session keeps the server of that.
    AtAdmission,
    /// Full NAT has a session of it.
    Session,
    /// As [`Choice::AtAdmission`], of destination NAT with exact state.
    ExactAtAdmission,
    /// As [`Choice::Session`], of destination NAT with exact state.
    ExactSession,
    /// The client is of the server's subnet, and destination NAT leaves it to full NAT.
    Hairpin,
    /// The slot has none.
    NoServer,
}

/// What has the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// A single port of the address.
    Port,
    /// A range of ports of the address, or all of them.
    Range { any_protocol: bool },
    /// A VIP that is a prefix.
    Prefix {
        prefix: VipPrefix,
        any_protocol: bool,
    },
}

/// Whose new flows are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitOf {
    Client,
    Service,
}

/// What becomes of a packet for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Destination NAT to here.
    Dnat(Endpoint),
    /// Full NAT to here, from an address and port of the node's that are chosen at admission.
    Fullnat(Endpoint),
    /// As it is, to the server's link-layer address.
    Dsr,
    Tunnel {
        is_gue: bool,
        from: Address,
        to: Address,
    },
}

// === impl Stop ===

impl From<DropReason> for Stop {
    fn from(reason: DropReason) -> Self {
        Self::Outcome(Outcome::Dropped(reason))
    }
}

impl From<Verdict> for Stop {
    fn from(verdict: Verdict) -> Self {
        Self::Outcome(Outcome::Leaves(verdict))
    }
}

impl From<ReadMapError> for Stop {
    fn from(error: ReadMapError) -> Self {
        Self::Unreadable(error)
    }
}

// === impl Told ===

impl Told {
    pub(super) fn step(&mut self, step: Step) {
        self.steps.push(step);
    }

    pub(super) fn choice(&mut self, choice: Choice) {
        self.step(Step::Choice(choice));
    }

    /// A last step.
    pub(super) fn stop(&mut self, step: Step, why: impl Into<Stop>) -> Stop {
        self.step(step);
        why.into()
    }
}
