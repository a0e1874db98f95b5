use std::{collections::BTreeMap, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use lbfabric_lease::LeaseThread;
use lbfabric_proto::{
    internal::v1::peer_service_server::PeerServiceServer,
    v1::{
        FILE_DESCRIPTOR_SET, fabric_service_server::FabricServiceServer,
        node_service_server::NodeServiceServer, speaker_service_server::SpeakerServiceServer,
        vip_service_server::VipServiceServer,
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Router};
use tracing::{error, info, warn};

use crate::{
    cluster::Cluster,
    compiler,
    fabric_service::FabricServer,
    founder, health,
    lease::{self, LeaseDesk},
    node_registry::NodeRegistry,
    node_service::NodeServer,
    peer_channel::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_PEER_MESSAGE_BYTES},
    peer_service::PeerServer,
    raft::{RaftConfig, RaftNode, StartRaftError},
    speaker::SpeakerServer,
    ticket_keeper,
    vip_service::VipServer,
};

/// The largest request of the API: a whole fabric at its limits.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;
/// The largest message of a node: a `Hello` or a report about every object.
const MAX_NODE_MESSAGE_BYTES: usize = 32 * 1024 * 1024;
/// How long open calls may take to end when the member stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What a controller member is started with.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// This member's id, one of `members`.
    pub id: u64,
    /// The folder that its state is kept in.
    pub data_dir: PathBuf,
    /// The address that everything is served on.
    pub listen: SocketAddr,
    /// Every member of the cluster, this one included, as `host:port`; the same at every member.
    pub members: BTreeMap<u64, String>,
    /// Allows to listen on more than the loopback without encryption.
    pub plaintext: bool,
}

/// What is rarely changed.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Log entries after which a snapshot is written, at least 1.
    pub snapshot_every: u64,
}

/// A running controller member. Dropping it ends it as a crash would; [`Self::stop`] is the polite way.
pub struct Controller {
    address: SocketAddr,
    raft: Arc<RaftNode>,
    stopping: CancellationToken,
    finished: watch::Receiver<Option<Finished>>,
    server: JoinHandle<()>,
    /// Ends by itself with the member's part in the consensus, at the latest when this is dropped.
    leases: Option<LeaseThread>,
}

/// How a member ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It was asked to.
    Stopped,
    /// It cannot take part any more; for example its disk is full.
    Failed(String),
}

