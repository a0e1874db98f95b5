use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tracing::{info, warn};

use crate::config::SpeakerConfig;
use crate::socket::{bind_listener, set_md5_secret};

/// Awaits neighbors' connections, in both families.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    wanted: Wanted,
    ipv4: Option<TcpListener>,
    ipv6: Option<TcpListener>,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Wanted {
    port: Option<u16>,
    secrets: BTreeSet<(IpAddr, Vec<u8>)>,
}

/// Connections that wait to be accepted. A neighbor makes one.
const BACKLOG: i32 = 64;
/// How long nothing is accepted after the kernel had no room for it.
const PAUSE: Duration = Duration::from_millis(100);

// === impl Listener ===

impl Listener {
    /// Listens as the configuration wants it. Other secrets make other sockets, so that no old one is left in the kernel.
    pub(crate) fn configure(&mut self, config: &SpeakerConfig) {
        let transports = config.neighbors().values().map(|setup| &setup.transport);
        let secret = |it: &lbfabric_bgp::Transport| Some((it.peer, it.md5_secret.clone()?));
        let wanted = Wanted {
            port: config.listen_port(),
            secrets: transports.filter_map(secret).collect(),
        };
        if wanted != self.wanted {
            *self = Self {
                wanted,
                ipv4: None,
                ipv6: None,
            };
        }
        self.listen();
    }

    /// Makes the sockets that are missing.
    pub(crate) fn listen(&mut self) {
        let Some(port) = self.wanted.port else {
            return;
        };
        for (is_ipv4, socket) in [(true, &mut self.ipv4), (false, &mut self.ipv6)] {
            if socket.is_some() {
                continue;
            }
            match open(is_ipv4, port, &self.wanted.secrets) {
                Ok(opened) => {
                    info!(port, is_ipv4, "awaiting BGP neighbors");
                    *socket = Some(opened);
                }
                Err(error) => {
                    warn!(port, is_ipv4, %error, "cannot await BGP neighbors, trying again");
                }
            }
        }
    }

    /// Whether [`Listener::listen`] has something to make.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.wanted.port.is_some() && (self.ipv4.is_none() || self.ipv6.is_none())
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            let accepted = tokio::select! {
                accepted = accept(self.ipv4.as_ref()) => accepted,
                accepted = accept(self.ipv6.as_ref()) => accepted,
            };
            match accepted {
                Ok(accepted) => return accepted,
                Err(error) => {
                    warn!(%error, "cannot accept a BGP connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

// === impl Wanted ===

impl std::fmt::Debug for Wanted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { port, secrets } = self;
        formatter
            .debug_struct("Wanted")
            .field("port", port)
            .field("secrets", &secrets.len())
            .finish()
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

fn open(
    is_ipv4: bool,
    port: u16,
    secrets: &BTreeSet<(IpAddr, Vec<u8>)>,
) -> io::Result<TcpListener> {
    let socket = bind_listener(is_ipv4, port)?;
    for (peer, secret) in secrets {
        if peer.is_ipv4() == is_ipv4 {
            set_md5_secret(&socket, *peer, Some(secret))?;
        }
    }
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
