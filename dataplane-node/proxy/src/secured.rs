use std::{error::Error, net::IpAddr, sync::Arc};

use tokio::net::TcpStream;
use tracing::debug;

use crate::{
    socket::Socket,
    stream::Stream,
    tls::{NotAccepted, TlsConfig},
};

/// Does the handshake with a client, and serves it behind that.
pub(crate) async fn secured<F: Future<Output = ()>>(
    tcp: TcpStream,
    address: IpAddr,
    tls: Arc<TlsConfig>,
    serve: impl FnOnce(Stream) -> F,
) {
    // On the heap, as it takes room that a connection does not need behind it.
    match Box::pin(tls.accept(tcp)).await {
        Ok(socket) => {
            let facts = &socket.facts;
            debug!(%address, http2 = facts.is_http2, name = facts.server_name.as_deref(), "secured");
            let stream = Stream::new(Socket::Tls(Box::new(socket)));
            drop(tls);
            serve(stream).await;
        }
        Err(NotAccepted { tcp, error }) => {
            debug!(%address, error = &error as &dyn Error, "not secured");
            if let Some(tcp) = tcp {
                Box::pin(Stream::plain(tcp).linger()).await;
            }
        }
    }
}
