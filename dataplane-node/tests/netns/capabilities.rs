//! What the agent may do, and what it says when it may not.

use lbfabric_proto::v1;
use tokio::process::{Child, Command};

use crate::{
    fixture::{Fixture, attached, eventually},
    load_balancer::web,
    played_controller::PlayedController,
};

/// The agent as a process of its own that has these capabilities alone, in `setpriv`'s spelling.
fn start(fixture: &Fixture, controller: &PlayedController, capabilities: &str) -> Child {
    Command::new("setpriv")
        .arg(format!("--bounding-set={capabilities}"))
        .arg("--inh-caps=-all")
        .arg(env!("CARGO_BIN_EXE_lbfabric-node"))
        .args(["--name", "lb1", "--interface", "lb0"])
        .args(["--controller", &controller.address.to_string()])
        .arg("--pin-dir")
        .arg(&fixture.pin_dir)
        .arg("--state-dir")
        .arg(fixture.state_dir.path())
        .kill_on_drop(true)
        .spawn()
        .expect("setpriv of util-linux")
}

#[test]
fn missing_ones_are_named() {
    for (has, misses) in [
        ("-all", "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"),
        ("-all,+bpf,+net_admin", "CAP_PERFMON"),
    ] {
        let fixture = Fixture::new();
        fixture.run(|| async {
            let mut controller = PlayedController::start().await;
            controller.apply(&web(v1::Mode::L4Dsr));
            let mut agent = start(&fixture, &controller, has);
            let refused =
                |report: &v1::NodeReport| !report.fault.is_empty() && !report.refusals.is_empty();
            let report = eventually("a fault", || controller.report_if(refused)).await;
            let expected = format!("capability missing: {misses} (");
            assert!(report.fault.starts_with(&expected), "{}", report.fault);
            assert_eq!(report.refusals[0].reason, report.fault);
            agent.kill().await.expect("the agent still runs");
        });
    }
}

#[test]
fn no_others_are_needed() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let controller = PlayedController::start().await;
        let mut agent = start(&fixture, &controller, "-all,+bpf,+perfmon,+net_admin");
        let report = eventually("a report", || controller.report_if(attached)).await;
        assert_eq!(report.xdp_mode(), v1::XdpMode::Native);
        agent.kill().await.expect("the agent still runs");
    });
}
