//! What nodes ask each other when no controller answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher as _, RandomState},
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use lbfabric_model::{Name, lease::Moment};
use lbfabric_proto::v1::{LeasePeers, PeerAnswer, PeerDatagram, PeerQuestion, peer_datagram};
use prost::Message as _;
use tokio::net::UdpSocket;
use tracing::{debug, warn};

/// Longer ones are none of ours.
const DATAGRAM_BYTES_MAX: usize = 512;
/// Questions whose answers are taken still.
const QUESTIONS_MAX: usize = 8;

/// The socket, and where the others are.
pub(crate) struct Peers {
    node: Name,
    socket: UdpSocket,
    addresses: BTreeMap<Name, SocketAddr>,
    /// The newest questions, with what an answer has to know.
    asked: BTreeMap<Moment, u64>,
}

/// What a datagram says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A node asks whether this one has lost the controllers.
    Asks(PeerQuestion, SocketAddr),
    /// A node has, when asked at that moment.
    Agrees(Name, Moment),
}

// === impl Peers ===

impl Peers {
    /// Opens the socket, in the network namespace of the current thread.
    pub(crate) async fn open(node: Name) -> io::Result<Self> {
        let both = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await;
        let socket = match both {
            Ok(socket) => socket,
            // A kernel without IPv6.
            Err(_) => UdpSocket::bind("0.0.0.0:0").await?,
        };
        // The runtime takes a new socket for full until it has looked: the first question would be lost.
        socket.writable().await?;
        Ok(Self {
            node,
            socket,
            addresses: BTreeMap::new(),
            asked: BTreeMap::new(),
        })
    }

    /// The port at which this node answers.
    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |it| it.port())
    }

    /// Takes note of where nodes are.
    pub(crate) fn learn(&mut self, peers: &LeasePeers) {
        for peer in &peers.peers {
            let name = Name::parse(&peer.node, "peers.node");
            let v4 = <[u8; 4]>::try_from(peer.address.as_slice()).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(peer.address.as_slice()).map(IpAddr::from);
            if let (Ok(name), Ok(address), Ok(port)) = (name, v4.or(v6), u16::try_from(peer.port)) {
                self.addresses.insert(name, SocketAddr::new(address, port));
            }
        }
    }

    /// Asks these nodes.
    pub(crate) fn ask(&mut self, asked: Moment, nodes: &BTreeSet<Name>) {
        // The standard library's hasher is seeded by the operating system.
        let nonce = RandomState::new().hash_one(asked.as_nanos());
        self.asked.insert(asked, nonce);
        while self.asked.len() > QUESTIONS_MAX {
            self.asked.pop_first();
        }
        for node in nodes {
            let Some(address) = self.addresses.get(node) else {
                debug!(%node, "a peer is nowhere to be asked");
                continue;
            };
            let question = peer_datagram::Message::Question(PeerQuestion {
                to: node.to_string(),
                asked_nanos: asked.as_nanos(),
                nonce,
            });
            self.send(question, *address);
        }
    }

    /// Tells a node that this one has lost the controllers too.
    pub(crate) fn agree(&self, question: &PeerQuestion, to: SocketAddr) {
        let answer = peer_datagram::Message::Answer(PeerAnswer {
            node: self.node.to_string(),
            asked_nanos: question.asked_nanos,
            nonce: question.nonce,
        });
        self.send(answer, to);
    }

    /// The next datagram that is of use.
    pub(crate) async fn said(&self) -> Said {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        loop {
            // An error is of a datagram that was sent before, to a node that is not there.
            let Ok((length, from)) = self.socket.recv_from(&mut buffer).await else {
                continue;
            };
            if let Some(said) = self.read(&buffer[..length], from) {
                return said;
            }
        }
    }

    fn read(&self, datagram: &[u8], from: SocketAddr) -> Option<Said> {
        match PeerDatagram::decode(datagram).ok()?.message? {
            peer_datagram::Message::Question(question) => {
                (question.to == self.node.as_str()).then_some(Said::Asks(question, from))
            }
            peer_datagram::Message::Answer(answer) => {
                let asked = Moment::from_nanos(answer.asked_nanos);
                let name = Name::parse(&answer.node, "answer.node").ok()?;
                let is_asked = self.asked.get(&asked) == Some(&answer.nonce);
                is_asked.then_some(Said::Agrees(name, asked))
            }
        }
    }

    fn send(&self, message: peer_datagram::Message, to: SocketAddr) {
        let message = Some(message);
        let datagram = PeerDatagram { message }.encode_to_vec();
        let is_v6 = self.socket.local_addr().is_ok_and(|it| it.is_ipv6());
        let to = match to.ip() {
            IpAddr::V4(v4) if is_v6 => SocketAddr::new(v4.to_ipv6_mapped().into(), to.port()),
            IpAddr::V4(_) | IpAddr::V6(_) => to,
        };
        if let Err(error) = self.socket.try_send_to(&datagram, to) {
            warn!(%to, %error, "a peer could not be told something");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lbfabric_proto::v1::LeasePeer;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text, "name").unwrap()
    }

    fn at(peers: &Peers) -> LeasePeers {
        let peer = LeasePeer {
            node: peers.node.to_string(),
            address: vec![127, 0, 0, 1],
            port: peers.port().into(),
        };
        LeasePeers { peers: vec![peer] }
    }

    #[tokio::test]
    async fn an_answer_counts_from_who_was_asked_alone() {
        let mut asking = Peers::open(name("n1")).await.unwrap();
        let peer = Peers::open(name("n2")).await.unwrap();
        asking.learn(&at(&peer));
        let asked = Moment::default() + Duration::from_secs(1);
        asking.ask(asked, &BTreeSet::from([name("n2"), name("n3")]));
        let Said::Asks(question, from) = peer.said().await else {
            panic!("it was asked");
        };
        // Somebody who has not heard the question.
        let guess = PeerQuestion {
            nonce: question.nonce ^ 1,
            ..question.clone()
        };
        peer.agree(&guess, from);
        peer.agree(&question, from);
        assert_eq!(asking.said().await, Said::Agrees(name("n2"), asked));
    }

    #[tokio::test]
    async fn a_question_to_another_node_is_not_answered() {
        let mut asking = Peers::open(name("n1")).await.unwrap();
        let peer = Peers::open(name("n2")).await.unwrap();
        let mut moved = at(&peer);
        moved.peers[0].node = "n3".to_owned();
        asking.learn(&moved);
        asking.learn(&at(&peer));
        let asked = Moment::default();
        asking.ask(asked, &BTreeSet::from([name("n3")]));
        asking.ask(asked, &BTreeSet::from([name("n2")]));
        let said = peer.said().await;
        assert!(matches!(said, Said::Asks(it, _) if it.to == "n2"));
    }
}
