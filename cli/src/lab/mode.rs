//! What each forwarding mode owes its user, as the lab checks it: the table of `docs/modes.md` as data. Pure.

use std::fmt;

use serde::Serialize;

use super::frame::Protocol;
use super::topology::{Listening, Segment};

/// A forwarding mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Mode {
    /// Destination NAT.
    #[serde(rename = "l4-dnat")]
    Dnat = 1,
    /// Full NAT.
    #[serde(rename = "l4-fullnat")]
    Fullnat = 2,
    /// Direct server return.
    #[serde(rename = "l4-dsr")]
    Dsr = 3,
    /// IP tunnel.
    #[serde(rename = "l4-tunnel")]
    Tunnel = 4,
    /// Layer-7 reverse proxy.
    #[serde(rename = "l7-reverse")]
    Reverse = 5,
    /// Layer-7 transparent proxy.
    #[serde(rename = "l7-transparent")]
    Transparent = 6,
}

/// Whose address it is, in the notation of the modes' table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// C, the client.
    Client,
    /// V, the service's VIP.
    Vip,
    /// S, a server in the role of the mode's backend.
    Server,
    /// L, a node's own.
    Node,
}

/// What kind of host a frame comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The client.
    Client,
    /// The router.
    Router,
    /// A load-balancer node.
    Node,
    /// A server.
    Server,
}

/// The addresses of a packet, named: source and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Those of the tunnel's header, if there is one.
    pub outer: Option<(Party, Party)>,
    /// Those of the packet, or of the one in the tunnel.
    pub inner: (Party, Party),
}

/// A frame that a mode sends: on which segment, from whom to whom, with which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The segment.
    pub segment: Segment,
    /// The source MAC address's owner.
    pub from: Role,
    /// The destination MAC address's owner.
    pub to: Role,
    /// The addresses.
    pub form: Form,
}

/// How answers come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerPath {
    /// Through a node.
    Node,
    /// From the server's leg to the router.
    Direct,
}

/// The four columns of the modes' table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// From the client, on its link.
    pub client_to_node: &'static str,
    /// To the server, on its link.
    pub node_to_server: &'static str,
    /// From the server, on its link.
    pub server_answer: &'static str,
    /// To the client, on its link.
    pub answer_to_client: &'static str,
}

/// What captures must show of pings, in words: a node answers them in the VIP's name.
pub const PING_COLUMNS: Columns = Columns {
    client_to_node: "C -> V",
    node_to_server: "nothing",
    server_answer: "nothing",
    answer_to_client: "V -> C",
};

/// Every frame that pings of a VIP put on a link, whatever the mode.
pub const PING_STEPS: [Step; 4] = [
    step(Segment::Client, Role::Client, Role::Router, REQUEST),
    step(Segment::Flat, Role::Router, Role::Node, REQUEST),
    step(Segment::Flat, Role::Node, Role::Router, ANSWER),
    step(Segment::Client, Role::Router, Role::Client, ANSWER),
];

const REQUEST: Form = plain(Party::Client, Party::Vip);
const ANSWER: Form = plain(Party::Vip, Party::Client);
const TUNNELLED: Form = Form {
    outer: Some((Party::Node, Party::Server)),
    inner: REQUEST.inner,
};

