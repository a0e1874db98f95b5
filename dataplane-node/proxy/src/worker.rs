use std::{io, net::SocketAddr, rc::Rc};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, task};

use crate::{client::Client, config::ProxyConfig, stream::Stream, upstream::Upstreams};

/// Connections that the kernel keeps until a worker takes them.
const BACKLOG: i32 = 1024;

/// A listener that each worker makes for itself: the kernel spreads connections over them.
pub fn listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves a listener's connections on this thread, in a `tokio` runtime of one thread with a [`LocalSet`](task::LocalSet). Ends only
/// if the listener fails.
pub async fn serve(listener: std::net::TcpListener, config: ProxyConfig) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let upstreams = Rc::new(Upstreams::new(&config.servers, config.idle_connections));
    let config = Rc::new(config);
    loop {
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one(&error) => continue,
            Err(error) => return Err(error),
        };
        if socket.set_nodelay(true).is_err() {
            // It is gone already.
            continue;
        }
        let client = Client {
            stream: Stream::new(socket),
            address: from.ip().to_canonical(),
            config: config.clone(),
            upstreams: upstreams.clone(),
        };
        task::spawn_local(client.serve());
    }
}

/// Whether an error concerns the connection that was to be accepted, and not the listener.
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
