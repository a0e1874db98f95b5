//! What a route does with its requests.

use std::collections::BTreeSet;

use lbfabric_proto::v1;

use super::{
    at::At,
    field_edits,
    rates::check_key,
    route::{PathMatch, check_scheme, only_one},
};
use crate::{
    Name,
    route_text::{self, Side},
};

/// Pools of a split.
const PARTS_MAX: usize = 32;
const WEIGHT_MAX: u32 = 1_000_000;
/// A day.
const TIME_MS_MAX: u32 = 86_400_000;
const ATTEMPTS_MAX: u32 = 10;
/// Bytes of an answer's body.
const BODY_MAX: usize = 64 << 10;
const REDIRECTS: [u32; 5] = [301, 302, 303, 307, 308];

pub(super) fn forward(
    spec: &v1::RouteForwardSpec,
    paths: PathMatch,
    at: &mut At<'_>,
) -> v1::RouteForwardSpec {
    let v1::RouteForwardSpec {
        pool,
        split,
        split_by,
        rewrite,
        request_headers,
        timeouts,
        retries,
    } = spec;
    if !pool.is_empty() {
        if let Err(violation) = Name::parse(pool, &at.of("pool")) {
            at.violations().push(violation);
        }
        if !split.is_empty() {
            at.refuse(
                "split",
                "`pool` is there already: name it in the split, and leave it out there",
            );
        }
    }
    if let Some(key) = split_by {
        check_key(key, &mut at.field("split_by"));
        if split.is_empty() {
            at.refuse(
                "split_by",
                "there is no `split` to decide: add one, or leave it out",
            );
        }
    }
    if let Some(edits) = request_headers {
        field_edits::check(edits, Side::Request, &mut at.field("request_headers"));
    }
    if let Some(timeouts) = timeouts {
        check_timeouts(*timeouts, &mut at.field("timeouts"));
    }
    v1::RouteForwardSpec {
        pool: pool.clone(),
        split: parts(split, at),
        split_by: split_by.clone(),
        rewrite: rewrite
            .as_ref()
            .map(|it| rewritten(it, paths, &mut at.field("rewrite"))),
        request_headers: request_headers.clone(),
        timeouts: *timeouts,
        retries: retries
            .as_ref()
            .map(|it| retried(it, &mut at.field("retries"))),
    }
}

fn parts(split: &[v1::SplitSpec], at: &mut At<'_>) -> Vec<v1::SplitSpec> {
    at.at_most_items("split", split.len(), PARTS_MAX);
    let mut seen = BTreeSet::new();
    let mut parts = Vec::with_capacity(split.len());
    for (i, v1::SplitSpec { pool, weight }) in split.iter().enumerate() {
        let mut at = at.item("split", i);
        if let Err(violation) = Name::parse(pool, &at.of("pool")) {
            at.violations().push(violation);
        } else if !seen.insert(pool) {
            let reason = format!("`{pool}` stands in the split twice: name it once");
            at.refuse("pool", reason);
        }
        let weight = weight.unwrap_or(1);
        if weight > WEIGHT_MAX {
            let reason =
                format!("{weight} is out of range: use 0 to {WEIGHT_MAX}, or leave it out for 1");
            at.refuse("weight", reason);
        }
        parts.push(v1::SplitSpec {
            pool: pool.clone(),
            weight: Some(weight),
        });
    }
    if !parts.is_empty() && parts.iter().all(|part| part.weight == Some(0)) {
        at.refuse("split", "every weight is 0: give at least one pool more");
    }
    parts
}

fn rewritten(spec: &v1::RewriteSpec, paths: PathMatch, at: &mut At<'_>) -> v1::RewriteSpec {
    let v1::RewriteSpec {
        host,
        path,
        path_prefix,
        path_regex,
    } = spec;
    check_path(path, path_prefix, path_regex.as_ref(), paths, at);
    v1::RewriteSpec {
        host: checked_host(host, at),
        path: path.clone(),
        path_prefix: path_prefix.clone(),
        path_regex: path_regex.clone(),
    }
}

fn checked_host(host: &str, at: &mut At<'_>) -> String {
    if host.is_empty() {
        return String::new();
    }
    let host = at.check("host", route_text::authority(host));
    host.unwrap_or_default()
}

