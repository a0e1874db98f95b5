//! Pinned maps of another layout are found: their program forwards until new ones are filled, and nothing is lost between.

use std::path::PathBuf;

use aya::maps::Array;
use lbfabric_abi::LAYOUT_VERSION;
use lbfabric_node::{NodeAgent, Role};
use lbfabric_proto::v1::{self, explain_reply};

use crate::{
    fixture::{Fixture, attached, eventually},
    hitless::{assert_unharmed, healthy},
    load_balancer::web,
    played_controller::PlayedController,
    two_nics::{SERVERS, Served, TwoNics, VIP, echo_over},
    udp_echo::{EchoServers, Flows},
};

/// An address behind the servers, which do not forward.
const SILENT: &str = "10.91.0.9";

impl Fixture {
    /// Ends an agent, and makes what it has left that of another layout.
    fn relabel(&self, agent: NodeAgent, version: u32) -> PathBuf {
        drop(agent);
        let other = self.pin_dir.join(format!("v{version}"));
        std::fs::rename(self.maps_dir(), &other).expect("it is on the same file system");
        other
    }
}

#[test]
fn row_38_another_layout_is_switched_under_traffic_without_a_loss() {
    let net = TwoNics::new();
    let fixture = &net.fixture;
    fixture.run(|| async {
        let Served {
            controller,
            config,
            mut agent,
            flows,
            report: _,
            _servers,
        } = net.serve(v1::Mode::L4Dnat, 8).await;
        // An older one, and then a newer one: an upgrade and the way back.
        for version in [LAYOUT_VERSION - 1, LAYOUT_VERSION + 1] {
            let old = fixture.program_id();
            let folder = fixture.relabel(agent, version);
            controller.forget_agent();
            agent = fixture.start(config.clone()).await;
            eventually("healthy servers", || controller.report_if(healthy)).await;
            assert_ne!(fixture.program_id(), old, "the program was replaced");
            assert!(!folder.exists(), "nothing of the other layout stays");
            assert!(fixture.maps_dir().join("link-lb0").exists());
            assert!(fixture.maps_dir().join("link-lb1").exists());
            assert_eq!(fixture.program_arrays(), ["programs-1"]);
            let at = flows.answered();
            eventually("answers", || flows.more_than(at, 100)).await;
        }
        assert_unharmed(&flows.stop());
        agent.stop().await;
    });
}

#[test]
fn another_layout_forwards_until_the_servers_are_known() {
    let net = TwoNics::new();
    let _servers = EchoServers::start(&net.servers, &SERVERS);
    let fixture = &net.fixture;
    // Nothing answers there, not even that it is nowhere: a probe waits, and until then the ring might have it or not.
    let route = ["route", "add", SILENT, "via", SERVERS[0]];
    fixture.node.ip(&route);
    let servers = [SERVERS[0], SERVERS[1], SILENT];
    let spec = echo_over(&servers, v1::Mode::L4Dnat, 8_000);
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec);
        let config = net.config(&controller);
        let agent = fixture.start(config.clone()).await;
        let known = |report: &v1::NodeReport| {
            let unhealthy = report.backends.iter().filter(|it| !it.healthy);
            let probed = unhealthy.filter(|it| !it.reason.contains("no probe has finished"));
            attached(report) && report.backends.len() == 3 && probed.count() == 1
        };
        eventually("servers that are known", || controller.report_if(known)).await;
        let flows = Flows::start(&fixture.peer, VIP, 8);
        eventually("answers", || flows.more_than(0, 100)).await;
        let old = fixture.program_id();
        let folder = fixture.relabel(agent, LAYOUT_VERSION - 1);
        controller.forget_agent();
        let agent = fixture.start(config).await;
        let waits = |report: &v1::NodeReport| report.fault.contains("forwards on");
        let report = eventually("a word on it", || controller.report_if(waits)).await;
        assert!(
            report.fault.contains(folder.to_str().expect("a path")),
            "{}",
            report.fault
        );
        assert_eq!(report.xdp_mode(), v1::XdpMode::Native);
        assert_eq!(fixture.program_id(), old);
        // The maps that it fills are not those that forward.
        let packet = v1::PacketQuestion {
            source: "198.51.100.7:40000".to_owned(),
            destination: VIP.to_owned(),
            protocol: v1::Protocol::Udp.into(),
            established: false,
            request: None,
        };
        controller.ask(1, packet.clone());
        let answer = eventually("an answer", || controller.answer(1)).await;
        let explain_reply::Outcome::Error(why) = answer else {
            panic!("{answer:?}");
        };
        assert!(why.contains("another layout"), "{why}");
        eventually("switched", || controller.report_if(known)).await;
        assert_ne!(fixture.program_id(), old);
        assert!(!folder.exists());
        controller.ask(2, packet);
        let answer = eventually("an answer", || controller.answer(2)).await;
        let explain_reply::Outcome::Explanation(told) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(told.verdict, "l4-dnat", "{told:#?}");
        let at = flows.answered();
        eventually("answers", || flows.more_than(at, 100)).await;
        assert_unharmed(&flows.stop());
        agent.stop().await;
    });
}

