//! `client_address_option` where the server's agent is killed: what it has attached goes on until the next one.

use std::path::Path;

use lbfabric_proto::v1;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use crate::{
    fixture::{Fixture, eventually},
    namespace::Namespace,
    played_controller::PlayedController,
    told_client::{Connection, Listeners, are_attached, are_gone, behind_node, fabric},
};

/// The agent as a process of its own, in the namespace of this thread.
fn start(fixture: &Fixture, state: &Path, controller: &PlayedController) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lbfabric-node"))
        .args(["--name", "s1", "--role", "server", "--interface", "sv0"])
        .args(["--controller", &controller.address.to_string()])
        .arg("--pin-dir")
        .arg(&fixture.pin_dir)
        .arg("--state-dir")
        .arg(state)
        .kill_on_drop(true)
        .spawn()
        .expect("the agent's binary")
}

async fn serve(fixture: &Fixture, client: &Namespace) {
    let state = tempfile::tempdir().expect("a temporary folder");
    let mut controller = PlayedController::start().await;
    controller.apply(&fabric([true; 2]));
    let applied = |report: &v1::NodeReport| report.fault.is_empty() && report.refusals.is_empty();
    let mut agent = start(fixture, state.path(), &controller);
    eventually("the hooks", || are_attached(fixture)).await;
    eventually("no refusals", || controller.report_if(applied)).await;
    let listeners = Listeners::new(&fixture.peer);
    let before = listeners.connections(client);
    before.iter().for_each(Connection::assert_told);

    // SIGKILL, and it is waited for.
    agent.kill().await.expect("the agent still runs");
    assert_eq!(are_attached(fixture), Some(()));
    let without = listeners.connections(client);
    before
        .iter()
        .chain(&without)
        .for_each(Connection::assert_told);

    controller.forget_agent();
    let mut agent = start(fixture, state.path(), &controller);
    eventually("the next agent", || controller.report_if(applied)).await;
    let after = listeners.connections(client);
    for connection in before.iter().chain(&without).chain(&after) {
        connection.assert_told();
    }

    let id = agent.id().expect("the agent still runs");
    let id = Pid::from_raw(id.try_into().expect("a process id"));
    kill(id, Signal::SIGTERM).expect("the agent still runs");
    let ended = agent.wait().await.expect("the agent ends");
    assert!(ended.success(), "{ended}");
    eventually("the hooks gone", || are_gone(fixture)).await;
}

#[test]
fn what_a_killed_agent_has_attached_goes_on_and_the_next_takes_over() {
    behind_node(serve);
}
