use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::{Extras, Header, Origin, Version, write};

/// Whose connection it is: as its socket says, or as a proxy before this one has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) client: SocketAddr,
    /// Where the client went, if that is not where the connection goes.
    service: Option<SocketAddr>,
    /// The client speaks TLS with the proxy before this one.
    pub(crate) is_tls: bool,
}

impl Endpoints {
    /// As the socket says.
    pub(crate) fn of(from: SocketAddr) -> Self {
        Self {
            client: canonical(from),
            service: None,
            is_tls: false,
        }
    }

    /// As a header says, on a connection from a proxy.
    pub(super) fn said(header: &Header<'_>, from: SocketAddr) -> Self {
        match header.origin {
            Origin::Proxy | Origin::Unknown => Self::of(from),
            Origin::Client {
                client,
                service,
                is_datagram: _,
            } => Self {
                client: canonical(client),
                service: Some(canonical(service)),
                is_tls: header.extras.tls.is_some_and(|tls| tls.is_used),
            },
        }
    }

    /// What a server is told of a connection that it does not see.
    pub(crate) fn told(
        &self,
        socket: &TcpStream,
        version: Version,
        extras: Extras<'_>,
    ) -> Box<[u8]> {
        let local = || SockRef::from(socket).local_addr().ok()?.as_socket();
        let service = self.service.or_else(local);
        // A connection that is gone has no address any more.
        let origin = service.map_or(Origin::Unknown, |service| Origin::Client {
            client: self.client,
            service: canonical(service),
            is_datagram: false,
        });
        let header = Header {
            version,
            origin,
            extras,
        };
        let mut bytes = Vec::new();
        write(&mut bytes, &header);
        bytes.into()
    }
}

/// An IPv4 address as such, also on a socket of both families.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