/// Why a member did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The list of members lacks this one.
    #[error("member {id} is not in the list of members: give every member the same complete list")]
    NotAMember {
        /// This member.
        id: u64,
    },
    /// A member's address is unusable.
    #[error("a member's address is not of the form host:port")]
    MemberAddress(#[source] tonic::transport::Error),
    /// Unencrypted on a network.
    #[error(
        "refusing to serve on {0} without encryption: listen on a loopback address, or allow plain text explicitly"
    )]
    Plaintext(SocketAddr),
    /// The address is taken or not there.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Consensus.
    #[error("cannot take part in the cluster")]
    Raft(#[from] StartRaftError),
    /// The thread for leases.
    #[error("cannot start a thread for leases")]
    Leases(#[source] io::Error),
    /// The API's own description.
    #[error("cannot serve the API's description")]
    Reflection(#[source] tonic_reflection::server::Error),
}

// === impl Tuning ===

impl Default for Tuning {
    fn default() -> Self {
        Self {
            snapshot_every: 4_096,
        }
    }
}

// === impl Controller ===

impl Controller {
    /// Starts a member; it serves when this returns, though it may not know a leader yet.
    pub async fn start(config: ControllerConfig) -> Result<Self, StartError> {
        Self::start_tuned(config, Tuning::default()).await
    }

    /// [`Self::start`], with more to choose.
    pub async fn start_tuned(config: ControllerConfig, tuning: Tuning) -> Result<Self, StartError> {
        let ControllerConfig {
            id,
            data_dir,
            listen,
            members,
            plaintext,
        } = config;
        if !members.contains_key(&id) {
            return Err(StartError::NotAMember { id });
        }
        if !listen.ip().is_loopback() && !plaintext {
            return Err(StartError::Plaintext(listen));
        }
        let listen_failed = |source| StartError::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;
        let raft = RaftNode::start(RaftConfig {
            id,
            members: members.clone(),
            data_dir,
            snapshot_every: tuning.snapshot_every.max(1),
        })
        .await?;
        let raft = Arc::new(raft);
        let cluster = Cluster::new(id, &members, raft.clone())
            .map(Arc::new)
            .map_err(StartError::MemberAddress)?;
        let stopping = CancellationToken::new();
        let (desk, inbox) = LeaseDesk::new();
        let router = services(&cluster, &desk, &stopping)?;
        tokio::spawn(founder::found(id, cluster.clone()));
        tokio::spawn(ticket_keeper::keep(id, cluster));

        let (finish, finished) = watch::channel(None);
        let (acceptor, calls, connections) = lease::Acceptor::new(listener);
        let leases = lease::start(id, members, raft.clone(), inbox, connections);
        let leases = leases.map_err(StartError::Leases)?;
        tokio::spawn(acceptor.run());
        let server = tokio::spawn(serve(router, calls, stopping.clone()));
        tokio::spawn(supervise(raft.clone(), stopping.clone(), finish));
        info!(member = id, %address, "listening");
        Ok(Self {
            address,
            raft,
            stopping,
            finished,
            server,
            leases: Some(leases),
        })
    }

    /// The address that is served on, with the port that was assigned if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hands the lead over, ends open calls and closes the state on disk.
    pub async fn stop(mut self) {
        self.raft.hand_over().await;
        self.stopping.cancel();
        // Its thread waits for nothing.
        drop(self.leases.take());
        self.raft.stop().await;
        if let Err(e) = (&mut self.server).await {
            warn!(error = %e, "the server did not end cleanly");
        }
    }

    /// Waits until the member has ended by itself.
    pub async fn finished(&self) -> Finished {
        let mut finished = self.finished.clone();
        let end = finished.wait_for(Option::is_some).await;
        end.ok()
            .and_then(|end| end.clone())
            .unwrap_or(Finished::Stopped)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

fn services(
    cluster: &Arc<Cluster>,
    desk: &LeaseDesk,
    stopping: &CancellationToken,
) -> Result<Router, StartError> {
    let registry = Arc::new(NodeRegistry::default());
    let raft = cluster.raft();
    let fabric = FabricServiceServer::new(FabricServer {
        cluster: cluster.clone(),
        registry: registry.clone(),
        stopping: stopping.clone(),
    });
    let speakers = SpeakerServiceServer::new(SpeakerServer {
        cluster: cluster.clone(),
        registry: registry.clone(),
    });
    let nodes = NodeServiceServer::new(NodeServer {
        registry: registry.clone(),
        compiled: compiler::follow(raft.published()),
        view: raft.view(),
        stopping: stopping.clone(),
    });
    let peers = PeerServiceServer::new(PeerServer {
        stopping: stopping.clone(),
        cluster: cluster.clone(),
        registry,
        desk: desk.clone(),
    });
    let vips = VipServiceServer::new(VipServer {
        cluster: cluster.clone(),
        desk: desk.clone(),
    });
    let (reporter, health_service) = tonic_health::server::health_reporter();
    tokio::spawn(health::follow(reporter, raft.view(), raft.published()));
    let describe = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
    };
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(health_service)
        .add_service(describe().build_v1().map_err(StartError::Reflection)?)
        .add_service(describe().build_v1alpha().map_err(StartError::Reflection)?)
        .add_service(fabric.max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(vips)
        .add_service(speakers)
        .add_service(nodes.max_decoding_message_size(MAX_NODE_MESSAGE_BYTES))
        .add_service(
            peers
                .max_decoding_message_size(MAX_PEER_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_PEER_MESSAGE_BYTES),
        );
    Ok(router)
}

/// Serves until asked to stop, and then for as long as open calls need, within limits.
async fn serve(
    router: Router,
    calls: ReceiverStream<io::Result<TcpStream>>,
    stopping: CancellationToken,
) {
    let serving = router.serve_with_incoming_shutdown(calls, stopping.cancelled());
    let overdue = async {
        stopping.cancelled().await;
        time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        result = serving => {
            if let Err(e) = result {
                error!(error = %e, "serving failed");
            }
        }
        () = overdue => warn!("open calls were cut off"),
    }
}

/// Waits for the end of the member's part in the consensus, and says why.
async fn supervise(
    raft: Arc<RaftNode>,
    stopping: CancellationToken,
    finish: watch::Sender<Option<Finished>>,
) {
    let mut view = raft.view();
    drop(raft);
    let failure = match view.wait_for(|view| view.failure.is_some()).await {
        Ok(view) => view.failure.clone(),
        Err(_) => None,
    };
    let end = match failure {
        Some(failure) if !stopping.is_cancelled() => Finished::Failed(failure),
        Some(_) | None => Finished::Stopped,
    };
    stopping.cancel();
    finish.send_replace(Some(end));
}
