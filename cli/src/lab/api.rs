//! Calls of the controllers from the operator's namespace.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use lbfabric_proto::internal::v1 as internal;
use lbfabric_proto::internal::v1::peer_service_client::PeerServiceClient;
use lbfabric_proto::v1;
use lbfabric_proto::v1::fabric_service_client::FabricServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::namespace::Namespace;
use super::topology::{CONTROLLERS, Family, Host, Segment, address};

/// The controllers' port.
const PORT: u16 = 7400;
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const CALL_LIMIT: Duration = Duration::from_secs(3);

/// Where a controller listens.
pub(super) fn endpoint(controller: u8) -> SocketAddr {
    let ip = address(
        Segment::Management,
        Host::Controller(controller),
        Family::Ipv4,
    );
    SocketAddr::new(ip, PORT)
}

/// Every controller's endpoint, separated by commas.
pub(super) fn endpoints() -> String {
    (1..=CONTROLLERS)
        .map(|id| endpoint(id).to_string())
        .collect::<Vec<_>>()
        .join(",")
}

/// Every object with its status, as one of the controllers that answers knows it.
pub(super) fn list(ops: &Namespace) -> anyhow::Result<v1::ListResponse> {
    let mut failed = Vec::new();
    for controller in 1..=CONTROLLERS {
        match list_from(ops, controller) {
            Ok(listed) => return Ok(listed),
            Err(error) => failed.push(format!("ctl{controller}: {error:#}")),
        }
    }
    Err(anyhow!(
        "no controller lists the fabric: {}",
        failed.join("; ")
    ))
}

/// Every object with its status, as this controller knows it.
pub(super) fn list_from(ops: &Namespace, controller: u8) -> anyhow::Result<v1::ListResponse> {
    let request = v1::ListRequest {
        kind: v1::Kind::Unspecified.into(),
        with_status: true,
    };
    call(ops, controller, async |channel| {
        Ok(FabricServiceClient::new(channel)
            .list(request)
            .await?
            .into_inner())
    })
}

/// The controller that leads, if one says so.
pub(super) fn leader(ops: &Namespace) -> Option<u8> {
    (1..=CONTROLLERS).find(|&controller| {
        let answer = call(ops, controller, async |channel| {
            let request = internal::ReadIndexRequest {};
            Ok(PeerServiceClient::new(channel)
                .read_index(request)
                .await?
                .into_inner())
        });
        matches!(
            answer.map(|answer| answer.outcome),
            Ok(Some(internal::read_index_response::Outcome::Index(_)))
        )
    })
}

fn call<T: Send>(
    ops: &Namespace,
    controller: u8,
    work: impl AsyncFnOnce(Channel) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    ops.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a runtime")?;
        runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://{}", endpoint(controller)))?
                .connect_timeout(CONNECT_LIMIT)
                .timeout(CALL_LIMIT);
            work(endpoint.connect().await?).await
        })
    })
}
