//! A controller member: one replica of the fabric's state, the API over it, and the streams of the nodes that are
//! connected to it.
//!
//! ```text
//!  operators ──► FabricService ─┐                         ┌─► LogStore, SnapshotDir (disk)
//!  members ────► PeerService ───┼─► Cluster ─► RaftNode ──┤
//!                               │                         └─► StateMachine ─ published (watch)
//!  nodes ◄─────► NodeService ◄──┼───── CompiledFabric ◄── compiler ◄─────────┘   │
//!                     │         └───── Watcher ◄─────────────────────────────────┘
//!                     └─► NodeRegistry (soft state: who is connected here, and what they report)
//! ```

mod cluster;
mod compiler;
mod controller;
mod deadline;
mod explain;
mod fabric_service;
mod founder;
mod health;
mod hello;
mod lease;
mod logs;
mod node_registry;
mod node_service;
mod node_status;
mod node_stream;
mod peer_channel;
mod peer_service;
mod questions;
mod raft;
mod speaker;
mod status;
mod ticket_keeper;
mod vip_service;
mod watcher;

pub use controller::{Controller, ControllerConfig, Finished, StartError, Tuning};
pub use raft::{OpenDataDirError, StartRaftError};
