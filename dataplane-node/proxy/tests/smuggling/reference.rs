//! RFC 9112 read a second time, slowly: a head is cut into lines and the lines into parts, one rule after the other. Shares nothing with the
//! engine but the limits' defaults.

/// What a head comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// More has to come.
    Partial,
    Refused,
    Sound {
        /// Of the head, in bytes.
        length: usize,
        body: Body,
        persists: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Length(u64),
    Chunked,
    UntilClose,
}

/// A request at the beginning of `bytes`.
pub(crate) fn request(bytes: &[u8]) -> Verdict {
    judge(bytes, |line, fields| {
        let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let [method, target, version] = parts[..] else {
            return None;
        };
        let minor = minor(version)?;
        if !is_token(method) || target.is_empty() || target.len() > 8192 {
            return None;
        }
        if !target
            .iter()
            .all(|byte| (0x21..=0x7e).contains(byte) && *byte != b'#')
        {
            return None;
        }
        let hosts: Vec<&[u8]> = values(fields, "host").collect();
        if hosts.len() > 1 || hosts.is_empty() && minor == 1 {
            return None;
        }
        if !hosts.iter().all(|host| is_authority(host)) {
            return None;
        }
        if let Some(authority) = authority(method, target)?
            && let Some(host) = hosts.first()
            && !authority.eq_ignore_ascii_case(host)
        {
            return None;
        }
        if values(fields, "expect").any(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
            return None;
        }
        let body = framing(fields, minor)?.unwrap_or(Body::Length(0));
        Some((body, persists(fields, minor)))
    })
}

/// A response to a GET at the beginning of `bytes`.
pub(crate) fn response(bytes: &[u8]) -> Verdict {
    judge(bytes, |line, fields| {
        let minor = minor(line.get(..8)?)?;
        let rest = &line[8..];
        let status = rest.get(1..4)?;
        if rest[0] != b' ' || !status.iter().all(u8::is_ascii_digit) || status[0] == b'0' {
            return None;
        }
        let reason = match &rest[4..] {
            [] => &[][..],
            [b' ', reason @ ..] => reason,
            _ => return None,
        };
        if reason.iter().any(|byte| is_control(*byte)) {
            return None;
        }
        let status: u16 = std::str::from_utf8(status).ok()?.parse().ok()?;
        let framed = framing(fields, minor)?;
        let has_none = (100..200).contains(&status) || status == 204;
        if has_none && !matches!(framed, None | Some(Body::Length(0))) {
            return None;
        }
        let body = if has_none || status == 304 {
            Body::Length(0)
        } else {
            framed.unwrap_or(Body::UntilClose)
        };
        let goes_on = body != Body::UntilClose && status != 101;
        Some((body, persists(fields, minor) && goes_on))
    })
}

type Fields<'b> = [(&'b [u8], &'b [u8])];

fn judge<'b>(
    bytes: &'b [u8],
    rules: impl Fn(&'b [u8], &Fields<'b>) -> Option<(Body, bool)>,
) -> Verdict {
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut start = 0;
    for at in 0..bytes.len() {
        if bytes[at] != b'\n' {
            continue;
        }
        if at == 0 || bytes[at - 1] != b'\r' || at >= 16_384 {
            return Verdict::Refused;
        }
        let line = &bytes[start..at - 1];
        start = at + 1;
        if !line.is_empty() {
            lines.push(line);
            continue;
        }
        let sound = fields(&lines).and_then(|fields| rules(lines.first()?, &fields));
        return sound.map_or(Verdict::Refused, |(body, persists)| Verdict::Sound {
            length: start,
            body,
            persists,
        });
    }
    if bytes.len() > 16_384 {
        return Verdict::Refused;
    }
    Verdict::Partial
}

fn fields<'b>(lines: &[&'b [u8]]) -> Option<Vec<(&'b [u8], &'b [u8])>> {
    if lines.iter().any(|line| line.contains(&b'\r')) || lines.len() > 101 {
        return None;
    }
    let fields = lines.iter().skip(1).map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name) || value.iter().any(|byte| is_control(*byte)) {
            return None;
        }
        Some((name, trimmed(value)))
    });
    fields.collect()
}

