use lbfabric_proto::v1;

use super::at::At;
use crate::{Violation, name::shortened, route_text};

/// Bytes of a target.
const TARGET_MAX: usize = 4_096;
const HEADERS_MAX: usize = 64;

/// What comes over a connection that somebody asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestQuestion {
    /// The host that is asked for.
    pub host: Option<String>,
    /// Path and query.
    pub target: String,
    /// The method.
    pub method: String,
    /// Fields of the head, without `Host`.
    pub headers: Vec<(String, String)>,
    /// The name that a client of TLS asks for, in lower case.
    pub server_name: Option<String>,
}

impl RequestQuestion {
    /// Checks a question at `path`. After a violation the result is of no use.
    pub(crate) fn parse(
        spec: &v1::RequestQuestion,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Self {
        let v1::RequestQuestion {
            host,
            path: target,
            method,
            headers,
            server_name,
        } = spec;
        let mut at = At::new(path, violations);
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        if let Some(host) = given(host) {
            at.check("host", route_text::authority(&host));
        }
        let target = given(target).unwrap_or_else(|| "/".to_owned());
        at.check("path", check_target(&target));
        let method = given(method).unwrap_or_else(|| "GET".to_owned());
        at.check("method", route_text::method(&method));
        at.at_most_items("headers", headers.len(), HEADERS_MAX);
        for (i, v1::HeaderSpec { name, value }) in headers.iter().enumerate() {
            let mut at = at.item("headers", i);
            at.check("name", route_text::field_name(name));
            if name.eq_ignore_ascii_case("host") {
                at.refuse("name", "`Host` says whom a request is for: use `host`");
            }
            at.check("value", route_text::value(value));
        }
        let server_name = given(server_name).and_then(|name| {
            let read = match name.strip_prefix("*.") {
                Some(_) => Err(format!(
                    "`{}` stands for many names: give one of them",
                    shortened(&name)
                )),
                None => route_text::server_names(&name),
            };
            at.check("server_name", read)
        });
        let pair = |it: &v1::HeaderSpec| (it.name.clone(), it.value.clone());
        Self {
            host: given(host),
            target,
            method,
            headers: headers.iter().map(pair).collect(),
            server_name,
        }
    }

    /// The question on the wire.
    pub(crate) fn to_spec(&self) -> v1::RequestQuestion {
        let Self {
            host,
            target,
            method,
            headers,
            server_name,
        } = self.clone();
        let header = |(name, value)| v1::HeaderSpec { name, value };
        v1::RequestQuestion {
            host: host.unwrap_or_default(),
            path: target,
            method,
            headers: headers.into_iter().map(header).collect(),
            server_name: server_name.unwrap_or_default(),
        }
    }

    /// The name that a client of TLS asks for: what was given, or the host without its port, if that is a name.
    pub fn asked_name(&self) -> Option<String> {
        self.server_name.clone().or_else(|| {
            let host = self.host.as_deref()?;
            let host = host.split_once(':').map_or(host, |(name, _)| name);
            let is_address = host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[');
            (!is_address).then(|| host.to_ascii_lowercase())
        })
    }
}

fn check_target(text: &str) -> Result<(), String> {
    let is_of_target = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if text.starts_with('/') && text.len() <= TARGET_MAX && text.bytes().all(is_of_target) {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a path as clients write it: begin it with `/`, visible ASCII without `#`, {TARGET_MAX} bytes at most",
        shortened(text)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(spec: &v1::RequestQuestion) -> Result<RequestQuestion, Vec<String>> {
        let mut violations = Vec::new();
        let read = RequestQuestion::parse(spec, "request", &mut violations);
        let paths: Vec<_> = violations.into_iter().map(|it| it.path).collect();
        if paths.is_empty() {
            Ok(read)
        } else {
            Err(paths)
        }
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let read = parse(&v1::RequestQuestion::default()).unwrap();
        assert_eq!((&*read.target, &*read.method), ("/", "GET"));
        assert_eq!(read.asked_name(), None);
        assert_eq!(parse(&read.to_spec()), Ok(read));
    }

    #[test]
    fn the_host_is_what_tls_asks_for() {
        for (host, server_name, expected) in [
            ("WWW.example:8443", "", Some("www.example")),
            ("www.example", "Other.example", Some("other.example")),
            ("192.0.2.1", "", None),
            ("[2001:db8::1]:443", "", None),
        ] {
            let spec = v1::RequestQuestion {
                host: host.to_owned(),
                server_name: server_name.to_owned(),
                ..v1::RequestQuestion::default()
            };
            let read = parse(&spec).unwrap();
            assert_eq!(read.asked_name().as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn mistakes_have_their_path() {
        let header = |name: &str, value: &str| v1::HeaderSpec {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let spec = v1::RequestQuestion {
            host: "a b".to_owned(),
            path: "x".to_owned(),
            method: "get".to_owned(),
            headers: vec![header("Host", "a"), header("a b", "c"), header("d", "\r")],
            server_name: "*.example".to_owned(),
        };
        assert_eq!(
            parse(&spec).unwrap_err(),
            [
                "request.host",
                "request.path",
                "request.method",
                "request.headers[0].name",
                "request.headers[1].name",
                "request.headers[2].value",
                "request.server_name",
            ]
        );
    }
}
