//! What the reference remembers of full NAT's flows.

use std::{collections::HashMap, net::SocketAddr};

/// Source, destination and protocol.
pub(crate) type Ends = (SocketAddr, SocketAddr, u8);

/// A quarter of the tests' full-NAT tables: of flows that have not spoken for so many packets nothing is certain.
const RECENT: u64 = 1000;

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
    is_answered: bool,
    /// The client has gone on after an answer: no other flow may have its place.
    is_confirmed: bool,
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
        is_syn: bool,
    ) {
        self.packets += 1;
        if let Some(known) = self.by_client.get_mut(&flow) {
            if (known.node, known.server) == (node, server) {
                known.is_confirmed |= known.is_answered && !is_syn;
                known.last = self.packets;
                return;
            }
            self.forget(&flow);
        }
        let known = Known {
            node,
            server,
            last: self.packets,
            is_answered: false,
            is_confirmed: false,
        };
        let answers = (server, node, flow.2);
        if let Some(before) = self.by_server.get(&answers).copied() {
            self.forget(&before);
        }
        self.by_server.insert(answers, flow);
        self.by_client.insert(flow, known);
    }

    /// A server's packet went to its client.
    pub(crate) fn answered(&mut self, answer: &Ends) {
        if let Some(flow) = self.by_server.get(answer)
            && let Some(known) = self.by_client.get_mut(flow)
        {
            known.is_answered = true;
            known.last = self.packets;
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
        self.packets - known.last < RECENT
    }

    fn is_certain(&self, known: &Known) -> bool {
        known.is_confirmed && self.is_recent(known)
    }
}
