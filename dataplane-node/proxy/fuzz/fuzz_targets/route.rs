//! Routes and the requests for them, any text of both: the table finds what a slow reading of its documentation finds, and what becomes of a
//! request's path is a path in its normal form.
//!
//! A line is a route, `host|path|method|header|parameter|rewrite`, as far as it is one; behind an empty line comes a request, `host`, `target`,
//! `method` and fields in lines of their own.
#![no_main]

use std::{cmp::Reverse, time::Duration};

use lbfabric_proxy::{
    http1::{Body, Field},
    route::{
        Action, Conditions, Decision, EmptySegments, FieldCondition, FieldName, Fields, Forward,
        HostPattern, Methods, PathPattern, PathPolicy, PathRewrite, QueryCondition, Rewrite, Route,
        RouteRequest, RouteTable, RoutesConfig, TextPattern, normal,
    },
};
use libfuzzer_sys::fuzz_target;
use regex::bytes::RegexBuilder;

/// A route as it was asked for.
struct Wanted<'a> {
    host: &'a str,
    /// Exact with `=` before it, a regular expression with `~`, else a prefix.
    path: &'a str,
    method: &'a str,
    header: &'a str,
    /// A name and its value.
    parameter: Option<(&'a str, &'a str)>,
    /// The whole path with `=` before it, a substitution with `~` and `>` in it, else of the prefix.
    rewrite: &'a str,
}

struct Asked<'a> {
    host: &'a str,
    path: String,
    query: &'a str,
    method: &'a str,
    fields: Vec<(&'a str, &'a str)>,
}

struct Said<'a>(&'a [(&'a str, &'a str)]);

impl Fields for Said<'_> {
    fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.0.iter().map(|(name, value)| Field {
            name,
            value: value.as_bytes(),
        })
    }
}

impl<'a> Wanted<'a> {
    fn of(line: &'a str) -> Self {
        let mut cells = line.split('|');
        let mut cell = || cells.next().unwrap_or_default();
        Self {
            host: cell(),
            path: cell(),
            method: cell(),
            header: cell(),
            parameter: cell().split_once('='),
            rewrite: cell(),
        }
    }

    fn route(&self, name: &str) -> Option<Route> {
        let path = match self.path.split_at_checked(1)? {
            ("=", path) => PathPattern::exact(path),
            ("~", regex) => PathPattern::regex(regex),
            _ => PathPattern::prefix(self.path),
        };
        let mut when = Conditions {
            host: HostPattern::parse(self.host).ok()?,
            path: path.ok()?,
            ..Conditions::default()
        };
        if !self.method.is_empty() {
            when.methods = Some(Methods::parse([self.method]).ok()?);
        }
        if !self.header.is_empty() {
            when.fields.push(FieldCondition {
                name: FieldName::parse(self.header).ok()?,
                value: TextPattern::Present,
            });
        }
        if let Some((name, value)) = self.parameter {
            when.query.push(QueryCondition {
                name: name.into(),
                value: TextPattern::Exact(value.into()),
            });
        }
        let path = match self.rewrite.split_at_checked(1) {
            None => PathRewrite::Keep,
            Some(("=", path)) => PathRewrite::whole(path).ok()?,
            Some(("~", rest)) => {
                let (regex, replacement) = rest.split_once('>')?;
                PathRewrite::substitute(regex, replacement).ok()?
            }
            Some(_) => PathRewrite::prefix(self.rewrite).ok()?,
        };
        let forward = Forward {
            rewrite: Rewrite { host: None, path },
            ..Forward::to(0)
        };
        let route = Route::new(name, when, Action::Forward(forward));
        // Some rewrites go with some paths alone.
        let config = RoutesConfig {
            routes: vec![route.clone()],
            ..RoutesConfig::default()
        };
        RouteTable::new(config, 1, 7, None).ok().map(|_| route)
    }

