//! This member's part in leases, on a thread of its own.
//!
//! ```text
//!                 Acceptor: connections that begin with the greeting
//!                                   │
//!  nodes ◄── LeaseService ──────────┼──► events ──► Keeper: Witness; Leader while this member leads ──► propose ──► log
//!  members ◄─ WitnessService ───────┘      ▲                                                                         │
//!  members ── answers to its rounds ───────┘ └──────────────────── published (watch) ◄──────────────────────────────┘
//! ```
//!
//! Only assignments go through the log. Renewals and rounds are kept in memory and go over connections of their own, which carry nothing else.

mod acceptor;
mod keeper;
mod peer;
mod rounds;
mod seats;
mod service;

use std::{collections::BTreeMap, io, sync::Arc};

use lbfabric_lease::LeaseThread;
use lbfabric_model::lease::LeaderView;
use lbfabric_proto::{
    internal::v1::witness_service_server::WitnessServiceServer,
    v1::lease_service_server::LeaseServiceServer,
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tracing::error;

use self::{
    keeper::{Event, Keeper},
    service::LeaseServer,
};
use crate::{
    peer_channel::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT},
    raft::RaftNode,
};

pub(crate) use acceptor::Acceptor;

/// Events that wait for the keeper.
const EVENTS_MAX: usize = 1_024;

/// A connection that has not found its thread yet.
pub(crate) type LeaseConnections = mpsc::Receiver<std::net::TcpStream>;

/// Asks the keeper.
#[derive(Clone)]
pub(crate) struct LeaseDesk(mpsc::Sender<Event>);

/// What the keeper is to be started with.
pub(crate) struct Inbox {
    events: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
}

// === impl LeaseDesk ===

impl LeaseDesk {
    /// One, and what answers it as soon as it is started.
    pub(crate) fn new() -> (Self, Inbox) {
        let (events, inbox) = mpsc::channel(EVENTS_MAX);
        (Self(events.clone()), Inbox { events, inbox })
    }

    /// How everything is, if this member decides about leases.
    pub(crate) async fn view(&self) -> Option<LeaderView> {
        let (reply, told) = oneshot::channel();
        self.0.send(Event::View(reply)).await.ok()?;
        told.await.ok()?
    }
}

/// Starts the thread.
pub(crate) fn start(
    id: u64,
    members: BTreeMap<u64, String>,
    raft: Arc<RaftNode>,
    inbox: Inbox,
    connections: LeaseConnections,
) -> io::Result<LeaseThread> {
    LeaseThread::start(move |stop| run(id, members, raft, inbox, connections, stop))
}

async fn run(
    id: u64,
    members: BTreeMap<u64, String>,
    raft: Arc<RaftNode>,
    inbox: Inbox,
    connections: LeaseConnections,
    stop: CancellationToken,
) {
    let Inbox { events, inbox } = inbox;
    let mut tasks = JoinSet::new();
    for (member, address) in members.iter().filter(|(member, _)| **member != id) {
        tasks.spawn(peer::follow(*member, address.clone(), events.clone()));
    }
    tasks.spawn(serve(connections, LeaseServer::new(events.clone())));
    let keeper = Keeper::new(id, raft, events);
    tokio::select! {
        () = keeper.run(inbox) => {}
        () = stop.cancelled() => {}
    }
}

async fn serve(connections: LeaseConnections, server: LeaseServer) {
    let incoming = ReceiverStream::new(connections).map(TcpStream::from_std);
    let end = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(LeaseServiceServer::new(server.clone()))
        .add_service(WitnessServiceServer::new(server))
        .serve_with_incoming(incoming)
        .await;
    if let Err(e) = end {
        error!(error = %e, "serving leases failed");
    }
}
