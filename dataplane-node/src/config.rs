use std::{net::SocketAddr, path::PathBuf, time::Duration};

use lbfabric_abi::{
    FLOW_BUCKETS_DEFAULT, FLOW_WAYS, NAT_FLOWS_DEFAULT, RING_SLOTS_DEFAULT, SESSION_WAYS,
    SessionWord,
};
pub use lbfabric_model::Role;

/// Where agents have their folders with pins, unless told otherwise.
pub(crate) const PIN_BASE: &str = "/sys/fs/bpf/lbfabric";

/// How the XDP program is to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpModeChoice {
    /// In the driver, or in the generic receive path where the driver refuses.
    #[default]
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the generic receive path.
    Generic,
}

/// What an agent is told when it starts.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The node's name in the fabric.
    pub name: String,
    /// What the node does.
    pub role: Role,
    /// The interfaces that carry the program; the addresses of the first one come first.
    pub interfaces: Vec<String>,
    /// The controller's members as `HOST:PORT`, tried in turn.
    pub controllers: Vec<String>,
    /// A folder on a BPF file system for pinned maps and links, of this node alone.
    pub pin_dir: PathBuf,
    /// A folder for what must outlive the agent, of this node alone.
    pub state_dir: PathBuf,
    /// How the program is attached.
    pub xdp_mode: XdpModeChoice,
    /// Whether a load balancer's program goes on forwarding after [`crate::NodeAgent::stop`]. A server takes everything away
    /// in any case.
    pub keep_on_exit: bool,
    /// Slots for the rings of all pools, 8 bytes each; counts when the maps are made.
    pub ring_slots: u32,
    /// Flows that the table of those that changes of a pool have left elsewhere has room for, 8 bytes each, rounded up to a
    /// power of two; counts when the maps are made.
    pub flows: u32,
    /// Flows of full NAT, 80 bytes each, rounded up to a power of two; one of destination NAT with exact state counts twice. Counts
    /// when the maps are made.
    pub nat_flows: u32,
    /// Whether an agent that runs with the same state folder is to hand over, instead of being in the way.
    pub take_over: bool,
    /// How long layer-7 connections may go on, each until its next answer, once another agent has taken over.
    pub hand_over_time: Duration,
    /// Where metrics and health are told over HTTP, to everybody who can reach it; none: nowhere.
    pub metrics_address: Option<SocketAddr>,
    /// Where the access log of layer-7 services goes, besides to who asks a controller for it.
    pub access_log: AccessLogTarget,
    /// Where spans of traced requests go; none: nowhere.
    pub trace_collector: Option<TraceCollector>,
}

/// A collector of traces, which is spoken to in OTLP over gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceCollector {
    /// `http://HOST:PORT`.
    pub url: String,
    /// `service.name`, by which collectors tell whose spans they are.
    pub service_name: String,
}

/// Where an access log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Nowhere.
    #[default]
    None,
    /// The standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

/// [`FLOW_WAYS`] and [`SESSION_WAYS`].
const WAYS: u32 = 8;
const _: () = assert!(WAYS as usize == FLOW_WAYS && WAYS as usize == SESSION_WAYS);

impl NodeConfig {
    /// A configuration with every default, without interfaces and controllers.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        let name = name.into();
        Self {
            pin_dir: PathBuf::from(PIN_BASE).join(&name),
            state_dir: PathBuf::from("/var/lib/lbfabric").join(&name),
            name,
            role,
            interfaces: Vec::new(),
            controllers: Vec::new(),
            xdp_mode: XdpModeChoice::Auto,
            keep_on_exit: true,
            ring_slots: RING_SLOTS_DEFAULT,
            flows: FLOW_BUCKETS_DEFAULT * WAYS,
            nat_flows: NAT_FLOWS_DEFAULT,
            take_over: false,
            hand_over_time: Duration::from_mins(1),
            metrics_address: None,
            access_log: AccessLogTarget::None,
            trace_collector: None,
        }
    }

    /// The lines of full NAT's sessions: a power of two, at most 2^21.
    pub(crate) fn session_lines(&self) -> u32 {
        const MAX: u32 = SessionWord::SESSIONS_MAX / WAYS;
        self.nat_flows
            .div_ceil(WAYS)
            .clamp(1, MAX)
            .next_power_of_two()
    }

    /// The buckets of the flow table: a power of two, at most 2^24.
    pub(crate) fn flow_buckets(&self) -> u32 {
        const MAX: u32 = 1 << 24;
        self.flows.div_ceil(WAYS).clamp(1, MAX).next_power_of_two()
    }
}
