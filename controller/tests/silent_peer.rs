//! A node whose machine is gone without a word: nothing is closed, nothing arrives.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/members.rs"]
mod members;

use std::time::{Duration, Instant};

use lbfabric_proto::v1::{self, node_service_client::NodeServiceClient, sync_request};
use members::{Members, eventually, object_ref, timed};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tonic::transport::Endpoint;

/// Copies bytes one way until it is frozen; then it takes none and keeps the connection open.
async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = tokio::select! {
            _ = frozen.wait_for(|frozen| *frozen) => None,
            len = from.read(&mut buffer) => Some(len.unwrap_or(0)),
        };
        let Some(len) = len else {
            return std::future::pending().await;
        };
        if len == 0 || to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}

/// Relays connections to `target` from the address that it returns.
async fn relay(target: String, frozen: watch::Receiver<bool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&target).await.unwrap();
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::spawn(copy(near_read, far_write, frozen.clone()));
            tokio::spawn(copy(far_read, near_write, frozen.clone()));
        }
    });
    address
}

async fn is_connected(members: &Members) -> bool {
    let request = v1::GetRequest {
        r#ref: Some(object_ref(v1::Kind::Node, "n1")),
        with_status: true,
    };
    let response = members.fabric(1).get(timed(request)).await.unwrap();
    match response.into_inner().object.unwrap().status.unwrap() {
        v1::object::Status::NodeStatus(node) => node.connected,
        other => panic!("no status of a node: {other:?}"),
    }
}

#[tokio::test]
async fn silent_node_counts_as_away_within_seconds() {
    let members = Members::start(1);
    members.serving(1).await;
    let (freeze, frozen) = watch::channel(false);
    let address = relay(members.address(1), frozen).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut nodes = NodeServiceClient::new(channel.connect_lazy());
    let hello = sync_request::Message::Hello(v1::Hello {
        name: "n1".to_owned(),
        role: v1::NodeRole::LoadBalancer.into(),
        ..v1::Hello::default()
    });
    let (requests, stream) = tokio::sync::mpsc::unbounded_channel();
    let message = Some(hello);
    requests.send(v1::SyncRequest { message }).unwrap();
    let stream = tokio_stream::wrappers::UnboundedReceiverStream::new(stream);
    let mut deltas = nodes.sync(stream).await.unwrap().into_inner();
    deltas.message().await.unwrap().unwrap();
    assert!(is_connected(&members).await);

    let frozen_at = Instant::now();
    freeze.send_replace(true);
    eventually("the node to count as away", async || {
        (!is_connected(&members).await).then_some(())
    })
    .await;
    let took = frozen_at.elapsed();
    eprintln!("found after {} ms", took.as_millis());
    assert!(took < Duration::from_secs(4), "{took:?}");
}
