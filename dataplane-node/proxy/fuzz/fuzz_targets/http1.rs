//! Heads of both kinds, read by the engine and by the slow reference of its tests.
#![no_main]

#[path = "../../tests/smuggling/reference.rs"]
mod reference;

use lbfabric_proxy::http1::{
    Body, FieldRoom, HeadLimits, Refusal, Request, RequestHead, Response, ResponseHead, head_end,
};
use libfuzzer_sys::fuzz_target;
use reference::Verdict;

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

fuzz_target!(|bytes: &[u8]| {
    let limits = HeadLimits::default();
    let request = verdict(bytes, |head| {
        let mut room = FieldRoom::new();
        let head = RequestHead::parse(head, &mut room, &limits)?;
        Request::of(&head).map(|it| (it.body, it.persists))
    });
    assert_eq!(request, reference::request(bytes));
    let response = verdict(bytes, |head| {
        let mut room = FieldRoom::new();
        let head = ResponseHead::parse(head, &mut room, &limits)?;
        Response::of(&head, "GET").map(|it| (it.body, it.persists))
    });
    assert_eq!(response, reference::response(bytes));
});
