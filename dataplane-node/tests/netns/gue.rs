//! `l4-tunnel` with `encapsulation: gue` from client to server, with both agents: connections of both families, through tunnels
//! of both.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::resume_unwind;

use aya::maps::{Array, Map, MapData};
use lbfabric_abi::LAYOUT_VERSION;
use lbfabric_node::{NodeConfig, Role};
use lbfabric_proto::v1;
use tokio::sync::oneshot;

use crate::{
    fixture::{DEADLINE, Fixture, eventually},
    namespace::{Namespace, run},
    played_controller::PlayedController,
};

const PORT: u16 = 6081;
const VIPS: [&str; 2] = ["10.99.0.1:80", "[fd99::1]:80"];

fn gue(server: &str) -> v1::FabricSpec {
    v1::FabricSpec {
        pools: vec![v1::PoolSpec {
            name: "web".to_owned(),
            backends: vec![v1::BackendSpec {
                name: "s1".to_owned(),
                addresses: vec![server.to_owned()],
                ..v1::BackendSpec::default()
            }],
            ..v1::PoolSpec::default()
        }],
        services: vec![v1::ServiceSpec {
            name: "web".to_owned(),
            vips: vec!["10.99.0.1".to_owned(), "fd99::1".to_owned()],
            ports: vec!["80".to_owned()],
            mode: v1::Mode::L4Tunnel.into(),
            pool: "web".to_owned(),
            tunnel: Some(v1::TunnelSpec {
                encapsulation: v1::Encapsulation::Gue.into(),
                gue_port: PORT.into(),
                ..v1::TunnelSpec::default()
            }),
            ..v1::ServiceSpec::default()
        }],
        ..v1::FabricSpec::default()
    }
}

/// A client behind the node, which forwards the servers' answers to it. The link to the servers has room for tunnels.
pub(crate) fn connect_client(fixture: &Fixture) -> Namespace {
    let client = Namespace::new("c");
    let Fixture { node, peer, .. } = fixture;
    node.ip(&[
        "link",
        "add",
        "cl0",
        "type",
        "veth",
        "peer",
        "name",
        "c0",
        "netns",
        &client.name,
    ]);
    for (namespace, link, host) in [(node, "cl0", 1), (&client, "c0", 2)] {
        namespace.ip(&["addr", "add", &format!("10.87.0.{host}/24"), "dev", link]);
        let address = format!("fd87::{host}/64");
        namespace.ip(&["addr", "add", &address, "dev", link, "nodad"]);
        namespace.ip(&["link", "set", link, "up"]);
    }
    for (namespace, link) in [(node, "lb0"), (peer, "sv0")] {
        namespace.ip(&["link", "set", link, "mtu", "1600"]);
    }
    for (namespace, gateway) in [(&client, "87"), (peer, "88")] {
        let (v4, v6) = (format!("10.{gateway}.0.1"), format!("fd{gateway}::1"));
        namespace.ip(&["route", "add", "default", "via", &v4]);
        namespace.ip(&["-6", "route", "add", "default", "via", &v6]);
    }
    within(node, "echo 1 >/proc/sys/net/ipv4/ip_forward");
    within(node, "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
    // XDP sees packets before their checksums are filled in otherwise.
    within(&client, "ethtool -K c0 tx off");
    within(peer, "ethtool -K sv0 tx off");
    client
}

fn within(namespace: &Namespace, script: &str) {
    let namespace = format!("--net=/var/run/netns/{}", namespace.name);
    run("nsenter", &[&namespace, "sh", "-c", script]);
}

/// Runs blocking work in a namespace.
pub(crate) fn in_namespace<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            namespace.enter();
            work()
        });
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Sends everything back, in the server's namespace, for as long as the test process runs.
fn echo(server: &Namespace) {
    let listener = in_namespace(server, || {
        TcpListener::bind("[::]:80").expect("a free port")
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepted");
            let mut received = Vec::new();
            if stream.read_to_end(&mut received).is_ok() {
                // Whether it arrives is the client's to see.
                let _sent = stream.write_all(&received);
            }
        }
    });
}

