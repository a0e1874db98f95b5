//! A member inside another program, as `lbfabric dev` runs it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{collections::BTreeMap, path::Path, time::Duration};

use lbfabric_controller::{Controller, ControllerConfig, StartError};
use lbfabric_proto::v1::{self, fabric_service_client::FabricServiceClient};
use tonic::transport::{Channel, Endpoint};

fn config(data_dir: &Path) -> ControllerConfig {
    ControllerConfig {
        id: 1,
        data_dir: data_dir.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        members: BTreeMap::from([(1, "127.0.0.1:1".to_owned())]),
        plaintext: false,
    }
}

fn fabric(controller: &Controller) -> FabricServiceClient<Channel> {
    let address = format!("http://{}", controller.address());
    FabricServiceClient::new(Endpoint::from_shared(address).unwrap().connect_lazy())
}

#[tokio::test]
async fn member_can_be_stopped_and_started_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let controller = Controller::start(config(folder.path())).await.unwrap();
        let mut fabric = fabric(&controller);
        // An open watch does not hold the stop up.
        let watch = fabric.watch(v1::WatchRequest::default()).await.unwrap();
        let request = v1::ApplyRequest {
            fabric: Some(v1::FabricSpec {
                pools: vec![v1::PoolSpec {
                    name: format!("p{round}"),
                    ..v1::PoolSpec::default()
                }],
                ..v1::FabricSpec::default()
            }),
            ..v1::ApplyRequest::default()
        };
        fabric.apply(request).await.unwrap();
        let list = fabric.list(v1::ListRequest::default()).await.unwrap();
        assert_eq!(list.into_inner().objects.len(), round + 1);
        let stopped = tokio::time::timeout(Duration::from_secs(10), controller.stop());
        stopped.await.unwrap();
        drop(watch);
    }
}

#[tokio::test]
async fn wrong_configurations_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut not_a_member = config(folder.path());
    not_a_member.id = 2;
    let mut open_network = config(folder.path());
    open_network.listen = "0.0.0.0:0".parse().unwrap();
    let mut no_address = config(folder.path());
    no_address.members.insert(2, "not an address".to_owned());
    let mut elsewhere = config(folder.path());
    elsewhere.listen = "127.0.0.1:1".parse().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere
        .listen
        .set_port(taken.local_addr().unwrap().port());
    let start = async |config| Controller::start(config).await.err().unwrap();
    assert!(matches!(
        start(not_a_member).await,
        StartError::NotAMember { id: 2 }
    ));
    assert!(matches!(
        start(open_network).await,
        StartError::Plaintext(_)
    ));
    assert!(matches!(start(elsewhere).await, StartError::Listen { .. }));
    assert!(matches!(
        start(no_address).await,
        StartError::MemberAddress(_)
    ));
}
