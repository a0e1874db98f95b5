//! How fast a cluster writes and reads: three members of this crate in one process, on loopback, with real disks.
//!
//! ```text
//! cargo run --release -p lbfabric-controller --example figures
//! ```

use std::{
    collections::BTreeMap,
    net::TcpListener,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use lbfabric_controller::{Controller, ControllerConfig};
use lbfabric_proto::v1::{self, fabric_service_client::FabricServiceClient};
use tonic::transport::{Channel, Endpoint};

const MEMBERS: u64 = 3;
const SEQUENTIAL: usize = 500;
const CLIENTS: usize = 64;
const PER_CLIENT: usize = 50;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let held = (0..MEMBERS)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<Vec<_>, _>>()?;
    let members = (1..)
        .zip(&held)
        .map(|(id, socket)| Ok((id, socket.local_addr()?.to_string())))
        .collect::<anyhow::Result<BTreeMap<u64, String>>>()?;
    drop(held);
    let mut controllers = Vec::new();
    for (id, address) in &members {
        let config = ControllerConfig {
            id: *id,
            data_dir: folder.path().join(id.to_string()),
            listen: address.parse()?,
            members: members.clone(),
            plaintext: false,
        };
        controllers.push(Controller::start(config).await?);
    }
    for (id, address) in &members {
        let client = connect(address)?;
        client.clone().list(v1::ListRequest::default()).await?;
        measure(
            &format!("writes, one client at member {id}"),
            1,
            SEQUENTIAL,
            &client,
            write,
        )
        .await?;
        measure(
            &format!("reads, one client at member {id}"),
            1,
            SEQUENTIAL,
            &client,
            read,
        )
        .await?;
    }
    let client = connect(members.values().next().context("no member")?)?;
    measure("writes, 64 clients", CLIENTS, PER_CLIENT, &client, write).await?;
    measure("reads, 64 clients", CLIENTS, PER_CLIENT, &client, read).await?;
    for controller in controllers {
        controller.stop().await;
    }
    Ok(())
}

fn connect(address: &str) -> anyhow::Result<FabricServiceClient<Channel>> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    Ok(FabricServiceClient::new(channel))
}

async fn write(mut client: FabricServiceClient<Channel>, i: usize) -> Result<(), tonic::Status> {
    let pool = v1::PoolSpec {
        name: format!("p{}", i % 100),
        backends: vec![v1::BackendSpec {
            name: "s1".to_owned(),
            addresses: vec![format!("10.{}.{}.1", i / 250 % 250, i % 250)],
            ..v1::BackendSpec::default()
        }],
        ..v1::PoolSpec::default()
    };
    let request = v1::ApplyRequest {
        fabric: Some(v1::FabricSpec {
            pools: vec![pool],
            ..v1::FabricSpec::default()
        }),
        ..v1::ApplyRequest::default()
    };
    client.apply(request).await.map(|_| ())
}

async fn read(mut client: FabricServiceClient<Channel>, i: usize) -> Result<(), tonic::Status> {
    let request = v1::GetRequest {
        r#ref: Some(v1::ObjectRef {
            kind: v1::Kind::Pool.into(),
            name: format!("p{}", i % 100),
        }),
        with_status: false,
    };
    client.get(request).await.map(|_| ())
}

/// Runs `clients` of them at once, each one call after the other, and prints what they saw.
async fn measure<F>(
    what: &str,
    clients: usize,
    calls: usize,
    client: &FabricServiceClient<Channel>,
    call: impl Fn(FabricServiceClient<Channel>, usize) -> F + Clone + Send + 'static,
) -> anyhow::Result<()>
where
    F: Future<Output = Result<(), tonic::Status>> + Send,
{
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for c in 0..clients {
        let (client, call) = (client.clone(), call.clone());
        running.spawn(async move {
            let mut took = Vec::with_capacity(calls);
            for i in 0..calls {
                let started = Instant::now();
                call(client.clone(), c * calls + i).await?;
                took.push(started.elapsed());
            }
            Ok::<_, tonic::Status>(took)
        });
    }
    let mut took: Vec<Duration> = Vec::new();
    for result in running.join_all().await {
        took.extend(result?);
    }
    let elapsed = started.elapsed();
    took.sort_unstable();
    let count = u32::try_from(took.len())?;
    eprintln!(
        "{what}: {:.0}/s, p50 {:?}, p99 {:?}",
        f64::from(count) / elapsed.as_secs_f64(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
    );
    Ok(())
}
