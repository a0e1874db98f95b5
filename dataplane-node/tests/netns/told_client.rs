//! `client_address_option` from client to server, with both agents: programs that know nothing of it see who their clients are.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use aya::programs::loaded_programs;
use lbfabric_abi::LAYOUT_VERSION;
use lbfabric_node::{NodeConfig, Role, XdpModeChoice};
use lbfabric_proto::v1;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tokio::sync::oneshot;

use crate::{
    fixture::{DEADLINE, Fixture, eventually},
    gue::{connect_client, in_namespace},
    namespace::Namespace,
    played_controller::PlayedController,
    specs,
};

const NODES: [&str; 2] = ["10.88.0.1", "fd88::1"];

/// With the option for port 80, and for port 81.
pub(crate) fn fabric(told: [bool; 2]) -> v1::FabricSpec {
    let service = |port: u16, client_address_option: bool| v1::ServiceSpec {
        name: format!("web-{port}"),
        vips: vec!["10.99.0.1".to_owned(), "fd99::1".to_owned()],
        ports: vec![port.to_string()],
        mode: v1::Mode::L4Fullnat.into(),
        pool: "web".to_owned(),
        client_address_option,
        ..v1::ServiceSpec::default()
    };
    v1::FabricSpec {
        pools: vec![specs::pool()],
        services: vec![service(80, told[0]), service(81, told[1])],
        nodes: vec![v1::NodeSpec {
            name: "lb1".to_owned(),
            source_addresses: NODES.map(str::to_owned).to_vec(),
            ..v1::NodeSpec::default()
        }],
        ..v1::FabricSpec::default()
    }
}

/// A connection of which both ends say who the client is.
pub(crate) struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Whom `accept` has named.
    accepted: SocketAddr,
}

/// A server's sockets: one of both families at port 80, one of IPv4 alone at port 81.
pub(crate) struct Listeners {
    dual: TcpListener,
    ipv4: TcpListener,
}

impl Listeners {
    pub(crate) fn new(server: &Namespace) -> Self {
        in_namespace(server, || Self {
            dual: TcpListener::bind("[::]:80").expect("a free port"),
            ipv4: TcpListener::bind("0.0.0.0:81").expect("a free port"),
        })
    }

    /// A connection from the client to each socket in each family that it has.
    pub(crate) fn connections(&self, client: &Namespace) -> Vec<Connection> {
        [
            ("10.99.0.1:80", &self.dual),
            ("[fd99::1]:80", &self.dual),
            ("10.99.0.1:81", &self.ipv4),
        ]
        .map(|(vip, listener)| connect(client, vip, listener))
        .into()
    }
}

fn connect(client: &Namespace, vip: &str, listener: &TcpListener) -> Connection {
    let vip: SocketAddr = vip.parse().expect("an address");
    let mut client = in_namespace(client, || {
        TcpStream::connect_timeout(&vip, DEADLINE).unwrap_or_else(|error| panic!("{vip}: {error}"))
    });
    let (mut server, accepted) = listener.accept().expect("accepted");
    let mut word = [0; 4];
    client.write_all(b"word").expect("sent");
    server.set_read_timeout(Some(DEADLINE)).expect("set");
    server.read_exact(&mut word).expect("received");
    assert_eq!(&word, b"word");
    Connection {
        client,
        server,
        accepted,
    }
}

/// As programs see it that compare addresses.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn is_node(address: SocketAddr) -> bool {
    let mut nodes = NODES.map(str::parse::<IpAddr>).into_iter();
    nodes.any(|node| node == Ok(canonical(address).ip()))
}

impl Connection {
    /// What `getpeername` says now.
    fn peer(&self) -> SocketAddr {
        canonical(self.server.peer_addr().expect("a peer"))
    }

    pub(crate) fn assert_told(&self) {
        let client = self.client.local_addr().expect("bound");
        assert_eq!(canonical(self.accepted), client);
        assert_eq!(self.peer(), client);
    }

    fn assert_not_told(&self) {
        assert!(is_node(self.accepted), "{}", self.accepted);
        assert_eq!(self.peer(), canonical(self.accepted));
    }
}