    /// Smaller is first; none if it is not for such a request.
    fn rank(&self, asked: &Asked<'_>) -> Option<(Reverse<usize>, usize, Reverse<usize>)> {
        let host = plain_host(asked.host);
        let name = self.host.to_ascii_lowercase();
        let of_host = if name.is_empty() || name == "*" {
            0
        } else if let Some(suffix) = name.strip_prefix('*') {
            let host = host.filter(|it| !it.starts_with('[') && it.ends_with(suffix));
            host.map(|_| suffix.len())?
        } else {
            let name = plain_host(&name);
            (host.is_some() && host == name).then_some(usize::MAX)?
        };
        let of_path = match self.path.split_at(1) {
            ("=", path) => (path == asked.path).then_some((0, 0))?,
            ("~", regex) => {
                let whole = format!(r"\A(?:{regex})\z");
                let regex = RegexBuilder::new(&whole).unicode(false).build().ok()?;
                regex.is_match(asked.path.as_bytes()).then_some((1, 0))?
            }
            _ => {
                let prefix = self.path.strip_suffix('/').unwrap_or(self.path);
                let rest = asked.path.strip_prefix(prefix)?;
                let is_below = rest.is_empty() || rest.starts_with('/') || prefix.is_empty();
                is_below.then_some((2, prefix.len()))?
            }
        };
        let has_field = |name: &str| {
            asked
                .fields
                .iter()
                .any(|it| it.0.eq_ignore_ascii_case(name))
        };
        let has_parameter = |(name, value): (&str, &str)| {
            let pairs = asked.query.split('&').filter(|pair| !pair.is_empty());
            let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs.any(|it| plain(it.0) == name.as_bytes() && plain(it.1) == value.as_bytes())
        };
        let has_rest = (self.method.is_empty() || self.method == asked.method)
            && (self.header.is_empty() || has_field(self.header))
            && self.parameter.is_none_or(has_parameter);
        has_rest.then_some((Reverse(of_host), of_path.0, Reverse(of_path.1)))
    }
}

/// Without a port or a last dot, in lower case; none if it is longer than a name may be, or no address.
fn plain_host(host: &str) -> Option<String> {
    if let Some(inner) = host.strip_prefix('[') {
        let address: std::net::Ipv6Addr = inner.split_once(']')?.0.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let name = host.split(':').next().unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    (name.len() <= 253).then(|| name.to_ascii_lowercase())
}

/// As forms write it, WHATWG URL section 5.1.
fn plain(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let digits = digits.filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.map(|it| u8::from_str_radix(it, 16)) {
            Some(Ok(byte)) => {
                out.push(byte);
                at += 3;
            }
            Some(Err(_)) | None => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    out
}

fn check(routes: &str, request: &str, paths: PathPolicy) -> Option<()> {
    let mut lines = request.split('\n');
    let (host, target, method) = (lines.next()?, lines.next()?, lines.next()?);
    // What a head's reading lets through.
    let is_sound = |text: &str| text.bytes().all(|it| it.is_ascii_graphic() && it != b'#');
    if !target.starts_with('/') || !is_sound(target) || !is_sound(host) || !is_sound(method) {
        return None;
    }
    let wanted = routes.split('\n').take(12).map(Wanted::of);
    let all = wanted.enumerate();
    let all = all.filter_map(|(at, it)| Some((it.route(&at.to_string())?, it)));
    let (routes, wanted): (Vec<_>, Vec<_>) = all.unzip();
    let config = RoutesConfig {
        paths,
        routes,
        ..RoutesConfig::default()
    };
    let table = RouteTable::new(config, 1, 7, None).expect("each of them is sound");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fields: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    let request = RouteRequest {
        method,
        host: Some(host),
        target,
        scheme: "http",
        client: [192, 0, 2, 1].into(),
        body: Body::Length(0),
        head_bytes: 100,
        fields: &Said(&fields),
    };
    let found = table.find(&request);
    let Ok(path) = normal(path, paths) else {
        assert!(found.is_err(), "{target}");
        return None;
    };
    let asked = Asked {
        host,
        path: path.into_owned(),
        query,
        method,
        fields: fields.clone(),
    };
    let ranks = wanted.iter().enumerate();
    let first = ranks
        .filter_map(|(at, it)| Some((it.rank(&asked)?, at)))
        .min();
    let expected = first.map(|(_, at)| at);
    let (found, _) = found.expect("its path is sound");
    assert_eq!(
        found,
        expected,
        "{routes:?} {target}",
        routes = table.routes()
    );
    if let Decision::Forward(way) = table.decide(&request, 0, Duration::default)
        && let Some(written) = way.target
    {
        assert!(is_sound(&written) && written.len() <= 8 << 10, "{written}");
        let (path, behind) = written.split_once('?').unwrap_or((&written, ""));
        assert_eq!(behind, query);
        assert!(path.starts_with('/'), "{written}");
        assert_eq!(normal(path, paths).as_deref(), Ok(path), "from {target}");
    }
    Some(())
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let Some((routes, request)) = text.split_once("\n\n") else {
        return;
    };
    let keeps = PathPolicy {
        empty_segments: EmptySegments::Keep,
        ..PathPolicy::default()
    };
    let _asked = check(routes, request, PathPolicy::default());
    let _asked = check(routes, request, keeps);
});
