use std::{io, time::Duration};

use lbfabric_lease::GREETING;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time,
};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use super::LeaseConnections;

/// How long a connection may take to say anything.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries, when there is no descriptor for a connection.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Connections that wait to be served.
const WAITING_MAX: usize = 128;

/// Accepts connections, and tells by their first byte those for leases, which go to another thread.
pub(crate) struct Acceptor {
    listener: TcpListener,
    calls: mpsc::Sender<io::Result<TcpStream>>,
    leases: mpsc::Sender<std::net::TcpStream>,
}

// === impl Acceptor ===

impl Acceptor {
    /// With what it accepts: connections for calls, and for leases.
    pub(crate) fn new(
        listener: TcpListener,
    ) -> (
        Self,
        ReceiverStream<io::Result<TcpStream>>,
        LeaseConnections,
    ) {
        let (calls, called) = mpsc::channel(WAITING_MAX);
        let (leases, lease_connections) = mpsc::channel(WAITING_MAX);
        let acceptor = Self {
            listener,
            calls,
            leases,
        };
        (acceptor, ReceiverStream::new(called), lease_connections)
    }

    /// Accepts until nobody wants calls any more.
    pub(crate) async fn run(self) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.calls.closed() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(sort(stream, self.calls.clone(), self.leases.clone()));
                }
                Err(e) => {
                    warn!(error = %e, "a connection was not accepted");
                    time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }
}

async fn sort(
    mut stream: TcpStream,
    calls: mpsc::Sender<io::Result<TcpStream>>,
    leases: mpsc::Sender<std::net::TcpStream>,
) {
    let greeted = time::timeout(GREETING_TIMEOUT, greeting(&mut stream)).await;
    match greeted {
        // Whoever served them may have ended.
        Ok(Ok(false)) => drop(calls.send(Ok(stream)).await),
        Ok(Ok(true)) => match stream.into_std() {
            Ok(stream) => drop(leases.send(stream).await),
            Err(e) => warn!(error = %e, "a connection for leases was lost"),
        },
        Ok(Err(e)) => debug!(error = %e, "a connection broke before it said anything"),
        Err(_silent) => debug!("a connection said nothing"),
    }
}

/// Whether a connection is for leases. Of any other nothing is read.
async fn greeting(stream: &mut TcpStream) -> io::Result<bool> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] != GREETING[0] {
        return Ok(false);
    }
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting).await?;
    if greeting == GREETING {
        Ok(true)
    } else {
        Err(io::Error::other("it is neither HTTP/2 nor for leases"))
    }
}