fn hooks(fixture: &Fixture) -> [PathBuf; 2] {
    let folder = fixture.pin_dir.join(format!("v{LAYOUT_VERSION}-server"));
    ["hook-getpeername4", "hook-getpeername6"].map(|hook| folder.join(hook))
}

pub(crate) fn are_attached(fixture: &Fixture) -> Option<()> {
    hooks(fixture)
        .iter()
        .all(|hook| hook.exists())
        .then_some(())
}

/// Neither pins nor, on the whole machine, programs.
pub(crate) fn are_gone(fixture: &Fixture) -> Option<()> {
    let programs = loaded_programs().filter_map(Result::ok);
    let mut left =
        programs.filter(|it| matches!(it.name_as_str(), Some("lbfabric_peer4" | "lbfabric_peer6")));
    let pinned = hooks(fixture).iter().any(|hook| hook.exists());
    (!pinned && left.next().is_none()).then_some(())
}

fn are_forgotten(connections: &[&Connection]) -> Option<()> {
    let mut connections = connections.iter();
    connections.all(|it| is_node(it.peer())).then_some(())
}

/// Where nothing tells any more, nobody is taken for the one that had the node's port before.
async fn assert_told_at_80_alone(old: &[&Connection], listeners: &Listeners, client: &Namespace) {
    let is_at_81 = |it: &Connection| it.server.local_addr().expect("bound").port() == 81;
    let (at_81, at_80): (Vec<&Connection>, Vec<_>) = old.iter().partition(|it| is_at_81(it));
    assert_eq!((at_81.len(), at_80.len()), (3, 6));
    eventually("those at port 81 forgotten", || are_forgotten(&at_81)).await;
    at_80.into_iter().for_each(Connection::assert_told);
    for connection in listeners.connections(client) {
        if is_at_81(&connection) {
            connection.assert_not_told();
        } else {
            connection.assert_told();
        }
    }
}

/// The server's agent and all that happens, while the node's agent runs.
async fn serve(fixture: &Fixture, client: &Namespace) {
    let state = tempfile::tempdir().expect("a temporary folder");
    let mut controller = PlayedController::start().await;
    controller.apply(&fabric([true; 2]));
    let config = NodeConfig {
        interfaces: vec!["sv0".to_owned()],
        state_dir: state.path().to_owned(),
        keep_on_exit: false,
        ..fixture.config(Role::Server, controller.address)
    };
    let agent = fixture.start(config.clone()).await;
    eventually("the hooks", || are_attached(fixture)).await;
    let applied = |report: &v1::NodeReport| report.fault.is_empty() && report.refusals.is_empty();
    eventually("no refusals", || controller.report_if(applied)).await;
    let listeners = Listeners::new(&fixture.peer);
    let before = listeners.connections(client);
    before.iter().for_each(Connection::assert_told);

    // As if it were killed: what it has attached goes on, also for new connections.
    drop(agent);
    let without = listeners.connections(client);
    without.iter().for_each(Connection::assert_told);
    controller.forget_agent();
    let agent = fixture.start(config).await;
    eventually("the next agent", || controller.report_if(applied)).await;
    eventually("the hooks", || are_attached(fixture)).await;
    let after = listeners.connections(client);
    for connection in before.iter().chain(&without).chain(&after) {
        connection.assert_told();
    }

    controller.apply(&fabric([true, false]));
    let old: Vec<_> = before.iter().chain(&without).chain(&after).collect();
    assert_told_at_80_alone(&old, &listeners, client).await;

    controller.apply(&fabric([false; 2]));
    eventually("the hooks gone", || are_gone(fixture)).await;
    let untold = listeners.connections(client);
    untold.iter().for_each(Connection::assert_not_told);

    // Once more, for the agent to take away what is there when it ends.
    controller.apply(&fabric([true; 2]));
    eventually("the hooks", || are_attached(fixture)).await;
    let again = listeners.connections(client);
    again.iter().for_each(Connection::assert_told);
    let of_before = are_forgotten(&old);
    assert_eq!(of_before, Some(()), "told before it was switched off");
    agent.stop().await;
    eventually("the hooks gone", || are_gone(fixture)).await;
}

