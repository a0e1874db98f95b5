use std::{io, net::SocketAddr, time::Duration};

use tokio::{net::TcpListener, time};
use tracing::{info, warn};

use crate::chain::Chain;

/// How often it is tried to listen where somebody else still does.
const RETRY: Duration = Duration::from_millis(200);

/// Where metrics and health are told.
#[derive(Debug)]
pub(crate) enum AdminAddress {
    /// It is this agent's own.
    Open(TcpListener),
    /// Somebody listens there: the agent whose place is taken, until it hands over.
    Awaited(SocketAddr),
}

impl AdminAddress {
    /// Listens; if it `may_be_awaited`, an address that somebody else has is no error.
    pub(crate) async fn open(address: SocketAddr, may_be_awaited: bool) -> io::Result<Self> {
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Self::Open(listener)),
            Err(error) if may_be_awaited && error.kind() == io::ErrorKind::AddrInUse => {
                Ok(Self::Awaited(address))
            }
            Err(error) => Err(error),
        }
    }

    /// The listener, once there is one: an agent that has taken another's place does not end for want of it.
    pub(crate) async fn listener(self) -> TcpListener {
        let address = match self {
            Self::Open(listener) => return listener,
            Self::Awaited(address) => address,
        };
        let mut is_told = false;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    info!(%address, "metrics are told");
                    return listener;
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        warn!(%address, error = %Chain(&error), "metrics are not told yet");
                    }
                    time::sleep(RETRY).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_another_has_is_awaited_where_it_may_be() {
        let before = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = before.local_addr().unwrap();
        let refused = AdminAddress::open(address, false).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let awaited = AdminAddress::open(address, true).await.unwrap();
        assert!(matches!(awaited, AdminAddress::Awaited(_)), "{awaited:?}");
        let (listener, ()) = tokio::join!(awaited.listener(), async {
            tokio::task::yield_now().await;
            drop(before);
        });
        assert_eq!(listener.local_addr().unwrap(), address);
        // What it cannot become is told at once.
        let strange = AdminAddress::open("192.0.2.1:80".parse().unwrap(), true).await;
        assert_eq!(strange.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }
}
