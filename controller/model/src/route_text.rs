//! Texts that the rules of routes are made of, checked in one place for the API and for the engine.

use std::net::Ipv6Addr;

use regex::bytes::{Regex, RegexBuilder};

use crate::name::shortened;

/// Bytes of a host's name, RFC 1035 section 2.3.4.
pub const HOST_MAX: usize = 253;
/// Bytes of a path, or of a replacement for parts of one.
const PATH_MAX: usize = 1_024;
/// Bytes of a regular expression as it is written.
const REGEX_MAX: usize = 1_000;
/// Bytes of what it becomes, and of what it may remember while it runs.
const COMPILED_MAX: usize = 256 << 10;
/// Groups that a replacement may name.
const GROUPS_MAX: usize = 16;
/// Bytes of a header field's value.
const VALUE_MAX: usize = 4_096;
/// Bytes of a name that a rule may give.
const NAME_MAX: usize = 128;

/// Which heads are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Requests on their way to servers.
    Request,
    /// Answers on their way to clients.
    Answer,
}

/// A host as it is compared: a name in lower case, an address of IPv6 in brackets.
fn host(text: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "`{}` is not a host: give a name such as `www.example.com` or an address, of IPv6 in brackets, without a port",
            shortened(text)
        )
    };
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|it| it.parse().ok());
        let address: Ipv6Addr = address.ok_or_else(wrong)?;
        return Ok(format!("[{address}]"));
    }
    let is_label = |label: &str| {
        let is_of_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(is_of_label)
    };
    if text.len() > HOST_MAX || !text.split('.').all(is_label) {
        return Err(wrong());
    }
    Ok(text.to_ascii_lowercase())
}

/// Which hosts a route is for, in lower case: empty for all, `*.` and a name for all names below it.
pub fn host_pattern(text: &str) -> Result<String, String> {
    if text.is_empty() || text == "*" {
        return Ok(String::new());
    }
    let Some(parent) = text.strip_prefix("*.") else {
        return host(text);
    };
    match host(parent) {
        Ok(name) if !name.starts_with('[') => Ok(format!("*.{name}")),
        Ok(_) | Err(_) => Err(format!(
            "`{}` is not a host: write `*.` and a name, such as `*.example.com`",
            shortened(text)
        )),
    }
}

/// A server's name as a client of TLS asks for it, or `*.` and a name for all below it; in lower case.
pub(crate) fn server_names(text: &str) -> Result<String, String> {
    let (star, name) = match text.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", text),
    };
    match host(name) {
        Ok(name) if !name.starts_with('[') => Ok(format!("{star}{name}")),
        Ok(_) | Err(_) => Err(format!(
            "`{}` is no name of a server: write `www.example.com`, or `*.example.com` for all names below it",
            shortened(text)
        )),
    }
}

/// A host with or without a port, as it is written.
pub fn authority(text: &str) -> Result<String, String> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        Some(_) | None => (text, None),
    };
    let name = host(name)?;
    let Some(port) = port else {
        return Ok(name);
    };
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if port > 0 && is_number => Ok(format!("{name}:{port}")),
        Ok(_) | Err(_) => Err(format!(
            "`{}` has no port behind its colon: use 1 to 65535, or leave both out",
            shortened(text)
        )),
    }
}

/// A path that a request's can be, once it is in its normal form, which it has to be written in.
pub fn path(text: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("`{}` {what}", shortened(text)));
    if !text.starts_with('/') || text.len() > PATH_MAX {
        return wrong(&format!(
            "is not a path: begin it with `/`, {PATH_MAX} bytes at most"
        ));
    }
    if !text.bytes().all(is_of_path) {
        return wrong(
            "has what no path has: use visible ASCII without `?` and `#`, others escaped as `%20`",
        );
    }
    let mut segments = text[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return wrong("has `//`, which is compared as `/`: write one slash");
        }
        let parts = segment.split('\\').flat_map(|part| part.split("%2F"));
        let mut parts = parts.flat_map(|part| part.split("%5C"));
        if parts.any(|part| matches!(without_parameters(part), "." | "..")) {
            return wrong(
                "has a segment `.` or `..`, which no request's path has when it is compared: leave it out",
            );
        }
    }
    match wrong_escape(text) {
        Some(what) => wrong(&what),
        None => Ok(()),
    }
}

const fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#')
}

