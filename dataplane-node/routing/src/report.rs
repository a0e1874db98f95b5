use std::net::SocketAddr;

use lbfabric_bgp::{DefaultRoute, End, ImportCounts, Negotiated, PerFamily, Prefix, State};

/// A row of the session table.
#[derive(Clone, Debug)]
pub struct NeighborReport {
    /// The neighbor's name.
    pub name: String,
    /// Where its session is.
    pub state: State,
    /// What both sides have agreed on, while there is a session.
    pub negotiated: Option<Negotiated>,
    /// Our end and the neighbor's of the session's connection.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// How the last connection ended, and how many seconds ago.
    pub last_end: Option<(u64, End)>,
    /// Sessions that there have been.
    pub sessions: u64,
    /// Routes that are to be announced.
    pub desired: usize,
    /// Routes that the neighbor has been told of.
    pub sent: usize,
    /// Whether it has been told everything.
    pub is_settled: bool,
    /// Routes that the session cannot carry.
    pub withheld: Vec<Prefix>,
    /// What came of its routes.
    pub imports: ImportCounts,
    /// Its default routes, where they are asked for. A next hop of a link is on the session's.
    pub default_routes: PerFamily<Option<DefaultRoute>>,
    /// Why BFD does not run although it is wanted.
    pub bfd_fault: Option<String>,
}
