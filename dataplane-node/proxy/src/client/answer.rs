//! Answers as clients of HTTP/1.1 get them.

use std::time::Duration;

use super::Onward;
use crate::{
    attempts::NoAnswer,
    config::ProxyConfig,
    http1::{
        Answering, Body, FieldEdits, FieldRoom, Refusal, Response, ResponseHead, write_response,
    },
    pump::Framed,
    socket::Socket,
    stream::write,
    upstream::Permit,
};

impl Onward {
    /// Gives an answer before the one that counts to the client.
    pub(super) async fn interim(
        &self,
        to: &Socket,
        head: &[u8],
        silence: Duration,
    ) -> Result<(), NoAnswer> {
        // One of HTTP/1.0 knows none, RFC 9110 section 15.2.
        if self.minor == 0 {
            return Ok(());
        }
        let sent = write(to, head, b"", silence).await;
        sent.map_err(|error| NoAnswer::of_client(&error))?;
        self.asked.watch.sends(head.len());
        Ok(())
    }
}

/// Adds the cookie that makes the client come back to the server, if it needs one.
pub(super) fn mark(head: &mut Vec<u8>, permit: &Permit) {
    if let Some(line) = permit.mark() {
        head.truncate(head.len() - b"\r\n".len());
        head.extend_from_slice(line.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
}

/// Reads an answer's head and writes it as it goes back, with how its body does and whether the client's connection goes on.
pub(super) fn rewrite(
    bytes: &[u8],
    onward: &Onward,
    config: &ProxyConfig,
    out: &mut Vec<u8>,
) -> Result<(Response, Framed, bool), Refusal> {
    let mut room = FieldRoom::new();
    let head = ResponseHead::parse(bytes, &mut room, &config.limits)?;
    let response = Response::of(&head, onward.asked.method)?;
    let framed = match (response.body, onward.minor) {
        (Body::UntilClose, 1) => Framed::Chunks,
        (Body::Chunked, 0) => Framed::Bare,
        _ => Framed::Same,
    };
    let has_end = onward.minor == 1 || matches!(response.body, Body::Length(_));
    let persists = onward.persists && has_end && !onward.site.is_draining();
    let edits = if response.is_interim {
        FieldEdits::NONE
    } else {
        onward.asked.routed.edits(config)
    };
    let answering = Answering {
        minor: onward.minor,
        persists,
        edits,
    };
    write_response(out, &head, &response, answering);
    Ok((response, framed, persists))
}
