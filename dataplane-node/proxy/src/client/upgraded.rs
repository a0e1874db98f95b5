//! A request for another protocol on its way to a server of HTTP/2: a WebSocket becomes an extended CONNECT, RFC 8441, if the server takes that.

use bytes::Bytes;
use h2::RecvStream;
use http::{Response, header};

use super::{
    Answered, Attempt,
    answer::{mark, rewrite},
    over_http2::{OverHttp2, final_head, give},
};
use crate::{
    alarm::Alarm,
    attempts::{Behind, Failed, NoAnswer},
    http2::{Accept, Place, ServerStream},
    stream::write,
    upstream::Permit,
};

impl OverHttp2<'_, '_> {
    /// A WebSocket over a stream; `accept` is what its client has to hear.
    pub(super) async fn tunnelled(
        &mut self,
        permit: &Permit,
        mut place: Place,
        accept: &Accept,
    ) -> Result<Answered, Failed> {
        let Attempt {
            client,
            head: _,
            onward,
            config,
        } = &mut *self.attempt;
        let asked = &onward.asked;
        let silence = asked.routed.timeouts(config).silence;
        let (mut response, mut stream) = place.ask(self.request.clone(), asked, silence)?;
        let alarm = Alarm::new();
        let to = &client.socket;
        let answer = final_head(&mut response, &alarm, to, onward, config).await?;
        if !answer.status().is_success() {
            // Nothing goes through it.
            let _gone = stream.end(None);
            let persists = give(answer, &alarm, to, onward, config, permit).await?;
            return Ok(Answered {
                persists,
                is_sent: true,
                behind: Behind::Nothing,
            });
        }
        asked.answered(permit, 101, config)?;
        let mut head = Vec::with_capacity(512);
        rewrite(&switching(&answer, accept), onward, config, &mut head)
            .map_err(NoAnswer::Malformed)?;
        mark(&mut head, permit);
        onward.has_answer.set(true);
        let sent = write(to, &head, b"", silence).await;
        sent.map_err(|error| NoAnswer::of_client(&error))?;
        asked.watch.sends(head.len());
        let server = ServerStream::new(answer.into_body(), stream, place);
        Ok(Answered {
            persists: false,
            is_sent: true,
            behind: Behind::Tunnel(Box::new(server)),
        })
    }
}

/// The head of a server of HTTP/1.1 that agrees to a WebSocket, RFC 6455 section 4.2.2, with the fields of one that has agreed over HTTP/2.
fn switching(answer: &Response<RecvStream>, accept: &Accept) -> Bytes {
    let mut raw = Vec::with_capacity(512);
    raw.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    for (name, value) in answer.headers() {
        // A tunnel has no length, and the key was never the server's to see.
        if *name != header::CONTENT_LENGTH && *name != header::SEC_WEBSOCKET_ACCEPT {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                raw.extend_from_slice(part);
            }
        }
    }
    raw.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ");
    raw.extend_from_slice(accept.text().as_bytes());
    raw.extend_from_slice(b"\r\n\r\n");
    raw.into()
}
