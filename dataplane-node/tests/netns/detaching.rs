//! What was attached and pinned can be taken away without a trace.

use lbfabric_abi::LAYOUT_VERSION;
use lbfabric_node::{Role, detach};

use crate::{
    fixture::{Fixture, attached, eventually},
    played_controller::PlayedController,
    two_nics::TwoNics,
};

#[test]
fn row_41_detaching_removes_everything_and_needs_the_agent_stopped() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let controller = PlayedController::start().await;
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config).await;
        eventually("attached", || controller.report_if(attached)).await;
        let state_dir = Some(fixture.state_dir.path());
        let early = detach(&fixture.pin_dir, &[], state_dir).await;
        assert!(early.is_err_and(|error| error.to_string().contains("another agent runs")));
        drop(agent);
        assert_ne!(fixture.program_id(), 0);
        detach(&fixture.pin_dir, &["lb0".to_owned()], state_dir)
            .await
            .expect("detached");
        eventually("detached", || (fixture.program_id() == 0).then_some(())).await;
        assert!(!fixture.pin_dir.exists());
        // Once more is no error.
        detach(&fixture.pin_dir, &[], state_dir)
            .await
            .expect("nothing to do");
    });
}

#[test]
fn each_interface_can_be_detached_by_itself() {
    let net = TwoNics::new();
    let fixture = &net.fixture;
    fixture.run(|| async {
        let controller = PlayedController::start().await;
        let agent = fixture.start(net.config(&controller)).await;
        eventually("attached", || controller.report_if(attached)).await;
        drop(agent);
        let state_dir = Some(fixture.state_dir.path());
        detach(&fixture.pin_dir, &["lb0".to_owned()], state_dir)
            .await
            .expect("detached");
        eventually("detached", || (fixture.program_id() == 0).then_some(())).await;
        assert_ne!(fixture.program_id_on("lb1"), 0);
        assert_eq!(
            fixture.program_arrays(),
            ["programs-1"],
            "the other one needs it"
        );
        detach(&fixture.pin_dir, &[], state_dir)
            .await
            .expect("detached");
        let gone = || (fixture.program_id_on("lb1") == 0).then_some(());
        eventually("detached", gone).await;
        assert!(!fixture.pin_dir.exists());
    });
}

#[test]
fn an_agent_that_is_to_detach_leaves_nothing_on_any_interface() {
    let net = TwoNics::new();
    let fixture = &net.fixture;
    fixture.run(|| async {
        let controller = PlayedController::start().await;
        let mut config = net.config(&controller);
        config.keep_on_exit = false;
        let agent = fixture.start(config).await;
        eventually("attached", || controller.report_if(attached)).await;
        agent.stop().await;
        for interface in ["lb0", "lb1"] {
            let gone = || (fixture.program_id_on(interface) == 0).then_some(());
            eventually("detached", gone).await;
        }
        assert!(!fixture.pin_dir.exists());
    });
}

#[test]
fn another_layout_is_detached_as_well() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let controller = PlayedController::start().await;
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config).await;
        eventually("attached", || controller.report_if(attached)).await;
        drop(agent);
        let other = fixture.pin_dir.join(format!("v{}", LAYOUT_VERSION - 1));
        std::fs::rename(fixture.maps_dir(), &other).expect("it is on the same file system");
        let state_dir = Some(fixture.state_dir.path());
        detach(&fixture.pin_dir, &[], state_dir)
            .await
            .expect("detached");
        eventually("detached", || (fixture.program_id() == 0).then_some(())).await;
        assert!(!fixture.pin_dir.exists());
    });
}

/// As VLANs are usually named. A BPF file system does not take such names.
#[test]
fn an_interface_with_a_dot_in_its_name_is_attached_adopted_and_detached() {
    let fixture = Fixture::new();
    fixture.node.ip(&["link", "set", "lb0", "down"]);
    fixture.node.ip(&["link", "set", "lb0", "name", "lb0.7"]);
    fixture.node.ip(&["link", "set", "lb0.7", "up"]);
    fixture.run(|| async {
        let controller = PlayedController::start().await;
        let mut config = fixture.config(Role::LoadBalancer, controller.address);
        config.interfaces = vec!["lb0.7".to_owned()];
        let agent = fixture.start(config.clone()).await;
        eventually("attached", || controller.report_if(attached)).await;
        let first = fixture.program_id_on("lb0.7");
        assert_ne!(first, 0);
        drop(agent);
        controller.forget_agent();
        let agent = fixture.start(config).await;
        eventually("attached", || controller.report_if(attached)).await;
        let second = fixture.program_id_on("lb0.7");
        assert!(second != 0 && second != first, "the program was replaced");
        drop(agent);
        let state_dir = Some(fixture.state_dir.path());
        detach(&fixture.pin_dir, &["lb0.7".to_owned()], state_dir)
            .await
            .expect("detached");
        let gone = || (fixture.program_id_on("lb0.7") == 0).then_some(());
        eventually("detached", gone).await;
        assert!(!fixture.pin_dir.exists());
    });
}
