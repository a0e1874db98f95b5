//! Controller members as processes of the built binary, and what the tests apply to them.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use lbfabric_proto::v1::{
    self, fabric_service_client::FabricServiceClient, node_service_client::NodeServiceClient,
};
use nix::{sys::signal::Signal, unistd::Pid};
use tempfile::TempDir;
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

/// How long a test waits for a state: also where a build has just left the disk much to write, which every `fsync` then waits for.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// The members of one cluster; killed when dropped.
pub(crate) struct Members {
    addresses: BTreeMap<u64, SocketAddr>,
    running: BTreeMap<u64, Child>,
    folder: TempDir,
    snapshot_every: u64,
}

impl Members {
    /// Starts `count` members.
    pub(crate) fn start(count: u64) -> Self {
        Self::start_with(count, 4_096)
    }

    /// Starts `count` members that write a snapshot after so many log entries.
    pub(crate) fn start_with(count: u64, snapshot_every: u64) -> Self {
        let addresses = (1..=count).map(|id| (id, free_address())).collect();
        let mut members = Self {
            addresses,
            running: BTreeMap::new(),
            folder: tempfile::tempdir().unwrap(),
            snapshot_every,
        };
        for id in 1..=count {
            members.run(id);
        }
        members
    }

    /// Waits until every member has caught up: one that never has does not vote.
    pub(crate) async fn all_ready(&self) {
        for id in self.ids() {
            self.ready(id).await;
        }
    }

    /// The command that runs a member.
    pub(crate) fn command(&self, id: u64) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lbfabric-controller"));
        command
            .args(["--id", &id.to_string()])
            .arg("--data-dir")
            .arg(self.data_dir(id))
            .args(["--listen", &self.addresses[&id].to_string()])
            .args(["--snapshot-every", &self.snapshot_every.to_string()])
            .args(["--log", "warn,openraft=off"])
            .stdin(Stdio::null());
        for (id, address) in &self.addresses {
            command.args(["--member", &format!("{id}={address}")]);
        }
        command
    }

    /// Starts a member that is not running.
    pub(crate) fn run(&mut self, id: u64) {
        let child = self.command(id).spawn().unwrap();
        assert!(self.running.insert(id, child).is_none());
    }

    /// Kills a member with SIGKILL.
    pub(crate) fn kill(&mut self, id: u64) {
        let mut child = self.running.remove(&id).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends a running member a signal.
    pub(crate) fn signal(&self, id: u64, signal: Signal) {
        let pid = i32::try_from(self.running[&id].id()).unwrap();
        nix::sys::signal::kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Stops a member with SIGTERM and says how it ended.
    pub(crate) fn stop(&mut self, id: u64) -> ExitStatus {
        self.signal(id, Signal::SIGTERM);
        let mut child = self.running.remove(&id).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("member {id} did not stop");
            }
            std::thread::yield_now();
        }
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.addresses.keys().copied().collect()
    }

    pub(crate) fn data_dir(&self, id: u64) -> PathBuf {
        self.folder.path().join(id.to_string())
    }

    pub(crate) fn address(&self, id: u64) -> String {
        self.addresses[&id].to_string()
    }

    pub(crate) fn channel(&self, id: u64) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.addresses[&id]))
            .unwrap()
            .connect_lazy()
    }

    pub(crate) fn fabric(&self, id: u64) -> FabricServiceClient<Channel> {
        FabricServiceClient::new(self.channel(id))
    }

    pub(crate) fn nodes(&self, id: u64) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel(id))
    }

    /// Waits until a member answers a linearizable read.
    pub(crate) async fn ready(&self, id: u64) {
        let mut fabric = self.fabric(id);
        eventually("a member to answer", async || {
            fabric.list(timed(v1::ListRequest::default())).await.ok()
        })
        .await;
    }

    /// Waits until a member reports that it serves: a leader and the fabric's first state are there.
    pub(crate) async fn serving(&self, id: u64) {
        use tonic_health::pb::{
            HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
        };
        let mut health = HealthClient::new(self.channel(id));
        eventually("a member to serve", async || {
            let request = HealthCheckRequest {
                service: "lbfabric.v1.FabricService".to_owned(),
            };
            let status = health.check(request).await.ok()?.into_inner().status();
            (status == ServingStatus::Serving).then_some(())
        })
        .await;
    }

    /// The member that leads: the only one that takes a proposal from its peers.
    pub(crate) async fn leader(&self) -> u64 {
        use lbfabric_proto::internal::v1::{
            ReadIndexRequest, peer_service_client::PeerServiceClient, read_index_response::Outcome,
        };
        eventually("a leader", async || {
            for id in self.running.keys() {
                let mut peer = PeerServiceClient::new(self.channel(*id));
                if let Ok(response) = peer.read_index(ReadIndexRequest {}).await
                    && let Some(Outcome::Index(_)) = response.into_inner().outcome
                {
                    return Some(*id);
                }
            }
            None
        })
        .await
    }
}

/// An address that nobody listens at. No other test of this process gets it, and no connection does: the kernel takes the
/// ports of those from 32768 on.
fn free_address() -> SocketAddr {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Test processes that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(997);
    loop {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(taken) % COUNT;
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A request with the deadline that scripts would use.
pub(crate) fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(10));
    request
}

/// Tries until there is a result.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = attempt().await {
            return result;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A pool with one server.
pub(crate) fn pool(name: &str, address: &str) -> v1::PoolSpec {
    v1::PoolSpec {
        name: name.to_owned(),
        backends: vec![v1::BackendSpec {
            name: "s1".to_owned(),
            addresses: vec![address.to_owned()],
            ..v1::BackendSpec::default()
        }],
        ..v1::PoolSpec::default()
    }
}

/// A service with one VIP on port 80.
pub(crate) fn service(name: &str, vip: &str, pool: &str) -> v1::ServiceSpec {
    v1::ServiceSpec {
        name: name.to_owned(),
        vips: vec![vip.to_owned()],
        ports: vec!["80".to_owned()],
        mode: v1::Mode::L4Fullnat.into(),
        pool: pool.to_owned(),
        ..v1::ServiceSpec::default()
    }
}

pub(crate) fn apply_request(
    pools: Vec<v1::PoolSpec>,
    services: Vec<v1::ServiceSpec>,
) -> v1::ApplyRequest {
    v1::ApplyRequest {
        fabric: Some(v1::FabricSpec {
            pools,
            services,
            ..v1::FabricSpec::default()
        }),
        ..v1::ApplyRequest::default()
    }
}

pub(crate) fn object_ref(kind: v1::Kind, name: &str) -> v1::ObjectRef {
    v1::ObjectRef {
        kind: kind.into(),
        name: name.to_owned(),
    }
}

/// Names of the pools that a member lists.
pub(crate) async fn pool_names(fabric: &mut FabricServiceClient<Channel>) -> Vec<String> {
    let request = v1::ListRequest {
        kind: v1::Kind::Pool.into(),
        with_status: false,
    };
    let list = fabric.list(timed(request)).await.unwrap().into_inner();
    list.objects
        .into_iter()
        .map(|object| object.r#ref.unwrap().name)
        .collect()
}
