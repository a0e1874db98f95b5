//! What nodes and controllers say to each other about leases.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use super::{Epoch, Moment};
use crate::Name;

/// A node asks the leader for its lease, every [`Timers::renew_every`](super::Timers::renew_every).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseRequest {
    /// The node.
    pub node: Name,
    /// Another one for each start of the agent.
    pub session: u64,
    /// When it asks, by its own clock. It comes back in the answer.
    pub sent: Moment,
    /// The version of the VIPs that it holds; zero if it holds none.
    pub holds: Epoch,
    /// What it has released. It takes up none of these again.
    pub released: BTreeMap<IpAddr, Release>,
    /// VIPs that it was asked to get ready for, and is.
    pub ready: BTreeSet<IpAddr>,
    /// VIPs that it cannot serve now. It answers for them all the same while it owns them: somebody else may not be able to either.
    pub unfit: Arc<BTreeMap<IpAddr, Unfit>>,
}

/// Why a node cannot serve a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unfit {
    /// It has refused a service that has the VIP.
    Refused,
    /// It finds fewer servers healthy than a service wants that has the VIP.
    FewServers,
    /// A reason that this version does not know.
    Other,
}

/// Names an assignment that its owner has to give up, or has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// The assignment.
    pub epoch: Epoch,
    /// The question. An answer to another one proves nothing.
    pub asked: Ordinal,
}

/// Counts what leaders say: the term, and the leader's own count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal {
    /// The leader's term.
    pub term: u64,
    /// Within the term.
    pub number: u64,
}

/// The leader's answer. It may come more than once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// A node takes none that is older than what it has taken.
    pub ordinal: Ordinal,
    /// The request's.
    pub session: u64,
    /// The request's.
    pub sent: Moment,
    /// How long the node may answer, from `sent` on.
    pub valid: Duration,
    /// The version of the node's VIPs that this is for.
    pub version: Epoch,
    /// What they are, unless the node holds this version.
    pub vips: Option<Granted>,
    /// The controllers that decide: a majority of them knows whether there is a leader.
    pub controllers: BTreeSet<u64>,
    /// To be given up at once, and to be told so.
    pub release: BTreeMap<IpAddr, Release>,
    /// To get ready for.
    pub warm: BTreeSet<IpAddr>,
}

/// A node's VIPs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Granted {
    /// All of them.
    pub vips: BTreeMap<IpAddr, Epoch>,
    /// All that have to agree if the node is to hold them without controllers.
    pub peers: BTreeSet<Name>,
}

/// What a controller tells a leader that asks whether it still leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WitnessReport {
    /// For how long the controller has been up. It may have told anybody anything before.
    pub up_for: Duration,
    /// The nodes that it has told that there is no leader, and how long ago it did last.
    pub told: BTreeMap<Name, Duration>,
}

/// A round of questions to controllers that is over: a majority, the leader with it, has answered, and followed it at that time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// When it began.
    pub started: Moment,
    /// What they said. The leader's own report is among them.
    pub reports: Vec<WitnessReport>,
}

// === impl Unfit ===

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "it has refused a service of this VIP",
            Self::FewServers => "it finds too few servers healthy",
            Self::Other => "for a reason that only later versions know",
        })
    }
}
