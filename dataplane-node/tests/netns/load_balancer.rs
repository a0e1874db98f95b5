use std::net::{IpAddr, SocketAddr};

use lbfabric_abi::{Endpoint, NextHop};
use lbfabric_node::{Role, XdpModeChoice};
use lbfabric_proto::v1;
use tokio::net::TcpListener;

use crate::{
    fixture::{Fixture, attached, eventually},
    namespace::run,
    played_controller::PlayedController,
    specs,
};

/// A service `10.99.0.1:80` over the peer, probed on port 80 every 100 ms.
pub(crate) fn web(mode: v1::Mode) -> v1::FabricSpec {
    v1::FabricSpec {
        pools: vec![specs::probed_pool()],
        services: vec![v1::ServiceSpec {
            name: "web".to_owned(),
            vips: vec!["10.99.0.1".to_owned(), "fd99::1".to_owned()],
            ports: vec!["80".to_owned()],
            mode: mode.into(),
            pool: "web".to_owned(),
            ..v1::ServiceSpec::default()
        }],
        ..v1::FabricSpec::default()
    }
}

fn vip() -> Endpoint {
    let address: IpAddr = "10.99.0.1".parse().expect("an address");
    Endpoint::new(address.into(), 80, 6)
}

/// A listener in the peer's namespace, on every address. It accepts nobody: the kernel completes the connections.
pub(crate) fn listen_in_peer(fixture: &Fixture) -> std::net::TcpListener {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            fixture.peer.enter();
            std::net::TcpListener::bind("[::]:80").expect("port 80 in the namespace is free")
        });
        thread.join().expect("listening")
    })
}

/// Sends datagrams to the node from the peer's namespace.
fn send_from_peer(fixture: &Fixture, count: usize) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            fixture.peer.enter();
            let socket = std::net::UdpSocket::bind("10.88.0.2:0").expect("the peer's address");
            for _ in 0..count {
                // A refusal of an earlier one may be reported here.
                let _sent = socket.send_to(b"counted", "10.88.0.1:9");
            }
        });
    });
}

#[test]
fn native_and_generic_are_chosen_and_reported() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let controller = PlayedController::start().await;
        let auto = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(auto.clone()).await;
        let report = eventually("a report", || controller.report_if(attached)).await;
        assert_eq!(report.xdp_mode(), v1::XdpMode::Native);
        assert_eq!(report.interface, "lb0");
        assert_eq!(report.addresses, ["10.88.0.1", "fd88::1"]);
        agent.stop().await;
        assert_ne!(
            fixture.program_id(),
            0,
            "the program goes on without its agent"
        );

        // Another choice replaces the attachment, not only the program.
        controller.forget_agent();
        let mut generic = auto;
        generic.xdp_mode = XdpModeChoice::Generic;
        generic.keep_on_exit = false;
        let agent = fixture.start(generic).await;
        let report = eventually("a report", || controller.report_if(attached)).await;
        assert_eq!(report.xdp_mode(), v1::XdpMode::Generic);
        agent.stop().await;
        eventually("detached", || (fixture.program_id() == 0).then_some(())).await;
        assert!(!fixture.pin_dir.exists(), "nothing stays pinned");
    });
}

#[test]
fn row_39_a_restart_adopts_program_maps_and_counters() {
    let fixture = Fixture::new();
    let _listener = listen_in_peer(&fixture);
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L4Dnat));
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config.clone()).await;
        let counted = |report: &v1::NodeReport| report.counters.values().sum::<u64>();
        let before = eventually("a healthy server and counted packets", || {
            controller.report_if(|report| {
                counted(report) > 0 && report.backends.iter().any(|b| b.healthy)
            })
        })
        .await;
        let entry = fixture.vip_entry(vip()).expect("the VIP's entry");
        let program = fixture.program_id();
        assert_ne!(program, 0);

        // A crash: nothing is tidied up, and the program goes on counting.
        drop(agent);
        assert_eq!(fixture.program_id(), program);
        controller.forget_agent();
        send_from_peer(&fixture, 3);
        let generation = before.applied_generation;
        let agent = fixture.start(config).await;
        let after = eventually("a report of the new agent", || {
            controller.report_if(attached)
        })
        .await;
        assert_ne!(fixture.program_id(), program, "the program was replaced");
        assert!(
            counted(&after) >= counted(&before) + 3,
            "{before:?} {after:?}"
        );
        for (name, value) in &before.counters {
            assert!(after.counters[name] >= *value, "{name} went back");
        }
        assert_eq!(
            fixture.vip_entry(vip()),
            Some(entry),
            "the ring stays where it was"
        );
        // It holds what it held, and so is sent nothing again.
        let hello = &controller.heard().hellos[0];
        assert_eq!(hello.generation, generation);
        assert!(hello.held.len() >= 3, "{hello:?}");
        agent.stop().await;
    });
}

