use std::{io, net::SocketAddr, rc::Rc};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpListener,
    runtime::{Builder, LocalOptions},
    task,
};

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
    // Of its connections too, from the beginning.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Is a worker: serves a listener's connections on this thread. Ends only if the listener fails.
pub fn work(listener: std::net::TcpListener, config: ProxyConfig) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    // A task as all others are: what a runtime is blocked on is woken by a system call.
    let served = runtime.spawn_local(serve(listener, config));
    runtime.block_on(served)?
}

/// Serves a listener's connections, each as a task that stays on this thread: in a [`LocalRuntime`](tokio::runtime::LocalRuntime), which
/// needs no lock for waking one, or a [`LocalSet`](task::LocalSet).
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