/// None if it is wrong; none inside if the fields say nothing.
#[expect(
    clippy::option_option,
    reason = "wrong, silent, and said are three things"
)]
fn framing(fields: &Fields<'_>, minor: u8) -> Option<Option<Body>> {
    let lengths: Vec<_> = values(fields, "content-length").collect();
    let codings: Vec<_> = values(fields, "transfer-encoding").collect();
    match (&lengths[..], &codings[..]) {
        ([], []) => Some(None),
        ([length], []) => {
            let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let number: u128 = std::str::from_utf8(length).ok()?.parse().ok()?;
            let number = u64::try_from(number).ok().filter(|it| *it < 1 << 63);
            let number = number.filter(|_| is_number && length.len() <= 19);
            number.map(|number| Some(Body::Length(number)))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && minor == 1 => {
            Some(Some(Body::Chunked))
        }
        _ => None,
    }
}

fn persists(fields: &Fields<'_>, minor: u8) -> bool {
    let said: Vec<Vec<u8>> = values(fields, "connection")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|member| trimmed(member).to_ascii_lowercase())
        .collect();
    let says = |word: &[u8]| said.iter().any(|it| it == word);
    !says(b"close") && (minor == 1 || says(b"keep-alive"))
}

/// The authority that a target has; none if it is wrong.
#[expect(
    clippy::option_option,
    reason = "wrong, without, and with are three things"
)]
fn authority<'b>(method: &[u8], target: &'b [u8]) -> Option<Option<&'b [u8]>> {
    if method == b"CONNECT" {
        let colon = target.iter().rposition(|byte| *byte == b':')?;
        let port = &target[colon + 1..];
        let is_right = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
        return (is_right && is_authority(target)).then_some(Some(target));
    }
    if target[0] == b'/' || target == b"*" && method == b"OPTIONS" {
        return Some(None);
    }
    let text = std::str::from_utf8(target).ok()?;
    let (scheme, rest) = text.split_once("://")?;
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return None;
    }
    let authority = rest.split(['/', '?']).next()?;
    let path = &rest[authority.len()..];
    (is_authority(authority.as_bytes()) && !path.starts_with('?'))
        .then_some(Some(authority.as_bytes()))
}

fn is_authority(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let (host, port) = match text.rfind(':') {
        Some(at) if !text[at..].contains(']') => (&text[..at], &text[at + 1..]),
        _ => (text, ""),
    };
    let is_name = |host: &str| {
        let others = "-._~%!$&'()*+,;=";
        !host.is_empty()
            && host
                .chars()
                .all(|it| it.is_ascii_alphanumeric() || others.contains(it))
    };
    let is_literal = |host: &str| {
        let inside = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        inside.is_some_and(|it| it.parse::<std::net::Ipv6Addr>().is_ok())
    };
    let is_port = port.len() <= 5 && port.bytes().all(|it| it.is_ascii_digit());
    (is_name(host) || is_literal(host)) && is_port
}

fn values<'f, 'b>(fields: &'f Fields<'b>, name: &'f str) -> impl Iterator<Item = &'b [u8]> {
    let fields = fields
        .iter()
        .filter(move |(it, _)| it.eq_ignore_ascii_case(name.as_bytes()));
    fields.map(|(_, value)| *value)
}

fn minor(version: &[u8]) -> Option<u8> {
    match version {
        b"HTTP/1.0" => Some(0),
        b"HTTP/1.1" => Some(1),
        _ => None,
    }
}

fn is_token(text: &[u8]) -> bool {
    let others = b"!#$%&'*+-.^_`|~";
    !text.is_empty()
        && text
            .iter()
            .all(|it| it.is_ascii_alphanumeric() || others.contains(it))
}

const fn is_control(byte: u8) -> bool {
    byte < 0x20 && byte != b'\t' || byte == 0x7f
}

fn trimmed(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text
        .iter()
        .position(|byte| !is_space(byte))
        .unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|byte| !is_space(byte))
        .map_or(start, |at| at + 1);
    &text[start..end]
}
