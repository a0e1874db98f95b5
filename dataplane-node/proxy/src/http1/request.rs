use super::{
    Body, Field, Refusal, RequestHead,
    fields::{Connection, Framing},
    host,
};

/// What a request's head means for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'b> {
    /// Which host it is for, with the port if it says one; none of HTTP/1.0 without a `Host`.
    pub host: Option<&'b str>,
    /// The target's path and query, or `*`; of `CONNECT` the authority.
    pub path: &'b str,
    /// What follows the head.
    pub body: Body,
    /// Whether another request may follow.
    pub persists: bool,
    /// It waits for a 100 before it sends its body, RFC 9110 section 10.1.1.
    pub expects_continue: bool,
    /// It asks for another protocol, RFC 9110 section 7.8.
    pub upgrade: Option<&'b [u8]>,
}

impl<'b> Request<'b> {
    /// Takes a head for what it says, if it says one thing.
    pub fn of(head: &RequestHead<'b, '_>) -> Result<Self, Refusal> {
        let mut framing = Framing::default();
        let mut connection = Connection::default();
        let (mut named, mut upgrade, mut expects_continue) = (None, None, false);
        for field in head.fields() {
            // Fields of no concern are told by the length of their name.
            match field.name.len() {
                4 if field.is("host") && named.replace(field.value).is_some() => {
                    return Err(Refusal::SeveralHosts);
                }
                6 if field.is("expect") => {
                    if !field.value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(Refusal::Expectation);
                    }
                    expects_continue = true;
                }
                7 if field.is("upgrade") => upgrade = Some(field.value),
                10 if field.is("connection") => connection.note(&field),
                14 | 17 => framing.note(&field)?,
                _ => {}
            }
        }
        framing.check(head.minor)?;
        let (authority, path) = split_target(head.method, head.target)?;
        let named = match named {
            Some(named) => {
                host::check(named)?;
                Some(std::str::from_utf8(named).map_err(|_not_ascii| Refusal::Host)?)
            }
            None if head.minor == 1 => return Err(Refusal::NoHost),
            None => None,
        };
        if let (Some(authority), Some(named)) = (authority, named)
            && !authority.eq_ignore_ascii_case(named)
        {
            return Err(Refusal::HostDiffers);
        }
        let body = if framing.is_chunked {
            Body::Chunked
        } else {
            Body::Length(framing.length.unwrap_or(0))
        };
        Ok(Self {
            host: authority.or(named),
            path,
            body,
            persists: connection.persists(head.minor),
            // A client of HTTP/1.0 does not wait.
            expects_continue: expects_continue && head.minor == 1 && body != Body::Length(0),
            upgrade: upgrade.filter(|_| connection.upgrade && head.minor == 1),
        })
    }
}

/// The authority that a target names, if it does, and its path, by the forms of RFC 9112 section 3.2.
fn split_target<'b>(method: &str, target: &'b str) -> Result<(Option<&'b str>, &'b str), Refusal> {
    if method == "CONNECT" {
        host::check(target.as_bytes()).map_err(|_no_authority| Refusal::Target)?;
        // The port is not optional there.
        let port = target.rsplit_once(':').map_or("", |(_, port)| port);
        return if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok((Some(target), target))
        } else {
            Err(Refusal::Target)
        };
    }
    if target.starts_with('/') {
        return Ok((None, target));
    }
    if target == "*" {
        return if method == "OPTIONS" {
            Ok((None, target))
        } else {
            Err(Refusal::Target)
        };
    }
    let rest = ["http://", "https://"].into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let rest = rest.ok_or(Refusal::Target)?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    host::check(authority.as_bytes()).map_err(|_no_authority| Refusal::Target)?;
    match path {
        "" => Ok((Some(authority), if method == "OPTIONS" { "*" } else { "/" })),
        // An empty path with a query is none that could be sent on as it is.
        path if path.starts_with('?') => Err(Refusal::Target),
        path => Ok((Some(authority), path)),
    }
}

/// Whether a field belongs to this connection and not to the message, RFC 9110 section 7.6.1: it is not sent on.
///
/// `listed` are the `Connection` fields' members.
pub fn is_hop_by_hop<'a>(field: &Field<'_>, mut listed: impl Iterator<Item = &'a [u8]>) -> bool {
    // Told by the length of their names, as most fields are none of these.
    let always: &[&str] = match field.name.len() {
        2 => &["te"],
        // No field has this name, so that `Connection: close` names none, RFC 9110 section 18.4.
        5 => &["close"],
        7 => &["trailer", "upgrade"],
        10 => &["connection", "keep-alive"],
        16 => &["proxy-connection"],
        17 => &["transfer-encoding"],
        18 => &["proxy-authenticate"],
        19 => &["proxy-authorization"],
        _ => &[],
    };
    always.iter().any(|name| field.is(name))
        || listed.any(|name| name.eq_ignore_ascii_case(field.name.as_bytes()))
}
