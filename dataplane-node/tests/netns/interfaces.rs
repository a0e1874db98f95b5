//! Clients on one interface, servers on the other: what comes in through one leaves through the other, by XDP alone.

use std::net::IpAddr;

use aya::programs::XdpMode;
use lbfabric_abi::Endpoint;
use lbfabric_proto::v1;

use crate::{
    fixture::{attached, eventually},
    hitless::{assert_unharmed, healthy},
    played_controller::PlayedController,
    two_nics::{PassPrograms, Served, TwoNics, VIP, echo},
    udp_echo::{EchoServers, Flows},
};

#[test]
fn row_19_destination_nat_takes_packets_from_one_interface_to_another_and_back() {
    let net = TwoNics::new();
    let fixture = &net.fixture;
    fixture.run(|| async {
        let Served {
            controller,
            config: _,
            agent,
            report,
            flows,
            _servers,
        } = net.serve(v1::Mode::L4Dnat, 8).await;
        assert_eq!(report.interface, "lb0,lb1");
        assert_eq!(report.xdp_mode(), v1::XdpMode::Native);
        assert_eq!(
            report.addresses[0], "10.88.0.1",
            "the first interface's come first"
        );
        eventually("answers", || flows.more_than(0, 400)).await;
        let flows = flows.stop();
        assert_unharmed(&flows);
        // Both ways were the program's: the kernel would forward what it passes as well.
        let sent: u64 = flows.iter().map(|flow| flow.sent).sum();
        let both_ways = |report: &v1::NodeReport| {
            let counted = |name: &str| report.counters[name] >= sent;
            counted("l4-dnat") && counted("l4-dnat-answer")
        };
        eventually("all of them counted", || controller.report_if(both_ways)).await;
        agent.stop().await;
    });
}

#[test]
fn row_19_direct_server_return_takes_packets_from_one_interface_to_another() {
    let net = TwoNics::new();
    net.answer_directly();
    // One server: they share the VIP, and so its socket.
    let _servers = EchoServers::start(&net.servers, &["10.99.0.1"]);
    let fixture = &net.fixture;
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&echo(v1::Mode::L4Dsr));
        let agent = fixture.start(net.config(&controller)).await;
        eventually("healthy servers", || controller.report_if(healthy)).await;
        let flows = Flows::start(&fixture.peer, VIP, 8);
        eventually("answers", || flows.more_than(0, 400)).await;
        let flows = flows.stop();
        for flow in &flows {
            assert_eq!(flow.lost(), 0, "of {} requests", flow.sent);
        }
        let sent: u64 = flows.iter().map(|flow| flow.sent).sum();
        let forwarded = |report: &v1::NodeReport| report.counters["l4-dsr"] >= sent;
        let report = eventually("all counted", || controller.report_if(forwarded)).await;
        assert_eq!(report.counters["pass-not-served"], 0, "{report:?}");
        agent.stop().await;
    });
}

#[test]
fn one_of_two_interfaces_goes_and_comes_back() {
    let net = TwoNics::new();
    let fixture = &net.fixture;
    fixture.run(|| async {
        let Served {
            controller,
            config: _,
            agent,
            report: _,
            flows,
            _servers,
        } = net.serve(v1::Mode::L4Dnat, 4).await;
        let program = fixture.program_id();
        fixture.node.ip(&["link", "del", "lb1"]);
        let gone = |report: &v1::NodeReport| report.fault.contains("interface gone");
        let report = eventually("a fault", || controller.report_if(gone)).await;
        assert!(report.fault.contains("lb1"), "{}", report.fault);
        assert_eq!(
            fixture.program_id(),
            program,
            "the other one keeps its program"
        );
        let _pass = net.connect_servers();
        eventually("healthy servers", || controller.report_if(healthy)).await;
        assert_ne!(fixture.program_id_on("lb1"), 0);
        let at = flows.answered();
        eventually("answers again", || flows.more_than(at, 400)).await;
        for flow in flows.stop() {
            assert_eq!(flow.servers.len(), 1, "servers of one flow");
        }
        agent.stop().await;
    });
}

/// What one interface lacks does not keep the other from following the fabric.
#[test]
fn one_of_two_interfaces_is_taken_by_another_program() {
    let net = TwoNics::new();
    let fixture = &net.fixture;
    fixture.run(|| async {
        let mut other = PassPrograms::load();
        let taken = other.program().attach("lb1", XdpMode::Driver);
        let taken = taken.expect("a veth takes it");
        let mut controller = PlayedController::start().await;
        let agent = fixture.start(net.config(&controller)).await;
        let named = |report: &v1::NodeReport| report.fault.contains("another XDP program on lb1");
        eventually("a fault", || controller.report_if(named)).await;
        let program = fixture.program_id();
        assert_ne!(program, 0);
        controller.apply(&echo(v1::Mode::L4Dnat));
        let vip = Endpoint::new(
            "10.99.0.1".parse::<IpAddr>().expect("it is one").into(),
            7,
            17,
        );
        eventually("the VIP's entry", || fixture.vip_entry(vip)).await;
        let report = eventually("a report", || controller.report_if(named)).await;
        assert_eq!(report.xdp_mode(), v1::XdpMode::Native);
        assert!(report.refusals.is_empty(), "{report:?}");
        assert_eq!(fixture.program_id(), program, "no need to load it again");

        other.program().detach(taken).expect("it is there");
        eventually("attached everywhere", || controller.report_if(attached)).await;
        assert_ne!(fixture.program_id_on("lb1"), 0);
        assert_eq!(fixture.program_id_on("lb1"), fixture.program_id());
        assert_eq!(fixture.program_arrays().len(), 1);
        agent.stop().await;
    });
}

#[test]
fn an_interface_that_is_not_asked_for_any_more_is_left() {
    let net = TwoNics::new();
    let fixture = &net.fixture;
    fixture.run(|| async {
        let controller = PlayedController::start().await;
        let mut config = net.config(&controller);
        let agent = fixture.start(config.clone()).await;
        eventually("attached", || controller.report_if(attached)).await;
        assert_ne!(fixture.program_id_on("lb1"), 0);
        drop(agent);
        controller.forget_agent();
        config.interfaces.truncate(1);
        let agent = fixture.start(config).await;
        eventually("attached", || controller.report_if(attached)).await;
        eventually("left", || (fixture.program_id_on("lb1") == 0).then_some(())).await;
        assert_ne!(fixture.program_id(), 0);
        agent.stop().await;
    });
}
