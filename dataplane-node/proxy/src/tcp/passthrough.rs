use std::task::{Context, Poll, ready};

use super::Connection;
use crate::{
    alarm::Late,
    proxy_protocol::Extras,
    socket::reset,
    stream::{Incoming, write},
    tls_hello::{self, HELLO_BYTES, Name},
};

const _: () = assert!(
    HELLO_BYTES <= crate::buffer::BUFFER_BYTES,
    "a buffer has a whole one"
);

/// The alert of a server that has another name, RFC 8446 section 6.2.
const UNRECOGNIZED_NAME: u8 = 112;

/// A client's TLS connection that is relayed as it comes, to where its server's name says.
pub(crate) struct Passthrough {
    pub(crate) connection: Connection,
}

/// Why a client is not served.
enum Unserved {
    /// With an alert, if it speaks TLS.
    Refused(Option<u8>),
    /// It closes, its connection breaks, or it says too little in time.
    Gone,
}

impl Passthrough {
    /// Serves the connection to its end.
    pub(crate) fn serve(self) -> impl Future<Output = ()> {
        // What is passed to an `async` function is held there twice.
        let mut passthrough = self;
        async move {
            // What this needs is not part of a connection that goes on.
            match Box::pin(passthrough.routed()).await {
                Ok((pool, told)) => passthrough.connection.relay_to(pool, told).await,
                Err(Unserved::Refused(alert)) => Box::pin(passthrough.refuse(alert)).await,
                Err(Unserved::Gone) => reset(passthrough.connection.stream.socket.tcp()),
            }
        }
    }

    /// Waits for the server's name, and says to which pool it goes and what is told there.
    async fn routed(&mut self) -> Result<(usize, Box<[u8]>), Unserved> {
        let limit = self.connection.current.config.timeouts.head;
        let mut incoming = self.connection.stream.incoming();
        let alarm = incoming.alarm;
        let name = alarm.within(limit, |context| poll_name(&mut incoming, context));
        let name = name.await.map_err(|Late| Unserved::Gone)??;
        let pool = self.connection.current.config.sni.pool(name.as_deref());
        let pool = pool.ok_or(Unserved::Refused(Some(UNRECOGNIZED_NAME)))?;
        let extras = Extras {
            authority: name.as_deref().and_then(|it| std::str::from_utf8(it).ok()),
            ..Extras::default()
        };
        let told = self.connection.told(extras);
        if self.connection.current.observer.is_some() {
            self.connection.name = extras.authority.map(Box::from);
        }
        Ok((pool, told))
    }

    /// Closes, and says why to a client that understands it.
    async fn refuse(&mut self, alert: Option<u8>) {
        let stream = &mut self.connection.stream;
        if let Some(alert) = alert {
            // A record with a fatal alert, RFC 8446 sections 5.1 and 6.
            let limit = self.connection.current.config.timeouts.silence;
            let record = [21, 3, 3, 0, 2, 2, alert];
            // A client that is gone does not hear it.
            let _heard = write(&stream.socket, &record, b"", limit).await;
        }
        stream.linger().await;
    }
}

/// Reads until the name is there, if there is one. What was read stays for the server.
fn poll_name(
    incoming: &mut Incoming<'_>,
    context: &mut Context<'_>,
) -> Poll<Result<Option<Name>, Unserved>> {
    loop {
        let hello = tls_hello::read(incoming.filled());
        let hello = hello.map_err(|refusal| Unserved::Refused(refusal.alert()))?;
        if let Some((hello, _)) = hello {
            return Poll::Ready(Ok(hello.server_name));
        }
        match ready!(incoming.poll_read(context)) {
            Ok(0) | Err(_) => return Poll::Ready(Err(Unserved::Gone)),
            Ok(_) => {}
        }
    }
}
