use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// The largest message between members: the largest request of the API and some room.
pub(crate) const MAX_PEER_MESSAGE_BYTES: usize = 160 * 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// A member that is silently gone is found within the sum of these two.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(700);
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to `host:port` that is made when it is first used, and again whenever it broke.
pub(crate) fn connect_lazily(address: &str) -> Result<Channel, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_lazy())
}
