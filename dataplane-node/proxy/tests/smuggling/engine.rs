//! What the engine makes of heads, in the words of the reference.

use lbfabric_proxy::http1::{
    Body, FieldRoom, HeadLimits, Refusal, Request, RequestHead, Response, ResponseHead, head_end,
};

use super::reference::{self, Verdict};

/// A request at the beginning of `bytes`.
pub(crate) fn request(bytes: &[u8]) -> Verdict {
    verdict(bytes, |head| {
        let mut room = FieldRoom::new();
        let head = RequestHead::parse(head, &mut room, &HeadLimits::default())?;
        Request::of(&head).map(|it| (it.body, it.persists))
    })
}

/// The answer to a GET.
pub(crate) fn response(bytes: &[u8]) -> Verdict {
    verdict(bytes, |head| {
        let mut room = FieldRoom::new();
        let head = ResponseHead::parse(head, &mut room, &HeadLimits::default())?;
        Response::of(&head, "GET").map(|it| (it.body, it.persists))
    })
}

fn verdict(bytes: &[u8], read: impl Fn(&[u8]) -> Result<(Body, bool), Refusal>) -> Verdict {
    let length = match head_end(bytes, 0, &HeadLimits::default()) {
        Ok(Some(length)) => length,
        Ok(None) => return Verdict::Partial,
        Err(_) => return Verdict::Refused,
    };
    match read(&bytes[..length]) {
        Err(_) => Verdict::Refused,
        Ok((body, persists)) => Verdict::Sound {
            length,
            body: match body {
                Body::Length(length) => reference::Body::Length(length),
                Body::Chunked => reference::Body::Chunked,
                Body::UntilClose => reference::Body::UntilClose,
            },
            persists,
        },
    }
}