impl Mode {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Dnat,
        Self::Fullnat,
        Self::Dsr,
        Self::Tunnel,
        Self::Reverse,
        Self::Transparent,
    ];

    /// Whether the XDP programs carry it, which go on without their agent; the layer-7 engine is part of that.
    pub const fn is_packets(self) -> bool {
        match self {
            Self::Dnat | Self::Fullnat | Self::Dsr | Self::Tunnel => true,
            Self::Reverse | Self::Transparent => false,
        }
    }

    /// Whether every node takes its packets. An answer to the address of a client that the engine serves has to come to the node that serves
    /// it, so all go over one; and so it is with `l4-dnat`, where an answer does not tell which of many VIPs it is of.
    pub const fn is_everywhere(self, listening: Listening) -> bool {
        match self {
            Self::Dnat => !listening.is_transparent(),
            Self::Fullnat | Self::Dsr | Self::Tunnel | Self::Reverse => true,
            Self::Transparent => false,
        }
    }

    /// The protocols of its services.
    pub fn protocols(self) -> impl Iterator<Item = Protocol> {
        let carries = move |protocol: &Protocol| self.is_packets() || *protocol == Protocol::Tcp;
        [Protocol::Tcp, Protocol::Udp].into_iter().filter(carries)
    }

    /// The name in documents and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dnat => "l4-dnat",
            Self::Fullnat => "l4-fullnat",
            Self::Dsr => "l4-dsr",
            Self::Tunnel => "l4-tunnel",
            Self::Reverse => "l7-reverse",
            Self::Transparent => "l7-transparent",
        }
    }

    /// The name in tables, where its services may be those of transparent listening.
    pub fn title(self, transparent: bool) -> String {
        let listening = if transparent { " transparent" } else { "" };
        self.name().to_owned() + listening
    }

    /// What captures must show, in words.
    pub const fn columns(self) -> Columns {
        let (node_to_server, server_answer) = match self {
            Self::Dnat | Self::Transparent => ("C -> S", "S -> C, routed through a node"),
            Self::Fullnat | Self::Reverse => ("L -> S", "S -> L"),
            Self::Dsr => ("C -> V (MAC of S)", "V -> C, straight to the client"),
            Self::Tunnel => (
                "outer L -> S, inner C -> V",
                "V -> C, straight to the client",
            ),
        };
        Columns {
            client_to_node: "C -> V",
            node_to_server,
            server_answer,
            answer_to_client: "V -> C",
        }
    }

    /// Every frame that the mode may put on a link; each of them must be seen, and no other.
    pub fn steps(self) -> Vec<Step> {
        let flat = |from, to, form| step(Segment::Flat, from, to, form);
        let mut steps = vec![
            step(Segment::Client, Role::Client, Role::Router, REQUEST),
            flat(Role::Router, Role::Node, REQUEST),
        ];
        steps.extend(match self {
            Self::Dnat | Self::Transparent => vec![
                flat(
                    Role::Node,
                    Role::Server,
                    plain(Party::Client, Party::Server),
                ),
                flat(
                    Role::Server,
                    Role::Node,
                    plain(Party::Server, Party::Client),
                ),
                flat(Role::Node, Role::Router, ANSWER),
            ],
            Self::Fullnat | Self::Reverse => vec![
                flat(Role::Node, Role::Server, plain(Party::Node, Party::Server)),
                flat(Role::Server, Role::Node, plain(Party::Server, Party::Node)),
                flat(Role::Node, Role::Router, ANSWER),
            ],
            Self::Dsr => vec![
                flat(Role::Node, Role::Server, REQUEST),
                flat(Role::Server, Role::Router, ANSWER),
            ],
            Self::Tunnel => vec![
                flat(Role::Node, Role::Router, TUNNELLED),
                step(Segment::Routed, Role::Router, Role::Server, TUNNELLED),
                flat(Role::Server, Role::Router, ANSWER),
            ],
        });
        steps.push(step(Segment::Client, Role::Router, Role::Client, ANSWER));
        steps
    }

    /// How answers come back.
    pub const fn answer_path(self) -> AnswerPath {
        match self {
            Self::Dnat | Self::Fullnat | Self::Reverse | Self::Transparent => AnswerPath::Node,
            Self::Dsr | Self::Tunnel => AnswerPath::Direct,
        }
    }

    /// Whose address the server sees as its client's.
    pub const fn server_sees(self) -> Party {
        match self {
            Self::Fullnat | Self::Reverse => Party::Node,
            Self::Dnat | Self::Dsr | Self::Tunnel | Self::Transparent => Party::Client,
        }
    }

    /// Whose address the server was called by.
    pub const fn server_called(self) -> Party {
        match self {
            Self::Dnat | Self::Fullnat | Self::Reverse | Self::Transparent => Party::Server,
            Self::Dsr | Self::Tunnel => Party::Vip,
        }
    }
}

const fn plain(source: Party, destination: Party) -> Form {
    Form {
        outer: None,
        inner: (source, destination),
    }
}

const fn step(segment: Segment, from: Role, to: Role, form: Form) -> Step {
    Step {
        segment,
        from,
        to,
        form,
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "C",
            Self::Vip => "V",
            Self::Server => "S",
            Self::Node => "L",
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Router => "router",
            Self::Node => "a node",
            Self::Server => "a server",
        })
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, destination) = self.inner;
        match self.outer {
            None => write!(f, "{source} -> {destination}"),
            Some((from, to)) => write!(f, "outer {from} -> {to}, inner {source} -> {destination}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segment = self.segment.device();
        write!(
            f,
            "{} from {} to {} ({segment})",
            self.form, self.from, self.to
        )
    }
}

impl fmt::Display for AnswerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Direct => "direct",
        })
    }
}
