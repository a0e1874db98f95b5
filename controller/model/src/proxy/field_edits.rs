//! Changes to the fields of a head.

use lbfabric_proto::v1;

use super::{at::At, route_text, token::check_name};

/// Changes to one head.
const EDITS_MAX: usize = 32;
/// Bytes of all that is written into one head.
const LINES_MAX: usize = 8 << 10;

/// Which heads are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Requests on their way to servers.
    Request,
    /// Answers on their way to clients.
    Answer,
}

/// Checks changes.
pub(super) fn check(spec: &v1::HeaderEditsSpec, side: Side, at: &mut At<'_>) {
    let v1::HeaderEditsSpec { set, add, remove } = spec;
    let count = set.len() + add.len() + remove.len();
    at.at_most_items("", count, EDITS_MAX);
    let mut bytes = 0;
    for (field, headers) in [("set", set), ("add", add)] {
        for (i, v1::HeaderSpec { name, value }) in headers.iter().enumerate() {
            let mut at = at.item(field, i);
            at.check("name", may_change(name, side));
            at.check("value", route_text::value(value));
            bytes += name.len() + ": \r\n".len() + value.len();
        }
    }
    at.check_texts("remove", remove, EDITS_MAX, |name| may_change(name, side));
    if bytes > LINES_MAX {
        at.refuse(
            "",
            format!("they write {bytes} bytes into a head: {LINES_MAX} at most"),
        );
    }
}

/// Names that are the engine's own, as they say how messages are framed, for whom they are, and how long a connection lasts.
fn may_change(name: &str, side: Side) -> Result<(), String> {
    check_name(name, "header field", "X-Tenant")?;
    let reason = match name.to_ascii_lowercase().as_str() {
        "content-length" | "transfer-encoding" | "trailer" | "te" => {
            "says how the message is framed, which only the node may: leave it out"
        }
        "connection" | "keep-alive" | "proxy-connection" | "upgrade" | "expect" => {
            "belongs to the connection, which is the node's: leave it out"
        }
        "proxy-authenticate" | "proxy-authorization" => {
            "belongs to the connection and never goes on: leave it out"
        }
        "host" => "says whom a request is for: use `rewrite.host`",
        "date" if side == Side::Answer => "says when the server answered: leave it out",
        "forwarded" | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host"
            if side == Side::Request =>
        {
            "says where the client is: use the service's `proxy.forwarded`"
        }
        _ => return Ok(()),
    };
    Err(format!("`{name}` {reason}"))
}
