//! Heads as they go on to the other side. What belongs to one connection stays there, and the framing is written anew from what was
//! understood, so no field of the sender's can say another one.

use std::{io::Write as _, net::IpAddr};

use super::{
    Body, Field, FieldEdits, Identity, Request, RequestHead, Response, ResponseHead,
    request::is_hop_by_hop,
};
use crate::observe::Traced;

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
    /// The host that the server is told; none for the request's own.
    pub host: Option<&'a str>,
    /// Changes to the fields.
    pub edits: &'a FieldEdits,
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    pub x_forwarded: ForwardedPolicy,
    /// `Forwarded`, RFC 7239.
    pub forwarded: ForwardedPolicy,
    /// Its certificate.
    pub identity: Identity<'a>,
    /// What the server is told of a trace, W3C Trace Context; none if what the client says goes on.
    pub traced: Option<Traced>,
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
    // An empty one of a client of HTTP/1.0 that says none, RFC 9112 section 3.2: without, servers refuse it.
    let host = forwarding.host.or(request.host).unwrap_or_default();
    line.field("Host", host.as_bytes());
    let length = copy(&mut line, head.bytes(), head.fields(), |field| {
        let replaced = match field.name.len() {
            4 => field.is("host"),
            6 => field.is("expect") && !request.expects_continue,
            9 => field.is("forwarded") && forwarding.forwarded != ForwardedPolicy::Leave,
            10 | 11 => forwarding.traced.is_some_and(|it| it.replaces(field.name)),
            15 => field.is("x-forwarded-for"),
            16 => field.is("x-forwarded-host"),
            17 => field.is("x-forwarded-proto"),
            _ => false,
        };
        let is_x = matches!(field.name.len(), 15..=17);
        let identity = forwarding.identity.names.iter();
        replaced && !(is_x && forwarding.x_forwarded == ForwardedPolicy::Leave)
            || forwarding.edits.drops(field)
            || identity.clone().any(|name| name.looks_like(field))
    });
    line.all(&[forwarding.edits.lines()]);
    match request.body {
        Body::Chunked => line.field("Transfer-Encoding", b"chunked"),
        Body::Length(value) if length.is_some() => line.number("Content-Length", value),
        Body::Length(_) | Body::UntilClose => {}
    }
    if let Some(protocol) = request.upgrade {
        line.field("Connection", b"upgrade");
        line.field("Upgrade", protocol);
    }
    x_forwarded(&mut line, head, request, forwarding);
    forwarded(&mut line, head, request, forwarding);
    if let Some(traced) = forwarding.traced {
        line.field("traceparent", &traced.parent.text());
    }
    line.all(&[forwarding.identity.lines, b"\r\n"]);
}

/// How an answer goes back.
#[derive(Clone, Copy, Debug)]
pub struct Answering<'a> {
    /// The version of the client's request: 0 of HTTP/1.0, 1 of HTTP/1.1.
    pub minor: u8,
    /// Whether another request may come over the client's connection.
    pub persists: bool,
    /// Changes to the fields.
    pub edits: &'a FieldEdits,
}

/// Writes a server's answer as it goes to the client. A body in chunks, or one without a known end, is for a client of HTTP/1.0 one
/// that ends with the connection.
pub fn write_response(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_, '_>,
    response: &Response,
    answering: Answering<'_>,
) {
    let mut line = Line(out);
    line.status(head.status, head.reason);
    let edits = answering.edits;
    let length = copy(&mut line, head.bytes(), head.fields(), |field| {
        edits.drops(field)
    });
    line.all(&[edits.lines()]);
    match response.body {
        Body::Chunked | Body::UntilClose if answering.minor == 1 => {
            line.field("Transfer-Encoding", b"chunked");
        }
        Body::Chunked | Body::UntilClose => {}
        // Of the answer that a GET would get, if the request was another.
        Body::Length(_) => {
            if let Some(length) = length {
                line.field("Content-Length", length);
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

/// Copies the fields that go on, and gives the length if there is one. Lines that are as they would be written go on as they are, all that
/// follow one another at once.
fn copy<'b>(
    line: &mut Line<'_>,
    head: &'b [u8],
    fields: impl Iterator<Item = Field<'b>> + Clone,
    is_ours: impl Fn(&Field<'_>) -> bool,
) -> Option<&'b [u8]> {
    let connection = fields.clone().filter(|field| field.is("connection"));
    let listed = connection.flat_map(|field| field.members());
    // Nearly none lists a field.
    let lists = listed.clone().any(|it| !is_option(it));
    let (mut length, mut whole) = (None, 0..0);
    for field in fields {
        if field.is("content-length") {
            length = Some(field.value);
            continue;
        }
        let stays = if lists {
            is_hop_by_hop(&field, listed.clone())
        } else {
            is_hop_by_hop(&field, std::iter::empty())
        };
        if stays || is_ours(&field) {
            continue;
        }
        match field.line_in(head) {
            Some(at) if at.start == whole.end => whole.end = at.end,
            Some(at) => {
                line.all(&[&head[whole]]);
                whole = at;
            }
            None => {
                line.all(&[&head[whole]]);
                whole = 0..0;
                line.field(field.name, field.value);
            }
        }
    }
    line.all(&[&head[whole]]);
    length
}

/// Whether a member of `Connection` says something of the connection and does not name a field.
fn is_option(member: &[u8]) -> bool {
    ["keep-alive", "close", "upgrade"]
        .iter()
        .any(|option| member.eq_ignore_ascii_case(option.as_bytes()))
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
    line.address(forwarding.client);
    line.all(&[b"\r\n"]);
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
        self.decimal(value);
        self.all(&[b"\r\n"]);
    }

    fn status(&mut self, status: u16, reason: &[u8]) {
        self.all(&[b"HTTP/1.1 "]);
        self.decimal(status.into());
        self.all(&[b" ", reason, b"\r\n"]);
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => {
                for (at, octet) in v4.octets().into_iter().enumerate() {
                    if at > 0 {
                        self.0.push(b'.');
                    }
                    self.decimal(octet.into());
                }
            }
            IpAddr::V6(v6) => self.text(format_args!("{v6}")),
        }
    }

    /// Without the formatting machinery, which takes longer than all else of a short head.
    fn decimal(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[at..]);
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