/// The name of a folder is a promise that an agent that was built while the layout changed does not keep.
#[test]
fn a_map_of_another_shape_is_another_layout() {
    let net = TwoNics::new();
    let fixture = &net.fixture;
    fixture.run(|| async {
        let Served {
            controller,
            config,
            agent,
            flows,
            report: _,
            _servers,
        } = net.serve(v1::Mode::L4Dnat, 8).await;
        let old = fixture.program_id();
        drop(agent);
        // Larger values than the program expects: nothing but a comparison finds out.
        let pin = fixture.maps_dir().join("SETTINGS");
        std::fs::remove_file(&pin).expect("it is pinned");
        let larger = Array::<_, [u8; 4096]>::create(1, 0).expect("making a map needs root");
        larger.pin(&pin).expect("its place is free");

        controller.forget_agent();
        let agent = fixture.start(config).await;
        eventually("healthy servers", || controller.report_if(healthy)).await;
        assert_ne!(fixture.program_id(), old, "the program was replaced");
        let names = std::fs::read_dir(&fixture.pin_dir).expect("it is there");
        assert_eq!(names.count(), 1, "nothing of the other layout stays");
        let settings = fixture.map("SETTINGS").expect("it is pinned");
        let size = settings.info().expect("its facts").value_size();
        assert_ne!(size, 4096);
        let at = flows.answered();
        eventually("answers", || flows.more_than(at, 100)).await;
        assert_unharmed(&flows.stop());
        agent.stop().await;
    });
}

#[test]
fn an_agent_that_does_not_know_the_services_leaves_another_layout_alone() {
    let net = TwoNics::new();
    let fixture = &net.fixture;
    fixture.run(|| async {
        let Served {
            controller,
            config,
            agent,
            flows,
            report: _,
            _servers,
        } = net.serve(v1::Mode::L4Dnat, 8).await;
        let old = fixture.program_id();
        let folder = fixture.relabel(agent, LAYOUT_VERSION - 1);

        // Neither a controller nor what the former agent kept on disk.
        let mut lost = config.clone();
        let elsewhere = tempfile::tempdir().expect("a temporary folder");
        elsewhere.path().clone_into(&mut lost.state_dir);
        lost.controllers = vec!["127.0.0.1:1".to_owned()];
        let agent = fixture.start(lost).await;
        let loaded = || (fixture.program_arrays() == ["programs-1"]).then_some(());
        eventually("maps beside the others", loaded).await;
        let at = flows.answered();
        eventually("answers", || flows.more_than(at, 400)).await;
        assert_eq!(fixture.program_id(), old);
        assert!(folder.join("link-lb0").exists());

        drop(agent);
        controller.forget_agent();
        let agent = fixture.start(config).await;
        eventually("healthy servers", || controller.report_if(healthy)).await;
        assert_ne!(fixture.program_id(), old);
        assert!(!folder.exists());
        assert_unharmed(&flows.stop());
        agent.stop().await;
    });
}

#[test]
fn a_servers_layout_is_switched_as_well() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L4Dsr));
        let config = fixture.config(Role::Server, controller.address);
        let agent = fixture.start(config.clone()).await;
        eventually("attached", || controller.report_if(attached)).await;
        let old = fixture.program_id();
        drop(agent);
        let own = fixture.pin_dir.join(format!("v{LAYOUT_VERSION}-server"));
        let other = fixture
            .pin_dir
            .join(format!("v{}-server", LAYOUT_VERSION - 1));
        std::fs::rename(&own, &other).expect("it is on the same file system");
        let agent = fixture.start(config).await;
        let switched = || (own.join("link-lb0").exists() && !other.exists()).then_some(());
        eventually("switched", switched).await;
        let new = fixture.program_id();
        assert!(new != 0 && new != old, "the program was replaced");
        agent.stop().await;
        assert!(!fixture.pin_dir.exists());
    });
}
