//! A route: which requests it is for, and what they must be.

use lbfabric_proto::v1;

use super::{at::At, field_edits, route_action};
use crate::{
    Name,
    route_text::{self, Side},
};

/// Conditions of one kind.
const CONDITIONS_MAX: usize = 16;
const METHODS_MAX: usize = 32;
const CONTENT_TYPES_MAX: usize = 64;
/// Rate limits of one route.
const RATE_LIMITS_MAX: usize = 64;
/// Bytes of a value that is compared.
const EXACT_MAX: usize = 1_024;
/// The buffer that the engine reads heads into.
const HEAD_BYTES_MAX: u32 = 16 << 10;
const HEAD_FIELDS_MAX: u32 = 128;

/// Which paths a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathMatch {
    Exact,
    Prefix,
    Regex,
}

/// Checks a route by itself, and fills in what it leaves out.
pub(super) fn route(spec: &v1::RouteSpec, mut at: At<'_>) -> v1::RouteSpec {
    let v1::RouteSpec {
        name,
        r#match,
        forward,
        redirect,
        answer,
        response_headers,
        deny_sources,
        allow_methods,
        allow_content_types,
        limits,
        rate_limits,
    } = spec;
    if let Err(violation) = Name::parse(name, &at.of("name")) {
        at.violations().push(violation);
    }
    let paths = r#match.as_ref().map_or(PathMatch::Prefix, paths_of);
    let r#match = r#match
        .as_ref()
        .map(|it| conditions(it, &mut at.field("match")));
    let actions = [forward.is_some(), redirect.is_some(), answer.is_some()];
    if actions.into_iter().filter(|is_there| *is_there).count() > 1 {
        at.refuse(
            "",
            "of `forward`, `redirect` and `answer` there is more than one: leave one of them",
        );
    }
    let is_forwarded = redirect.is_none() && answer.is_none();
    let forward = forward
        .clone()
        .or_else(|| is_forwarded.then(v1::RouteForwardSpec::default));
    let forward = forward.map(|it| route_action::forward(&it, paths, &mut at.field("forward")));
    let redirect = redirect
        .as_ref()
        .map(|it| route_action::redirect(it, paths, &mut at.field("redirect")));
    let answer = answer
        .as_ref()
        .map(|it| route_action::answer(it, &mut at.field("answer")));
    if let Some(edits) = response_headers {
        field_edits::check(edits, Side::Answer, &mut at.field("response_headers"));
    }
    at.check_texts(
        "allow_methods",
        allow_methods,
        METHODS_MAX,
        route_text::method,
    );
    at.check_texts(
        "allow_content_types",
        allow_content_types,
        CONTENT_TYPES_MAX,
        route_text::content_type,
    );
    if let Some(limits) = limits {
        let mut at = at.field("limits");
        at.or_none("head_bytes", limits.head_bytes, (128, HEAD_BYTES_MAX));
        at.or_none("fields", limits.fields, (1, HEAD_FIELDS_MAX));
    }
    at.check_texts("rate_limits", rate_limits, RATE_LIMITS_MAX, |_| Ok(()));
    v1::RouteSpec {
        name: name.clone(),
        r#match,
        forward,
        redirect,
        answer,
        response_headers: response_headers.clone(),
        deny_sources: at.sources("deny_sources", deny_sources),
        allow_methods: allow_methods.clone(),
        allow_content_types: allow_content_types.clone(),
        limits: *limits,
        rate_limits: rate_limits.clone(),
    }
}

fn paths_of(spec: &v1::RouteMatchSpec) -> PathMatch {
    if !spec.path.is_empty() {
        PathMatch::Exact
    } else if spec.path_regex.is_empty() {
        PathMatch::Prefix
    } else {
        PathMatch::Regex
    }
}

fn conditions(spec: &v1::RouteMatchSpec, at: &mut At<'_>) -> v1::RouteMatchSpec {
    let v1::RouteMatchSpec {
        host,
        path,
        path_prefix,
        path_regex,
        methods,
        headers,
        query,
        sources,
        scheme,
    } = spec;
    let host = at.check("host", route_text::host_pattern(host));
    let mut said = Vec::new();
    for (field, text, check) in [
        ("path", path, route_text::path as fn(&str) -> _),
        ("path_prefix", path_prefix, route_text::path),
        ("path_regex", path_regex, |text| {
            route_text::whole_regex(text).map(|_| ())
        }),
    ] {
        if !text.is_empty() {
            said.push(field);
            at.check(field, check(text));
        }
    }
    only_one(&said, at);
    at.check_texts("methods", methods, METHODS_MAX, route_text::method);
    for (field, list) in [("headers", headers), ("query", query)] {
        at.at_most_items(field, list.len(), CONDITIONS_MAX);
        for (i, spec) in list.iter().enumerate() {
            field_match(spec, field == "headers", &mut at.item(field, i));
        }
    }
    check_scheme(*scheme, at);
    v1::RouteMatchSpec {
        host: host.unwrap_or_default(),
        path: path.clone(),
        path_prefix: path_prefix.clone(),
        path_regex: path_regex.clone(),
        methods: methods.clone(),
        headers: headers.clone(),
        query: query.clone(),
        sources: at.sources("sources", sources),
        scheme: *scheme,
    }
}

fn field_match(spec: &v1::FieldMatchSpec, is_header: bool, at: &mut At<'_>) {
    let v1::FieldMatchSpec { name, exact, regex } = spec;
    if is_header {
        at.check("name", route_text::field_name(name));
    } else if name.is_empty() || name.len() > EXACT_MAX {
        let reason = format!("it is required: the parameter's name, {EXACT_MAX} bytes at most");
        at.refuse("name", reason);
    }
    if exact.len() > EXACT_MAX {
        at.refuse(
            "exact",
            format!("{} bytes: give at most {EXACT_MAX}", exact.len()),
        );
    }
    if !regex.is_empty() {
        at.check("regex", route_text::whole_regex(regex));
        if !exact.is_empty() {
            at.refuse("", "`exact` and `regex` are both there: remove one of them");
        }
    }
}

/// Refuses all but one of fields that exclude each other.
pub(super) fn only_one(said: &[&str], at: &mut At<'_>) {
    if let [first, second, ..] = said {
        at.refuse(
            second,
            format!("`{first}` is there already, and only one of them may be: remove one"),
        );
    }
}

/// A scheme, or none.
pub(super) fn check_scheme(scheme: i32, at: &mut At<'_>) {
    if v1::HttpScheme::try_from(scheme).is_err() {
        at.refuse(
            "scheme",
            format!("{scheme} is unknown: use one of `http`, `https`, or leave it out"),
        );
    }
}
