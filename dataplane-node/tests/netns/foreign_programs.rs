//! Somebody else's XDP program is on the interface: it is named, and left alone.

use aya::programs::XdpMode;
use lbfabric_node::Role;
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, attached, eventually},
    load_balancer::web,
    namespace::run,
    played_controller::PlayedController,
    two_nics::{PassPrograms, ScratchPins},
};

/// How somebody else attaches a program.
#[derive(Clone, Copy, Debug)]
enum Way {
    Link(XdpMode),
    /// As `ip link set dev lb0 xdpdrv pinned FILE` does, over netlink: it stays without any process.
    Netlink(&'static str),
}

/// Runs an agent where a foreign program is, until it is gone.
fn named_and_left_alone(way: Way) {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let mut other = PassPrograms::load();
        match way {
            Way::Link(mode) => {
                let attached = other.program().attach("lb0", mode);
                attached.expect("a veth takes it");
            }
            Way::Netlink(mode) => {
                let scratch = ScratchPins::new();
                let pin = scratch.0.join("program");
                other.program().pin(&pin).expect("a BPF file system");
                let pin = pin.to_str().expect("a path");
                // Not `ip -n`, which hides the BPF file system.
                let command = ["link", "set", "dev", "lb0", mode, "pinned", pin];
                fixture.node.within(|| run("ip", &command));
            }
        }
        let foreign = fixture.program_id();
        assert_ne!(foreign, 0);

        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L4Dsr));
        let mut config = fixture.config(Role::LoadBalancer, controller.address);
        config.keep_on_exit = false;
        let agent = fixture.start(config.clone()).await;
        let report = eventually("a fault and a refusal", || {
            controller.report_if(|report| !report.fault.is_empty() && !report.refusals.is_empty())
        })
        .await;
        let name = format!("another XDP program on lb0: `lbfabric_pass` (id {foreign})");
        assert!(report.fault.contains(&name), "{}", report.fault);
        assert!(
            report.refusals[0].reason.contains("lbfabric_pass"),
            "{report:?}"
        );
        assert_eq!(fixture.program_id(), foreign);
        // One that takes away what is its own does not take this.
        agent.stop().await;
        assert_eq!(fixture.program_id(), foreign);
        assert!(!fixture.pin_dir.exists());

        // The agent takes its place by itself once it is free.
        let agent = fixture.start(config).await;
        drop(other);
        if let Way::Netlink(mode) = way {
            assert_eq!(
                fixture.program_id(),
                foreign,
                "it stays without any process"
            );
            fixture.node.ip(&["link", "set", "dev", "lb0", mode, "off"]);
        }
        let free = |report: &v1::NodeReport| attached(report) && report.refusals.is_empty();
        eventually("attached and nothing refused", || {
            controller.report_if(free)
        })
        .await;
        agent.stop().await;
    });
}

#[test]
fn a_generic_program_in_a_link_is_left_alone() {
    named_and_left_alone(Way::Link(XdpMode::Skb));
}

#[test]
fn row_41_a_native_program_in_a_link_is_left_alone() {
    named_and_left_alone(Way::Link(XdpMode::Driver));
}

#[test]
fn a_generic_program_without_a_link_is_left_alone() {
    named_and_left_alone(Way::Netlink("xdpgeneric"));
}

#[test]
fn a_native_program_without_a_link_is_left_alone() {
    named_and_left_alone(Way::Netlink("xdpdrv"));
}

#[test]
fn nobody_replaces_the_agents_program() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let controller = PlayedController::start().await;
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config).await;
        eventually("attached", || controller.report_if(attached)).await;
        let program = fixture.program_id();
        let mut other = PassPrograms::load();
        for mode in [XdpMode::Driver, XdpMode::Skb] {
            assert!(other.program().attach("lb0", mode).is_err(), "{mode:?}");
        }
        let scratch = ScratchPins::new();
        let pin = scratch.0.join("program");
        other.program().pin(&pin).expect("a BPF file system");
        let pin = pin.to_str().expect("a path");
        let refused = fixture.node.within(|| {
            let mut ip = std::process::Command::new("ip");
            let command = [
                "-force", "link", "set", "dev", "lb0", "xdpdrv", "pinned", pin,
            ];
            ip.args(command).output().expect("iproute2 is there")
        });
        let reason = String::from_utf8_lossy(&refused.stderr);
        assert!(reason.contains("replace active BPF XDP link"), "{reason}");
        assert_eq!(fixture.program_id(), program);
        agent.stop().await;
    });
}
