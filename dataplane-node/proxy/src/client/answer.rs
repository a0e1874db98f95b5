//! A server's answer on its way to the client, and the request's body on its way to the server meanwhile.

use std::time::Duration;

use super::{Asked, End};
use crate::{
    config::ProxyConfig,
    http1::{
        Answering, Body, FieldEdits, FieldRoom, Refusal, Response, ResponseHead, write_response,
    },
    pump::{self, Broken, Framed},
    route::Failure,
    socket::Socket,
    stream::{Incoming, NoHead, Stream, write},
    upstream::Permit,
};

/// What an answer leaves behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) client_persists: bool,
    pub(super) server_persists: bool,
    /// How long the server says that it waits for the next request.
    pub(super) server_waits: Option<Duration>,
    pub(super) switches: bool,
}

/// Why there is no answer.
pub(super) enum Failed {
    /// Nothing of one has come.
    Unanswered,
    /// The one that came is not what the client is to have.
    Again,
    End(End),
}

/// A request's body there and its answer back at the same time, as neither waits for the other; with the answer, whether the whole body
/// is gone.
pub(super) async fn both(
    client: &mut Stream,
    server: &mut Stream,
    asked: &Asked,
    config: &ProxyConfig,
    permit: &Permit,
) -> Result<(Answered, bool), Failed> {
    let from_client = Incoming {
        socket: &client.socket,
        buffer: &mut client.buffer,
        alarm: &client.alarm,
    };
    let from_server = Incoming {
        socket: &server.socket,
        buffer: &mut server.buffer,
        alarm: &server.alarm,
    };
    let body = pump::body_up_to(
        from_client,
        &server.socket,
        asked.body,
        Framed::Same,
        asked.routed.timeouts(config).silence,
        asked.routed.body_bytes(config),
    );
    let answer = answer(from_server, &client.socket, asked, config, permit);
    tokio::pin!(body, answer);
    let mut is_sent = None;
    asked.is_sending.set(true);
    loop {
        tokio::select! {
            biased;
            answered = &mut answer => return Ok((answered?, is_sent == Some(true))),
            sent = &mut body, if is_sent.is_none() => {
                asked.is_sending.set(false);
                match sent {
                    Ok(()) => is_sent = Some(true),
                    // It may have answered without reading all of it.
                    Err(Broken::Receiver) => is_sent = Some(false),
                    Err(Broken::Refused(refusal)) => {
                        return Err(Failed::End(asked.end(refusal.status())));
                    }
                    Err(Broken::Sender(_)) => return Err(Failed::End(End::Quietly)),
                }
            }
        }
    }
}

/// Gives a server's answer to the client, the interim ones before it too.
pub(super) async fn answer(
    mut from: Incoming<'_>,
    to: &Socket,
    asked: &Asked,
    config: &ProxyConfig,
    permit: &Permit,
) -> Result<Answered, Failed> {
    let silence = asked.routed.timeouts(config).silence;
    loop {
        let length = match from.some(silence, |_| false).await {
            Ok(()) => from.head(&config.limits, silence).await,
            // It waits for the rest of the request, as long as that comes.
            Err(NoHead::Silent) if asked.is_sending.get() => continue,
            Err(error) => Err(error),
        };
        let length = length.map_err(|error| match error {
            NoHead::Closed | NoHead::Leaving | NoHead::Broken => Failed::Unanswered,
            NoHead::Refused(_) => Failed::End(End::Told(502)),
            NoHead::Silent | NoHead::Late => Failed::End(End::Told(504)),
        })?;
        let mut head = Vec::with_capacity(length + 64);
        let (response, framed, client_persists) =
            rewrite_answer(&from.filled()[..length], asked, config, &mut head)
                .map_err(|_refusal| Failed::End(End::Told(502)))?;
        from.consume(length);
        if !response.is_interim {
            permit.answered(response.status, asked.body == Body::Length(0));
            mark(&mut head, permit);
        }
        let failure = Failure::of_status(response.status);
        if failure.is_some_and(|failure| asked.again(failure, config)) {
            return Err(Failed::Again);
        }
        asked.has_answer.set(!response.is_interim);
        // The first bytes of the body in the same write.
        let inline = match (response.body, framed) {
            (Body::Length(length), Framed::Same) => {
                let filled = from.filled().len();
                usize::try_from(length).map_or(filled, |length| length.min(filled))
            }
            _ => 0,
        };
        let sent = write(to, &head, &from.filled()[..inline]).await;
        sent.map_err(|_gone| Failed::End(End::Quietly))?;
        from.consume(inline);
        if response.is_interim {
            continue;
        }
        let body = match response.body {
            Body::Length(length) => Body::Length(length - inline as u64),
            body => body,
        };
        let again = Incoming {
            socket: from.socket,
            buffer: &mut *from.buffer,
            alarm: from.alarm,
        };
        if body != Body::Length(0) {
            // Its head is sent: all that tells the client of a failure is that the connection closes too early.
            let whole = Box::pin(pump::body(again, to, body, framed, silence)).await;
            whole.map_err(|_broken| Failed::End(End::Quietly))?;
        }
        return Ok(Answered {
            client_persists,
            server_persists: response.persists,
            server_waits: response.keep_alive,
            switches: response.switches,
        });
    }
}

/// Adds the cookie that makes the client come back to the server, if it needs one.
fn mark(head: &mut Vec<u8>, permit: &Permit) {
    if let Some(line) = permit.mark() {
        head.truncate(head.len() - b"\r\n".len());
        head.extend_from_slice(line.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
}

/// Reads an answer's head and writes it as it goes back, with how its body does and whether the client's connection goes on.
fn rewrite_answer(
    bytes: &[u8],
    asked: &Asked,
    config: &ProxyConfig,
    out: &mut Vec<u8>,
) -> Result<(Response, Framed, bool), Refusal> {
    let mut room = FieldRoom::new();
    let head = ResponseHead::parse(bytes, &mut room, &config.limits)?;
    let response = Response::of(&head, asked.method)?;
    let framed = match (response.body, asked.minor) {
        (Body::UntilClose, 1) => Framed::Chunks,
        (Body::Chunked, 0) => Framed::Bare,
        _ => Framed::Same,
    };
    let has_end = asked.minor == 1 || matches!(response.body, Body::Length(_));
    let persists = asked.persists && has_end && !asked.site.is_draining();
    let edits = if response.is_interim {
        FieldEdits::NONE
    } else {
        asked.routed.edits(config)
    };
    let answering = Answering {
        minor: asked.minor,
        persists,
        edits,
    };
    write_response(out, &head, &response, answering);
    Ok((response, framed, persists))
}
