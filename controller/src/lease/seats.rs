use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use lbfabric_model::Name;
use lbfabric_proto::v1::{LeasePeer, LeasePeers, RenewResponse, renew_response::Message};
use tokio::sync::mpsc;

use super::keeper::NodeKey;

/// The nodes whose streams end here.
#[derive(Default)]
pub(crate) struct Seats(BTreeMap<Name, (u64, Seat)>);

/// A node's stream.
pub(crate) struct Seat {
    pub(crate) answers: mpsc::Sender<RenewResponse>,
    /// Where other nodes can ask it.
    pub(crate) address: Option<(IpAddr, u16)>,
}

// === impl Seats ===

impl Seats {
    /// A node has come. It is told where the others are, and they are told of it.
    pub(crate) fn take(&mut self, key: NodeKey, seat: Seat) {
        let others = self.0.iter();
        let peers = others.filter_map(|(name, (_, seat))| seat.peer(name));
        let peers = peers.collect();
        seat.say(Message::Peers(LeasePeers { peers }));
        if let Some(peer) = seat.peer(&key.node) {
            let peers = Message::Peers(LeasePeers { peers: vec![peer] });
            // Who has no room for it is told all when it comes again.
            self.0.retain(|_, (_, it)| it.say(peers.clone()));
        }
        self.0.insert(key.node, (key.stream, seat));
    }

    /// A stream has ended. The node may have another one by now.
    pub(crate) fn leave(&mut self, key: &NodeKey) {
        if self.0.get(&key.node).is_some_and(|it| it.0 == key.stream) {
            self.0.remove(&key.node);
        }
    }

    /// Tells a node something. Without room it has answers that it has not read, and asks again.
    pub(crate) fn say(&self, node: &Name, message: Message) {
        if let Some((_, seat)) = self.0.get(node) {
            seat.say(message);
        }
    }

    /// Tells all nodes something that they have to know.
    pub(crate) fn say_all(&mut self, message: &Message) {
        self.0.retain(|_, (_, it)| it.say(message.clone()));
    }

    /// Answers on the stream that a question came over.
    pub(crate) fn answer(&self, key: &NodeKey, message: Message) {
        if self.0.get(&key.node).is_some_and(|it| it.0 == key.stream) {
            self.say(&key.node, message);
        }
    }
}

// === impl Seat ===

impl Seat {
    /// False if there is no room for it.
    pub(crate) fn say(&self, message: Message) -> bool {
        let message = Some(message);
        self.answers.try_send(RenewResponse { message }).is_ok()
    }

    fn peer(&self, name: &Name) -> Option<LeasePeer> {
        let (address, port) = self.address?;
        let address = match SocketAddr::new(address, port).ip() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        Some(LeasePeer {
            node: name.to_string(),
            address,
            port: port.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(node: &str, stream: u64) -> NodeKey {
        let node = Name::parse(node, "name").unwrap();
        NodeKey { node, stream }
    }

    fn seat(port: u16) -> (Seat, mpsc::Receiver<RenewResponse>) {
        let (answers, told) = mpsc::channel(2);
        let address = Some((IpAddr::from([192, 0, 2, 1]), port));
        (Seat { answers, address }, told)
    }

    fn peers(told: &mut mpsc::Receiver<RenewResponse>) -> Vec<(String, u32)> {
        let Ok(RenewResponse {
            message: Some(Message::Peers(peers)),
        }) = told.try_recv()
        else {
            panic!("it was told of others");
        };
        let peers = peers.peers.into_iter();
        peers.map(|it| (it.node, it.port)).collect()
    }

    #[test]
    fn each_node_knows_where_the_others_are() {
        let mut seats = Seats::default();
        let (first, mut first_told) = seat(1);
        let (second, mut second_told) = seat(2);
        seats.take(key("n1", 1), first);
        assert_eq!(peers(&mut first_told), []);
        seats.take(key("n2", 2), second);
        assert_eq!(peers(&mut second_told), [("n1".to_owned(), 1)]);
        assert_eq!(peers(&mut first_told), [("n2".to_owned(), 2)]);
        // Its old stream ends after the new one has begun.
        let (again, mut again_told) = seat(3);
        seats.take(key("n1", 3), again);
        seats.leave(&key("n1", 1));
        assert_eq!(peers(&mut again_told).len(), 2);
        assert_eq!(peers(&mut second_told), [("n1".to_owned(), 3)]);
        seats.answer(&key("n1", 1), Message::Peers(LeasePeers::default()));
        assert!(again_told.try_recv().is_err(), "of the old stream");
    }

    #[test]
    fn who_does_not_read_loses_its_seat() {
        let mut seats = Seats::default();
        let (first, mut told) = seat(1);
        seats.take(key("n1", 1), first);
        for stream in 2..5 {
            seats.take(key("n2", stream), seat(2).0);
        }
        assert_eq!(seats.0.len(), 1);
        while told.try_recv().is_ok() {}
        assert!(told.is_closed());
    }
}
