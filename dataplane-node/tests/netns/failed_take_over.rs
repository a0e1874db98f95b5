//! An agent that is to take another's place, and cannot: the other one keeps everything. And what both want to have, the metrics' address.

use lbfabric_node::{AccessLogTarget, NodeAgent, NodeConfig, Role, StartError};
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, eventually},
    l7_clients::curl,
    l7_reverse::{VIPS, is_applied, serve_in},
    load_balancer::web,
    played_controller::PlayedController,
    seeing::{METRICS, told, until_ready},
};

/// A request through the service; it has an answer.
fn get(fixture: &Fixture) {
    let url = format!("http://{}/", VIPS[0]);
    curl(&fixture.peer, &[&url]).expect("an answer");
}

#[test]
fn an_agent_that_cannot_go_on_takes_nobodys_place() {
    let fixture = Fixture::new();
    fixture.route_vips();
    serve_in(&fixture.peer, "10.88.0.2:80");
    serve_in(&fixture.peer, "[fd88::2]:80");
    fixture.node.ip(&["link", "set", "lo", "up"]);
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L7Reverse));
        let config = NodeConfig {
            metrics_address: Some(METRICS.parse().expect("an address and a port")),
            take_over: true,
            ..fixture.config(Role::LoadBalancer, controller.address)
        };
        let mut agent = fixture.start(config.clone()).await;
        eventually("the service", || controller.report_if(is_applied)).await;
        get(&fixture);

        let folder = tempfile::tempdir().expect("a temporary folder");
        // A folder is no file, and this address is not the node's.
        let cannot_log = NodeConfig {
            access_log: AccessLogTarget::File(folder.path().to_owned()),
            ..config.clone()
        };
        let failed = NodeAgent::start(cannot_log).await;
        assert!(
            matches!(failed, Err(StartError::AccessLog(_))),
            "{failed:?}"
        );
        let cannot_tell = NodeConfig {
            metrics_address: Some("203.0.113.1:9100".parse().expect("an address")),
            ..config.clone()
        };
        let failed = NodeAgent::start(cannot_tell).await;
        assert!(
            matches!(failed, Err(StartError::Metrics { .. })),
            "{failed:?}"
        );

        // The first one has all that it had: the folder, its listeners, the stream and the address.
        let second = NodeConfig {
            take_over: false,
            metrics_address: None,
            ..config.clone()
        };
        let refused = NodeAgent::start(second).await;
        assert!(
            matches!(refused, Err(StartError::Running(_))),
            "{refused:?}"
        );
        get(&fixture);
        assert_eq!(told(&fixture.node, "/readyz").await.0, "200");

        // The next one gets the address that the first one still had when it began.
        let next = fixture.start(config).await;
        agent.handed_over().await;
        until_ready(&fixture.node).await;
        get(&fixture);
        next.stop().await;
    });
}