/// Another path, written in one of three ways.
fn check_path(
    path: &str,
    path_prefix: &str,
    path_regex: Option<&v1::RegexRewriteSpec>,
    paths: PathMatch,
    at: &mut At<'_>,
) {
    let mut said = Vec::new();
    for (field, text) in [("path", path), ("path_prefix", path_prefix)] {
        if !text.is_empty() {
            said.push(field);
            at.check(field, route_text::path(text));
        }
    }
    if !path_prefix.is_empty() && paths != PathMatch::Prefix {
        at.refuse(
            "path_prefix",
            "it takes the place of the route's prefix: give the route `match.path_prefix`, or use `path`",
        );
    }
    if let Some(v1::RegexRewriteSpec {
        pattern,
        replacement,
    }) = path_regex
    {
        said.push("path_regex");
        let mut at = at.field("path_regex");
        if let Some(regex) = at.check("pattern", route_text::regex(pattern)) {
            at.check("replacement", route_text::replacement(&regex, replacement));
        }
    }
    only_one(&said, at);
}

fn check_timeouts(spec: v1::RouteTimeoutsSpec, at: &mut At<'_>) {
    let v1::RouteTimeoutsSpec {
        connect_ms,
        total_ms,
        silence_ms,
        tunnel_ms,
    } = spec;
    for (field, ms) in [
        ("connect_ms", connect_ms),
        ("total_ms", total_ms),
        ("silence_ms", silence_ms),
        ("tunnel_ms", tunnel_ms),
    ] {
        at.or_none(field, ms, (1, TIME_MS_MAX));
    }
}

fn retried(spec: &v1::RouteRetriesSpec, at: &mut At<'_>) -> v1::RouteRetriesSpec {
    let v1::RouteRetriesSpec {
        attempts,
        on,
        budget_percent,
        any_method,
    } = spec;
    let mut seen = BTreeSet::new();
    for (i, failure) in on.iter().enumerate() {
        let field = format!("on[{i}]");
        match v1::RetryOn::try_from(*failure) {
            Ok(v1::RetryOn::Unspecified) | Err(_) => at.refuse(
                &field,
                format!("{failure} is unknown: use one of `connect`, `reset`, `502`, `503`, `504`"),
            ),
            Ok(_) if !seen.insert(failure) => {
                at.refuse(&field, "it stands here twice: name it once");
            }
            Ok(_) => {}
        }
    }
    let default = [v1::RetryOn::Connect.into(), v1::RetryOn::Reset.into()];
    v1::RouteRetriesSpec {
        attempts: at.or_default("attempts", *attempts, 1, (1, ATTEMPTS_MAX)),
        on: if on.is_empty() {
            default.to_vec()
        } else {
            on.clone()
        },
        budget_percent: at.or_default("budget_percent", *budget_percent, 20, (1, 100)),
        any_method: *any_method,
    }
}

pub(super) fn redirect(
    spec: &v1::RouteRedirectSpec,
    paths: PathMatch,
    at: &mut At<'_>,
) -> v1::RouteRedirectSpec {
    let v1::RouteRedirectSpec {
        status,
        scheme,
        host,
        path,
        path_prefix,
        path_regex,
        drop_query,
    } = spec;
    let status = if *status == 0 { 302 } else { *status };
    if !REDIRECTS.contains(&status) {
        let reason = format!("{status} is no redirect's: use 301, 302, 303, 307 or 308");
        at.refuse("status", reason);
    }
    check_scheme(*scheme, at);
    check_path(path, path_prefix, path_regex.as_ref(), paths, at);
    let stays = *scheme == 0 && host.is_empty() && path.is_empty() && path_prefix.is_empty();
    if stays && path_regex.is_none() {
        at.refuse(
            "",
            "it leads to where it came from: name a scheme, a host or a path",
        );
    }
    v1::RouteRedirectSpec {
        status,
        scheme: *scheme,
        host: checked_host(host, at),
        path: path.clone(),
        path_prefix: path_prefix.clone(),
        path_regex: path_regex.clone(),
        drop_query: *drop_query,
    }
}

pub(super) fn answer(spec: &v1::RouteAnswerSpec, at: &mut At<'_>) -> v1::RouteAnswerSpec {
    let v1::RouteAnswerSpec {
        status,
        content_type,
        body,
    } = spec;
    let status = at.or_default("status", *status, 200, (200, 599));
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        let reason = format!("an answer with status {status} has none: leave it out");
        at.refuse("body", reason);
    }
    if body.len() > BODY_MAX {
        let reason = format!("{} bytes: give at most {BODY_MAX}", body.len());
        at.refuse("body", reason);
    }
    let content_type = match content_type.as_str() {
        "" if !body.is_empty() => "text/plain; charset=utf-8",
        text => text,
    };
    at.check("content_type", route_text::value(content_type));
    if !content_type.is_empty() && body.is_empty() {
        at.refuse(
            "content_type",
            "there is no `body` that it is of: add one, or leave it out",
        );
    }
    v1::RouteAnswerSpec {
        status,
        content_type: content_type.to_owned(),
        body: body.clone(),
    }
}
