use std::time::Duration;

use super::{
    Body, Field, Refusal, ResponseHead,
    fields::{Connection, Framing},
};

/// What a response's head means for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// 100 to 999.
    pub status: u16,
    /// What follows the head.
    pub body: Body,
    /// Whether the connection takes another request behind it.
    pub persists: bool,
    /// How long the server says that it waits for another one: the `timeout` of its `Keep-Alive` field.
    pub keep_alive: Option<Duration>,
    /// Another response to the same request follows, RFC 9110 section 15.2.
    pub is_interim: bool,
    /// The connection is another protocol's from here on: a 101, or the answer to a `CONNECT`.
    pub switches: bool,
}

impl Response {
    /// Takes a head for what it says, as the answer to a request with this method.
    pub fn of(head: &ResponseHead<'_, '_>, method: &str) -> Result<Self, Refusal> {
        let mut framing = Framing::default();
        let mut connection = Connection::default();
        let mut keep_alive = None;
        for field in head.fields() {
            match field.name.len() {
                10 if field.is("connection") => connection.note(&field),
                10 if field.is("keep-alive") => {
                    keep_alive = keep_alive.or_else(|| timeout_of(&field));
                }
                14 | 17 => framing.note(&field)?,
                _ => {}
            }
        }
        framing.check(head.minor)?;
        let status = head.status;
        let switches = status == 101 || method == "CONNECT" && (200..300).contains(&status);
        let is_interim = (100..200).contains(&status) && !switches;
        let has_none = is_interim || switches || status == 204;
        if has_none && (framing.is_chunked || framing.length.is_some_and(|it| it != 0)) {
            return Err(Refusal::BodyNotAllowed);
        }
        let body = if has_none || method == "HEAD" || status == 304 {
            // What a HEAD and a 304 say of their length is that of the answer that a GET would get.
            Body::Length(0)
        } else if framing.is_chunked {
            Body::Chunked
        } else {
            framing.length.map_or(Body::UntilClose, Body::Length)
        };
        Ok(Self {
            status,
            body,
            persists: connection.persists(head.minor) && body != Body::UntilClose && !switches,
            keep_alive,
            is_interim,
            switches,
        })
    }
}

/// The `timeout` of a `Keep-Alive` field, in seconds (RFC 2068 section 19.7.1.1, which no later one repeats).
fn timeout_of(field: &Field<'_>) -> Option<Duration> {
    field.members().find_map(|member| {
        let (name, value) = member.split_at_checked(b"timeout=".len())?;
        let value = std::str::from_utf8(value).ok()?;
        let secs = name.eq_ignore_ascii_case(b"timeout=").then_some(value)?;
        secs.parse().ok().map(Duration::from_secs)
    })
}
