use std::{io, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time};
use tonic::transport::{Channel, Endpoint, Uri};

/// How a connection for leases begins, before HTTP/2 does. A controller member hands it to its own thread for them.
pub const GREETING: &[u8] = b"LBFABRIC-LEASES\r\n";

/// Leases that cannot be had within this time are lost anyway.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// A machine that is silently gone is found within the sum of these two.
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(250);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(250);

/// A connection for leases to `host:port`, which is made when it is first used, and again whenever it broke.
pub fn channel(address: &str) -> Result<Channel, tonic::transport::Error> {
    let address = address.to_owned();
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let connector = tower::service_fn(move |_: Uri| connect(address.clone()));
    Ok(endpoint.connect_with_connector_lazy(connector))
}

async fn connect(address: String) -> io::Result<TokioIo<TcpStream>> {
    let connecting = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(GREETING).await?;
        Ok(TokioIo::new(stream))
    };
    time::timeout(CONNECT_TIMEOUT, connecting).await?
}
