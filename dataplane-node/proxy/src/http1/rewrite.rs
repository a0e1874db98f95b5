//! Heads as they go on to the other side. What belongs to one connection stays there, and the framing is written anew from what was
//! understood, so no field of the sender's can say another one.

use std::{io::Write as _, net::IpAddr};

use super::{Body, Field, Request, RequestHead, Response, ResponseHead, request::is_hop_by_hop};

/// What a server is told of where a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedPolicy {
    /// Nothing is added, and what the client says goes on.
    Leave,
    /// What the client says is taken off, and ours is written. For nodes that clients reach directly.
    #[default]
    Replace,
    /// Ours comes behind what is there. For nodes behind other proxies.
    Append,
}

/// How a request goes on.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// The client.
    pub client: IpAddr,
    /// `http` or `https`: how the client has come.
    pub scheme: &'a str,
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    pub x_forwarded: ForwardedPolicy,
    /// `Forwarded`, RFC 7239.
    pub forwarded: ForwardedPolicy,
}

/// Writes a request as it goes to a server.
pub fn write_request(
    out: &mut Vec<u8>,
    head: &RequestHead<'_, '_>,
    request: &Request<'_>,
    forwarding: &Forwarding<'_>,
) {
    let mut line = Line(out);
    line.all(&[
        head.method.as_bytes(),
        b" ",
        request.path.as_bytes(),
        b" HTTP/1.1\r\n",
    ]);
    if let Some(host) = request.host {
        line.field("Host", host.as_bytes());
    }
    let has_length = copy(
        &mut line,
        || head.fields(),
        |field| {
            field.is("host")
                || field.is("x-forwarded-for") && forwarding.x_forwarded != ForwardedPolicy::Leave
                || field.is("x-forwarded-proto") && forwarding.x_forwarded != ForwardedPolicy::Leave
                || field.is("x-forwarded-host") && forwarding.x_forwarded != ForwardedPolicy::Leave
                || field.is("forwarded") && forwarding.forwarded != ForwardedPolicy::Leave
                || field.is("expect") && !request.expects_continue
        },
    );
    match request.body {
        Body::Chunked => line.field("Transfer-Encoding", b"chunked"),
        Body::Length(length) if has_length => line.number("Content-Length", length),
        Body::Length(_) | Body::UntilClose => {}
    }
    if let Some(protocol) = request.upgrade {
        line.field("Connection", b"upgrade");
        line.field("Upgrade", protocol);
    }
    x_forwarded(&mut line, head, request, forwarding);
    forwarded(&mut line, head, request, forwarding);
    line.all(&[b"\r\n"]);
}

/// How an answer goes back.
#[derive(Clone, Copy, Debug)]
pub struct Answering {
    /// The version of the client's request: 0 of HTTP/1.0, 1 of HTTP/1.1.
    pub minor: u8,
    /// Whether another request may come over the client's connection.
    pub persists: bool,
}

/// Writes a server's answer as it goes to the client. A body in chunks, or one without a known end, is for a client of HTTP/1.0 one
/// that ends with the connection.
pub fn write_response(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_, '_>,
    response: &Response,
    answering: Answering,
) {
    let mut line = Line(out);
    line.status(head.status, head.reason);
    let length = head.fields().find(|field| field.is("content-length"));
    copy(&mut line, || head.fields(), |_| false);
    match response.body {
        Body::Chunked | Body::UntilClose if answering.minor == 1 => {
            line.field("Transfer-Encoding", b"chunked");
        }
        Body::Chunked | Body::UntilClose => {}
        // Of the answer that a GET would get, if the request was another.
        Body::Length(_) => {
            if let Some(length) = length {
                line.field("Content-Length", length.value);
            }
        }
    }
    if response.switches {
        for field in head.fields().filter(|field| field.is("upgrade")) {
            line.field("Connection", b"upgrade");
            line.field("Upgrade", field.value);
        }
    } else if !response.is_interim {
        match (answering.persists, answering.minor) {
            (false, _) => line.field("Connection", b"close"),
            (true, 0) => line.field("Connection", b"keep-alive"),
            (true, _) => {}
        }
    }
    line.all(&[b"\r\n"]);
}