fn without_parameters(segment: &str) -> &str {
    let ends = [segment.find(';'), segment.find("%3B")];
    let end = ends.into_iter().flatten().min();
    &segment[..end.unwrap_or(segment.len())]
}

/// What is wrong with the first escape that is not as it is compared: in upper case, and only of what has to be escaped.
fn wrong_escape(text: &str) -> Option<String> {
    let escapes = text.split('%').skip(1);
    for escape in escapes {
        let digits = escape
            .get(..2)
            .filter(|it| it.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let (Some(digits), Some(byte)) = (digits, byte) else {
            return Some("has a `%` without two hexadecimal digits behind it: write `%25` for the sign itself".to_owned());
        };
        if byte == 0 {
            return Some("has `%00`, which is always refused: leave it out".to_owned());
        }
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            return Some(format!(
                "has the escape `%{digits}`, which is compared as `{0}`: write `{0}`",
                char::from(byte)
            ));
        }
        if digits.bytes().any(|it| it.is_ascii_lowercase()) {
            let upper = digits.to_ascii_uppercase();
            return Some(format!(
                "has the escape `%{digits}`, which is compared as `%{upper}`: write `%{upper}`"
            ));
        }
    }
    None
}

/// A regular expression that a whole text is to match.
pub fn whole_regex(text: &str) -> Result<Regex, String> {
    // Alone first: with an odd bracket it could reach behind the ones around it.
    regex(text)?;
    compiled(&format!(r"\A(?:{text})\z"), text)
}

/// A regular expression of which any part of a text may match.
pub fn regex(text: &str) -> Result<Regex, String> {
    if text.is_empty() || text.len() > REGEX_MAX {
        return Err(format!(
            "a regular expression has 1 to {REGEX_MAX} bytes, not {}",
            text.len()
        ));
    }
    compiled(text, text)
}

fn compiled(text: &str, written: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(text);
    builder
        .unicode(false)
        .size_limit(COMPILED_MAX)
        .dfa_size_limit(COMPILED_MAX);
    builder.build().map_err(|error| {
        // Its text draws the place of the mistake over several lines; what it is stands in the last one.
        let said = error.to_string();
        let said = said.lines().last().unwrap_or_default().trim();
        format!(
            "`{}` is not a regular expression as of Rust's `regex`, over ASCII and of {COMPILED_MAX} bytes at most ({})",
            shortened(written),
            said.trim_start_matches("error: ")
        )
    })
}

/// What is put in place of what an expression matches: bytes of a path, and groups that there are.
pub fn replacement(regex: &Regex, text: &str) -> Result<(), String> {
    if text.len() > PATH_MAX || !text.bytes().all(is_of_path) {
        return Err(format!(
            "`{}` has what no path has: use visible ASCII without `?` and `#`, {PATH_MAX} bytes at most",
            shortened(text)
        ));
    }
    if text.matches('$').count() > GROUPS_MAX {
        return Err(format!(
            "`{}` has more than {GROUPS_MAX} `$`: name fewer groups",
            shortened(text)
        ));
    }
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    let groups = regex.captures_len();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('$') {
            rest = behind;
            continue;
        }
        let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let name = match rest.strip_prefix('{') {
            Some(inner) => inner.split_once('}').map_or("", |(name, _)| name),
            None => &rest[..rest.bytes().take_while(|it| is_of_name(it)).count()],
        };
        let is_there = match name.parse::<usize>() {
            Ok(number) => number < groups,
            Err(_no_number) => names.contains(&name),
        };
        if !is_there || !name.bytes().all(|it| is_of_name(&it)) {
            return Err(format!(
                "`{}` names a group that the expression does not have: write `$1` or `${{name}}` for one of its {}, and `$$` for a dollar sign",
                shortened(text),
                groups - 1
            ));
        }
    }
    Ok(())
}

/// A header field's value.
pub fn value(text: &str) -> Result<(), String> {
    let is_sound = |byte: u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    let has_ends = text.trim_matches([' ', '\t']) == text;
    if text.len() <= VALUE_MAX && has_ends && text.bytes().all(is_sound) {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a field's value: use visible ASCII, with spaces and tabs inside only, {VALUE_MAX} bytes at most",
        shortened(text)
    ))
}

/// A method that a rule may name.
pub fn method(text: &str) -> Result<(), String> {
    if text == "CONNECT" {
        return Err("`CONNECT` is always refused: leave it out".to_owned());
    }
    if !is_token(text) || text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(format!(
            "`{}` is not a method: write it in upper case, such as `GET`",
            shortened(text)
        ));
    }
    Ok(())
}

