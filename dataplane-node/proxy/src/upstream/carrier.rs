use std::{io, sync::Arc, time::Duration};

use super::{connection::Upstream, permit::Permit};
use crate::config::ProxyConfig;

/// What carries a request to a server: a connection of its own, or a part of one.
pub(crate) trait Carrier: Sized {
    /// One that waits for a request, if there is one.
    fn waiting(permit: &Permit) -> Option<Self>;

    /// Whether it goes over a connection that was there before.
    fn is_reused(&self) -> bool;

    /// A new one. The error is [`QuotaExceeded`](io::ErrorKind::QuotaExceeded) if the server has as many connections as it may have.
    async fn connect(
        permit: &Permit,
        config: &Arc<ProxyConfig>,
        limit: Duration,
    ) -> io::Result<Self>;
}

impl Carrier for Upstream {
    fn waiting(permit: &Permit) -> Option<Self> {
        permit.idle_connection()
    }

    fn is_reused(&self) -> bool {
        self.is_reused
    }

    async fn connect(
        permit: &Permit,
        _config: &Arc<ProxyConfig>,
        limit: Duration,
    ) -> io::Result<Self> {
        permit.connect_anew(limit).await
    }
}