/// The node's agent, until the server's side has ended.
async fn balance(fixture: &Fixture, ready: oneshot::Sender<()>, ended: oneshot::Receiver<()>) {
    let mut controller = PlayedController::start().await;
    controller.apply(&fabric([true; 2]));
    let config = NodeConfig {
        interfaces: vec!["lb0".to_owned(), "cl0".to_owned()],
        keep_on_exit: false,
        // The client has no program, so a native one could not send to it.
        xdp_mode: XdpModeChoice::Generic,
        ..fixture.config(Role::LoadBalancer, controller.address)
    };
    let agent = fixture.start(config).await;
    let resolved = || {
        let backend = fixture.backend(0)?;
        (backend.hop4.is_resolved() && backend.hop6.is_resolved()).then_some(())
    };
    eventually("the way to the server", resolved).await;
    ready.send(()).expect("the server's side waits");
    // An error: the other side has failed, and says so itself.
    if ended.await.is_ok() {
        let told = |report: &v1::NodeReport| {
            let omitted = report.counters.get("client-address-omitted");
            omitted.is_none_or(|count| *count == 0) && report.refusals.is_empty()
        };
        eventually("no omission", || controller.report_if(told)).await;
    }
    agent.stop().await;
}

/// Every server of this machine answers for all of it, and those of tests have the same addresses.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs the server's side of a test in the server's namespace, behind a node.
pub(crate) fn behind_node(serve: impl AsyncFnOnce(&Fixture, &Namespace) + Send) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let fixture = Fixture::new();
    let client = connect_client(&fixture);
    let (ready, is_ready) = oneshot::channel();
    let (done, ended) = oneshot::channel();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let done = done;
            fixture.peer.enter();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                is_ready.await.expect("the node's agent runs");
                serve(&fixture, &client).await;
            });
            done.send(()).expect("the node's agent waits");
        });
        fixture.run(|| balance(&fixture, ready, ended));
        if let Err(panic) = serving.join() {
            resume_unwind(panic);
        }
    });
}

#[test]
fn programs_see_their_clients_until_nobody_asks_for_it() {
    behind_node(serve);
}

/// The mount namespace of this thread alone has no cgroup v2.
fn without_cgroups() {
    unshare(CloneFlags::CLONE_NEWNS).expect("these tests need root");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").expect("mounts");
    for mount in mounts.lines().rev() {
        let mut fields = mount.split(' ').skip(1);
        if let (Some(folder), Some("cgroup2")) = (fields.next(), fields.next()) {
            umount2(folder, MntFlags::MNT_DETACH).expect("unmounted");
        }
    }
}

#[test]
fn a_server_without_cgroups_says_so_and_does_the_rest() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        without_cgroups();
        let mut spec = fabric([true; 2]);
        spec.pools[0].backends[0].addresses = vec!["10.88.0.1".to_owned(), "fd88::1".to_owned()];
        let mut dsr = spec.services[0].clone();
        dsr.name = "dsr".to_owned();
        dsr.vips = vec!["10.99.0.7".to_owned()];
        dsr.set_mode(v1::Mode::L4Dsr);
        dsr.client_address_option = false;
        spec.services.push(dsr);
        let mut controller = PlayedController::start().await;
        controller.apply(&spec);
        let mut config = fixture.config(Role::Server, controller.address);
        config.keep_on_exit = false;
        let agent = fixture.start(config).await;
        let refused = |report: &v1::NodeReport| {
            let mut refusals = report.refusals.iter();
            refusals.any(|it| it.reason.contains("no cgroup v2 is mounted"))
        };
        eventually("the reason", || controller.report_if(refused)).await;
        let loopback = || fixture.node.ip(&["-br", "addr", "show", "lo"]);
        eventually("the VIP", || loopback().contains("10.99.0.7").then_some(())).await;
        agent.stop().await;
        assert!(!fixture.pin_dir.exists());
    });
}