/// A type of bodies.
pub fn content_type(text: &str) -> Result<(), String> {
    let is_part = |part: &str| is_token(part) && !part.contains('*');
    let parts = text.split_once('/');
    if parts.is_some_and(|(main, sub)| is_part(main) && (sub == "*" || is_part(sub))) {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a type of bodies: write one such as `application/json` or `image/*`, without parameters",
        shortened(text)
    ))
}

/// A token, RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_token)
}

fn name(text: &str, what: &str, such_as: &str) -> Result<(), String> {
    if is_token(text) && text.len() <= NAME_MAX {
        return Ok(());
    }
    let given = match text {
        "" => "it is required".to_owned(),
        text => format!("`{}` is none", shortened(text)),
    };
    Err(format!(
        "{given}: give the name of a {what}, such as `{such_as}`, of letters, digits and !#$%&'*+-.^_`|~, {NAME_MAX} at most"
    ))
}

/// The name of a header field.
pub fn field_name(text: &str) -> Result<(), String> {
    name(text, "header field", "X-Tenant")
}

/// The name of a cookie, RFC 6265 section 4.1.1.
pub fn cookie_name(text: &str) -> Result<(), String> {
    name(text, "cookie", "session")
}

/// The name of a header field that rules may change. Others are the engine's own, as they say how messages are framed, for whom they are, and how
/// long a connection lasts.
pub fn changeable_field(name: &str, side: Side) -> Result<(), String> {
    field_name(name)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, expected) in [
            ("", ""),
            ("*", ""),
            ("WWW.example.com", "www.example.com"),
            ("*.Example.com", "*.example.com"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8:0::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(host_pattern(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["a:80", "*.*", "*.", "a..b", "ä", "[::1", "*.[::1]", "a b"] {
            assert!(host_pattern(text).is_err(), "{text}");
        }
        for (text, expected) in [("A:80", "a:80"), ("[::1]:8443", "[::1]:8443"), ("a", "a")] {
            assert_eq!(authority(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "*", "a:", "a:0", "a:65536", "a:+1", "a:b"] {
            assert!(authority(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_in_their_normal_form() {
        for text in ["/", "/a", "/a/", "/a/%20b", "/...", "/a;b=c", "/a%2Fb"] {
            assert_eq!(path(text), Ok(()), "{text}");
        }
        for text in [
            "", "a", "//", "/a//b", "/.", "/a/..", "/..;x", "/a%2F..", "/..\\a", "/%2f", "/%41",
            "/%0", "/%zz", "/%00", "/a?b", "/a#b", "/a b", "/ä",
        ] {
            assert!(path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn expressions_and_their_replacements() {
        for text in [
            "",
            "(",
            "a)(b",
            r"\pL",
            "(?P<a",
            &"a".repeat(1_001),
            r"(\w{200}){200}",
        ] {
            let said = whole_regex(text).expect_err(text);
            assert!(!said.contains('\n'), "{said}");
        }
        assert!(whole_regex(&"a".repeat(1_000)).is_ok());
        let regex = regex("^/(?<user>[a-z]+)/([0-9]+)").unwrap();
        for text in ["", "/x", "/$1/$2", "/${user}$$", "/$user", "/${2}b"] {
            assert_eq!(replacement(&regex, text), Ok(()), "{text}");
        }
        for text in [
            "/$3",
            "/$",
            "/${",
            "/${1",
            "/$1a",
            "/$name",
            "/?",
            "/ ",
            &"$1".repeat(17),
        ] {
            assert!(replacement(&regex, text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_methods_and_types() {
        assert_eq!(value(""), Ok(()));
        assert_eq!(value("a b\tc"), Ok(()));
        for text in [" a", "a ", "a\r\nb", "a\0", "ä"] {
            assert!(value(text).is_err(), "{text:?}");
        }
        assert_eq!(method("GET"), Ok(()));
        assert_eq!(method("M-SEARCH"), Ok(()));
        for text in ["", "get", "CONNECT", "A B"] {
            assert!(method(text).is_err(), "{text}");
        }
        assert_eq!(content_type("application/json"), Ok(()));
        assert_eq!(content_type("image/*"), Ok(()));
        for text in ["", "json", "*/*", "a/b/c", "a/b; c=d", "a/", "/b", "a/b*"] {
            assert!(content_type(text).is_err(), "{text}");
        }
    }
}