/// As many bytes as take many full segments, there and back.
fn exchange(vip: SocketAddr) {
    let mut stream = TcpStream::connect_timeout(&vip, DEADLINE).expect("connected");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    let sent: Vec<u8> = (0..200_000u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    stream.write_all(&sent).expect("sent");
    stream.shutdown(Shutdown::Write).expect("shut down");
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("received");
    assert!(sent == received, "{} bytes back", received.len());
}

fn counted(report: &v1::NodeReport, counter: &str) -> bool {
    report
        .counters
        .get(counter)
        .is_some_and(|count| *count > 200)
}

/// The server's agent, until the client has what it wants.
async fn serve(fixture: &Fixture, spec: &v1::FabricSpec, ended: oneshot::Receiver<()>) {
    let state = tempfile::tempdir().expect("a temporary folder");
    let mut controller = PlayedController::start().await;
    controller.apply(spec);
    let agent = fixture
        .start(NodeConfig {
            interfaces: vec!["sv0".to_owned()],
            state_dir: state.path().to_owned(),
            keep_on_exit: false,
            ..fixture.config(Role::Server, controller.address)
        })
        .await;
    // Dropped by the other side also when that fails.
    if ended.await.is_ok() {
        let unpacked = |report: &v1::NodeReport| counted(report, "decapsulated");
        let report = eventually("unpacked", || controller.report_if(unpacked)).await;
        assert!(report.refusals.is_empty(), "{report:?}");
        // The port closes with the last service that has it.
        assert_eq!(takes_gue(fixture), Some(true));
        let mut ipip = spec.clone();
        ipip.services[0].tunnel = None;
        controller.apply(&ipip);
        let closed = || (takes_gue(fixture) == Some(false)).then_some(());
        eventually("the port closed", closed).await;
    }
    agent.stop().await;
}

/// Whether the server's program unpacks what comes to the port.
fn takes_gue(fixture: &Fixture) -> Option<bool> {
    let maps = fixture.pin_dir.join(format!("v{LAYOUT_VERSION}-server"));
    let map = Map::Array(MapData::from_pin(maps.join("GUE_PORTS")).ok()?);
    let ports = Array::<_, u64>::try_from(map).ok()?;
    let word = ports.get(&(u32::from(PORT) / u64::BITS), 0).ok()?;
    Some(word >> (u32::from(PORT) % u64::BITS) & 1 != 0)
}

/// The node's agent. The client begins when both sides are ready.
async fn balance(fixture: &Fixture, spec: &v1::FabricSpec, client: &Namespace) {
    let mut controller = PlayedController::start().await;
    controller.apply(spec);
    let config = NodeConfig {
        interfaces: vec!["lb0".to_owned(), "cl0".to_owned()],
        keep_on_exit: false,
        ..fixture.config(Role::LoadBalancer, controller.address)
    };
    let agent = fixture.start(config).await;
    let resolved = || {
        let backend = fixture.backend(0)?;
        (backend.hop4.is_resolved() || backend.hop6.is_resolved()).then_some(())
    };
    eventually("the way to the server", resolved).await;
    let attached = || {
        let link = fixture.peer.ip(&["-d", "link", "show", "sv0"]);
        let addresses = fixture.peer.ip(&["-br", "addr", "show", "lo"]);
        (link.contains("prog/xdp") && addresses.contains("fd99::1")).then_some(())
    };
    eventually("the server", attached).await;
    for vip in VIPS {
        in_namespace(client, || exchange(vip.parse().expect("an address")));
    }
    let tunnelled = |report: &v1::NodeReport| counted(report, "l4-tunnel");
    let report = eventually("tunnelled", || controller.report_if(tunnelled)).await;
    assert!(report.refusals.is_empty(), "{report:?}");
    agent.stop().await;
}

fn connections_through(server: &str) {
    let fixture = Fixture::new();
    let client = connect_client(&fixture);
    echo(&fixture.peer);
    let spec = gue(server);
    let (done, ended) = oneshot::channel();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            fixture.peer.enter();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(serve(&fixture, &spec, ended));
        });
        let done = done;
        fixture.run(|| balance(&fixture, &spec, &client));
        done.send(()).expect("the server's agent waits");
        if let Err(panic) = serving.join() {
            resume_unwind(panic);
        }
    });
}

#[test]
fn both_families_go_through_ipv4() {
    connections_through("10.88.0.2");
}

#[test]
fn both_families_go_through_ipv6() {
    connections_through("fd88::2");
}