#[test]
fn without_any_controller_a_restarted_agent_goes_on() {
    let fixture = Fixture::new();
    let listener = listen_in_peer(&fixture);
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L4Dsr));
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config.clone()).await;
        eventually("a healthy server", || {
            controller.report_if(|report| report.backends.iter().any(|b| b.healthy))
        })
        .await;
        drop(agent);
        drop(controller);
        let agent = fixture.start(config.clone()).await;
        // Away with the entry behind the agent's back: only an agent that knows what is desired brings it back.
        run("rm", &["-r", fixture.maps_dir().to_str().expect("a path")]);
        drop(agent);
        assert_eq!(fixture.vip_entry(vip()), None);
        let agent = fixture.start(config).await;
        eventually("the VIP's entry", || fixture.vip_entry(vip())).await;
        eventually("the next hop", || {
            fixture.backend(0).filter(|b| b.hop4.is_resolved())
        })
        .await;
        drop(listener);
        agent.stop().await;
    });
}

#[test]
fn an_interface_that_goes_is_reported_and_one_that_returns_is_used() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L4Dsr));
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config).await;
        eventually("attached", || controller.report_if(attached)).await;
        fixture.node.ip(&["link", "del", "lb0"]);
        let gone = |report: &v1::NodeReport| {
            report.fault.contains("interface gone") && !report.refusals.is_empty()
        };
        let report = eventually("a fault", || controller.report_if(gone)).await;
        assert!(report.fault.contains("lb0"), "{}", report.fault);
        assert_eq!(report.xdp_mode(), v1::XdpMode::Unspecified);
        fixture.connect();
        let back = |report: &v1::NodeReport| attached(report) && report.refusals.is_empty();
        eventually("attached again", || controller.report_if(back)).await;
        assert!(fixture.vip_entry(vip()).is_some());
        assert_eq!(
            controller.heard().hellos.len(),
            1,
            "the stream has stayed open"
        );
        agent.stop().await;
    });
}

#[test]
fn a_neighbours_new_mac_reaches_the_map() {
    let fixture = Fixture::new();
    let _listener = listen_in_peer(&fixture);
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L4Dsr));
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config).await;
        let leads_to = |mac: [u8; 6]| {
            move |fixture: &Fixture| {
                let backend = fixture.backend(0)?;
                let hop = |hop: NextHop| hop.is_resolved() && hop.mac == mac;
                (hop(backend.hop4) && hop(backend.hop6)).then_some(())
            }
        };
        let old = leads_to(fixture.peer_mac());
        eventually("the first address", || old(&fixture)).await;
        fixture
            .peer
            .ip(&["link", "set", "sv0", "address", "02:00:00:00:88:02"]);
        let new = leads_to([2, 0, 0, 0, 0x88, 2]);
        eventually("the new address", || new(&fixture)).await;
        let healthy = |report: &v1::NodeReport| report.backends.iter().all(|b| b.healthy);
        eventually("healthy", || controller.report_if(healthy)).await;
        agent.stop().await;
    });
}

#[test]
fn a_server_that_fails_is_reported_with_its_reason() {
    let fixture = Fixture::new();
    let listener = listen_in_peer(&fixture);
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L4Fullnat));
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config).await;
        let healthy = |report: &v1::NodeReport| report.backends.iter().any(|b| b.healthy);
        eventually("healthy", || controller.report_if(healthy)).await;
        let result = eventually("a result", || controller.heard().results.pop()).await;
        assert!(result.refusals.is_empty(), "{result:?}");
        drop(listener);
        let failed = |report: &v1::NodeReport| report.backends.iter().any(|b| !b.healthy);
        let report = eventually("unhealthy", || controller.report_if(failed)).await;
        let reason = &report.backends[0].reason;
        assert!(
            reason.contains(":80") && reason.contains("refused"),
            "{reason}"
        );
        agent.stop().await;
    });
}

#[test]
fn a_dead_member_is_passed_over() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead: SocketAddr = refusing.local_addr().unwrap();
        drop(refusing);
        let controller = PlayedController::start().await;
        let mut config = fixture.config(Role::LoadBalancer, controller.address);
        config.controllers = vec![dead.to_string(), controller.address.to_string()];
        let agent = fixture.start(config).await;
        eventually("attached", || controller.report_if(attached)).await;
        agent.stop().await;
    });
}