/// Copies the fields that go on, and says whether there was a length.
fn copy<'b, I: Iterator<Item = Field<'b>>>(
    line: &mut Line<'_>,
    fields: impl Fn() -> I,
    is_ours: impl Fn(&Field<'_>) -> bool,
) -> bool {
    let mut has_length = false;
    for field in fields() {
        let connection = fields().filter(|field| field.is("connection"));
        if field.is("content-length") {
            has_length = true;
        } else if !is_ours(&field) && !is_hop_by_hop(&field, connection.flat_map(|it| it.members()))
        {
            line.all(&[field.name.as_bytes(), b": ", field.value, b"\r\n"]);
        }
    }
    has_length
}

fn x_forwarded(
    line: &mut Line<'_>,
    head: &RequestHead<'_, '_>,
    request: &Request<'_>,
    forwarding: &Forwarding<'_>,
) {
    let keeps = match forwarding.x_forwarded {
        ForwardedPolicy::Leave => return,
        ForwardedPolicy::Replace => false,
        ForwardedPolicy::Append => true,
    };
    let said = |name: &'static str| head.fields().filter(move |it| keeps && it.is(name));
    line.all(&[b"X-Forwarded-For: "]);
    for field in said("x-forwarded-for").filter(|it| !it.value.is_empty()) {
        line.all(&[field.value, b", "]);
    }
    line.end(format_args!("{}", forwarding.client));
    // The first proxy knows it.
    match said("x-forwarded-proto").next() {
        Some(field) => line.field("X-Forwarded-Proto", field.value),
        None => line.field("X-Forwarded-Proto", forwarding.scheme.as_bytes()),
    }
    match said("x-forwarded-host").next() {
        Some(field) => line.field("X-Forwarded-Host", field.value),
        None => {
            if let Some(host) = request.host {
                line.field("X-Forwarded-Host", host.as_bytes());
            }
        }
    }
}

fn forwarded(
    line: &mut Line<'_>,
    head: &RequestHead<'_, '_>,
    request: &Request<'_>,
    forwarding: &Forwarding<'_>,
) {
    let keeps = match forwarding.forwarded {
        ForwardedPolicy::Leave => return,
        ForwardedPolicy::Replace => false,
        ForwardedPolicy::Append => true,
    };
    line.all(&[b"Forwarded: "]);
    let said = head.fields().filter(|it| keeps && it.is("forwarded"));
    for field in said.filter(|it| !it.value.is_empty()) {
        line.all(&[field.value, b", "]);
    }
    // RFC 7239 section 6: IPv6 in brackets, and what has a colon in quotes.
    match forwarding.client {
        IpAddr::V4(v4) => line.text(format_args!("for={v4}")),
        IpAddr::V6(v6) => line.text(format_args!("for=\"[{v6}]\"")),
    }
    if let Some(host) = request.host {
        line.text(format_args!(";host=\"{host}\""));
    }
    line.end(format_args!(";proto={}", forwarding.scheme));
}

/// Where a head is written.
struct Line<'o>(&'o mut Vec<u8>);

impl Line<'_> {
    fn all(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.0.extend_from_slice(part);
        }
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        self.all(&[name.as_bytes(), b": ", value, b"\r\n"]);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.all(&[name.as_bytes(), b": "]);
        self.end(format_args!("{value}"));
    }

    fn status(&mut self, status: u16, reason: &[u8]) {
        self.text(format_args!("HTTP/1.1 {status} "));
        self.all(&[reason, b"\r\n"]);
    }

    fn text(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a vector takes everything");
    }

    fn end(&mut self, text: std::fmt::Arguments<'_>) {
        self.text(text);
        self.all(&[b"\r\n"]);
    }
}

#[cfg(test)]
mod tests;
