use lbfabric_proto::v1::{
    fabric_service_server::FabricServiceServer, node_service_server::NodeServiceServer,
};
use tokio::sync::watch;
use tonic::server::NamedService;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    fabric_service::FabricServer,
    node_service::NodeServer,
    raft::{Published, RaftView},
};

/// Reports this member as serving while it knows a leader and has a state.
pub(crate) async fn follow(
    reporter: HealthReporter,
    mut view: watch::Receiver<RaftView>,
    mut published: watch::Receiver<Published>,
) {
    loop {
        let led = {
            let view = view.borrow_and_update();
            view.connected && view.leader.is_some()
        };
        let serving = led && published.borrow_and_update().state.has_hash_key();
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in [
            "",
            FabricServiceServer::<FabricServer>::NAME,
            NodeServiceServer::<NodeServer>::NAME,
        ] {
            reporter.set_service_status(service, status).await;
        }
        let changed = tokio::select! {
            changed = view.changed() => changed,
            changed = published.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
