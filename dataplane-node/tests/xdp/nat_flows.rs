//! What the reference remembers of full NAT's flows.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use lbfabric_abi::SESSION_IDLE_RESET_SECS;

/// Source, destination and protocol.
pub(crate) type Ends = (SocketAddr, SocketAddr, u8);

/// A quarter of the tests' full-NAT tables: of flows that have not spoken for so many packets nothing is certain.
const RECENT: u64 = 1000;
/// Half of the shortest time that a session may be silent for, that of one whose last packet was a reset: a run that waits for the
/// processor for longer than that finds it expired.
const RECENT_TIME: Duration = Duration::from_secs(SESSION_IDLE_RESET_SECS as u64 / 2);

/// Of TCP's flags, RFC 9293 section 3.1.
const FIN: u8 = 1;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;

/// The flows by both of their ends.
#[derive(Default)]
pub(crate) struct NatFlows {
    by_client: HashMap<Ends, Known>,
    /// The client's ends, by the server's.
    by_server: HashMap<Ends, Ends>,
    packets: u64,
    /// How many flows have lost their place to others while nobody had confirmed them.
    pub(crate) lost: u64,
}

struct Known {
    node: SocketAddr,
    server: SocketAddr,
    /// Which of all packets was its last.
    last: u64,
    /// When that was.
    last_at: Instant,
    /// The FIN that either side has sent, and the RST of the last packet: a SYN behind them begins another connection, which nobody
    /// has confirmed.
    closing: u8,
    is_answered: bool,
    /// The client has gone on after an answer: no other flow may have its place.
    is_confirmed: bool,
}

// === impl Known ===

impl Known {
    fn new(node: SocketAddr, server: SocketAddr, last: u64) -> Self {
        Self {
            node,
            server,
            last,
            last_at: Instant::now(),
            closing: 0,
            is_answered: false,
            is_confirmed: false,
        }
    }

    /// A packet of either side has gone on, with these of TCP's flags.
    fn note(&mut self, packets: u64, flags: u8) {
        (self.last, self.last_at) = (packets, Instant::now());
        self.closing = self.closing & FIN | flags & (FIN | RST);
    }
}

// === impl NatFlows ===

impl NatFlows {
    /// Whether a new flow may find no place: the tables are as full as they get.
    pub(crate) fn is_crowded(&self) -> bool {
        self.packets > RECENT
    }

    /// The node's end of a client's flow, if it is certain.
    pub(crate) fn node(&self, flow: &Ends) -> Option<SocketAddr> {
        let known = self.by_client.get(flow)?;
        self.is_certain(known).then_some(known.node)
    }

    /// The client's end and the VIP of what a server answers, and whether that is certain.
    pub(crate) fn client(&self, answer: &Ends) -> Option<(SocketAddr, SocketAddr, bool)> {
        let flow = self.by_server.get(answer)?;
        let is_certain = self.is_certain(&self.by_client[flow]);
        Some((flow.0, flow.1, is_certain))
    }

    /// A client's packet went to a server through an end of the node.
    pub(crate) fn forwarded(
        &mut self,
        flow: Ends,
        node: SocketAddr,
        server: SocketAddr,
        flags: u8,
    ) {
        self.packets += 1;
        if let Some(known) = self.by_client.get_mut(&flow) {
            if (known.node, known.server) == (node, server) {
                let is_syn = flags & SYN != 0;
                if is_syn && known.closing != 0 {
                    *known = Known::new(node, server, self.packets);
                }
                known.is_confirmed |= known.is_answered && !is_syn;
                known.note(self.packets, flags);
                return;
            }
            self.forget(&flow);
        }
        let mut known = Known::new(node, server, self.packets);
        known.note(self.packets, flags);
        let answers = (server, node, flow.2);
        if let Some(before) = self.by_server.get(&answers).copied() {
            self.forget(&before);
        }
        self.by_server.insert(answers, flow);
        self.by_client.insert(flow, known);
    }

    /// A server's packet went to its client.
    pub(crate) fn answered(&mut self, answer: &Ends, flags: u8) {
        if let Some(flow) = self.by_server.get(answer)
            && let Some(known) = self.by_client.get_mut(flow)
        {
            known.is_answered = true;
            known.note(self.packets, flags);
        }
    }

    /// A server's packet found no flow.
    pub(crate) fn passed(&mut self, answer: &Ends) {
        if let Some(flow) = self.by_server.get(answer).copied() {
            self.forget(&flow);
        }
    }

    fn forget(&mut self, flow: &Ends) {
        if let Some(known) = self.by_client.remove(flow) {
            assert!(!self.is_certain(&known), "{flow:?} has lost its place");
            self.by_server.remove(&(known.server, known.node, flow.2));
            self.lost += u64::from(self.is_recent(&known));
        }
    }

    fn is_recent(&self, known: &Known) -> bool {
        self.packets - known.last < RECENT && known.last_at.elapsed() < RECENT_TIME
    }

    fn is_certain(&self, known: &Known) -> bool {
        known.is_confirmed && self.is_recent(known)
    }
}
