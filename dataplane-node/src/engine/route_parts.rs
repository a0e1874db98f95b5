//! The parts of a route in the engine's terms.

use std::{collections::BTreeMap, time::Duration};

use lbfabric_proto::v1;
use lbfabric_proxy::{
    http1::FieldEdits,
    route::{
        Authority, Conditions, ContentTypes, CookieName, Failure, FieldCondition, FieldEdit,
        FieldName, FieldValue, FixedAnswer, Forward, HostPattern, InvalidRoute, Methods,
        PathPattern, PathRewrite, QueryCondition, Redirect, RedirectStatus, RequestKey, Retries,
        Rewrite, RouteLimits, RouteTimeouts, Scheme, Side, Split, SplitBy, TextPattern, TimeLimit,
        compile,
    },
};

use super::routes::prefixes;

pub(super) fn conditions(spec: &v1::RouteMatchSpec) -> Result<Conditions, InvalidRoute> {
    let v1::RouteMatchSpec {
        host,
        path,
        path_prefix,
        path_regex,
        methods: names,
        headers,
        query,
        sources,
        scheme: _,
    } = spec;
    let header = |it: &v1::FieldMatchSpec| {
        Ok(FieldCondition {
            name: FieldName::parse(&it.name)?,
            value: text(it)?,
        })
    };
    let parameter = |it: &v1::FieldMatchSpec| {
        Ok(QueryCondition {
            name: it.name.as_str().into(),
            value: text(it)?,
        })
    };
    Ok(Conditions {
        host: match host.as_str() {
            "" => HostPattern::ANY,
            host => HostPattern::parse(host)?,
        },
        path: match [path, path_prefix, path_regex].map(String::as_str) {
            ["", "", ""] => PathPattern::default(),
            ["", "", regex] => PathPattern::regex(regex)?,
            ["", prefix, _] => PathPattern::prefix(prefix)?,
            [path, _, _] => PathPattern::exact(path)?,
        },
        scheme: scheme(spec.scheme()),
        methods: methods(names)?,
        fields: headers.iter().map(header).collect::<Result<_, _>>()?,
        query: query.iter().map(parameter).collect::<Result<_, _>>()?,
        clients: if sources.is_empty() {
            None
        } else {
            Some(prefixes(sources)?)
        },
    })
}

fn text(spec: &v1::FieldMatchSpec) -> Result<TextPattern, InvalidRoute> {
    match (spec.exact.as_str(), spec.regex.as_str()) {
        ("", "") => Ok(TextPattern::Present),
        ("", regex) => TextPattern::regex(regex),
        (exact, _) => Ok(TextPattern::Exact(exact.into())),
    }
}

const fn scheme(scheme: v1::HttpScheme) -> Option<Scheme> {
    match scheme {
        v1::HttpScheme::Unspecified => None,
        v1::HttpScheme::Http => Some(Scheme::Http),
        v1::HttpScheme::Https => Some(Scheme::Https),
    }
}

/// None for all.
pub(super) fn methods(names: &[String]) -> Result<Option<Methods>, InvalidRoute> {
    let parsed = || Methods::parse(names.iter().map(String::as_str));
    (!names.is_empty()).then(parsed).transpose()
}

/// None for all.
pub(super) fn content_types(names: &[String]) -> Result<Option<ContentTypes>, InvalidRoute> {
    let parsed = || ContentTypes::parse(names.iter().map(String::as_str));
    (!names.is_empty()).then(parsed).transpose()
}

pub(super) fn limits(spec: v1::RouteLimitsSpec) -> Result<RouteLimits, InvalidRoute> {
    let v1::RouteLimitsSpec {
        body_bytes,
        head_bytes,
        fields,
    } = spec;
    let limit = |value: u32| usize::try_from(value).ok().filter(|value| *value > 0);
    RouteLimits::new(body_bytes, limit(head_bytes), limit(fields))
}

/// What tells requests apart: their client's address without a key.
pub(super) fn key(spec: Option<&v1::RequestKeySpec>) -> Result<RequestKey, InvalidRoute> {
    let names = spec.map(|it| (it.header.as_str(), it.cookie.as_str()));
    match names.unwrap_or_default() {
        ("", "") => Ok(RequestKey::Source),
        ("", cookie) => CookieName::parse(cookie).map(RequestKey::Cookie),
        (header, _) => FieldName::parse(header).map(RequestKey::Field),
    }
}

pub(super) fn forward(
    spec: &v1::RouteForwardSpec,
    pools: &BTreeMap<&str, usize>,
) -> Result<Forward, InvalidRoute> {
    let v1::RouteForwardSpec {
        pool,
        split: parts,
        split_by,
        rewrite,
        request_headers,
        timeouts,
        retries,
    } = spec;
    let split = match (parts.as_slice(), pool.as_str()) {
        ([], "") => Split::to(0),
        ([], pool) => Split::to(place(pool, pools)?),
        (parts, _) => split(parts, split_by.as_ref(), pools)?,
    };
    Ok(Forward {
        split,
        rewrite: match rewrite {
            Some(rewrite) => rewritten(rewrite)?,
            None => Rewrite::default(),
        },
        request: edits(request_headers.as_ref(), Side::Request)?,
        timeouts: match timeouts {
            Some(timeouts) => limited(*timeouts)?,
            None => RouteTimeouts::default(),
        },
        retries: match retries {
            Some(retries) => retried(retries)?,
            None => Retries::NONE,
        },
    })
}

fn place(pool: &str, pools: &BTreeMap<&str, usize>) -> Result<usize, InvalidRoute> {
    pools.get(pool).copied().ok_or_else(|| InvalidRoute {
        field: "forward.pool".to_owned(),
        reason: format!("the node has not been told of the pool {pool:?}"),
    })
}

fn split(
    parts: &[v1::SplitSpec],
    by: Option<&v1::RequestKeySpec>,
    pools: &BTreeMap<&str, usize>,
) -> Result<Split, InvalidRoute> {
    let part = |v1::SplitSpec { pool, weight }: &v1::SplitSpec| {
        Ok((place(pool, pools)?, weight.unwrap_or(1)))
    };
    let parts: Vec<_> = parts
        .iter()
        .map(part)
        .collect::<Result<_, InvalidRoute>>()?;
    let by = match by {
        Some(by) => SplitBy::Key(key(Some(by))?),
        None => SplitBy::Turn,
    };
    Split::weighted(&parts, by)
}

fn rewritten(spec: &v1::RewriteSpec) -> Result<Rewrite, InvalidRoute> {
    let v1::RewriteSpec {
        host,
        path,
        path_prefix,
        path_regex,
    } = spec;
    Ok(Rewrite {
        host: authority(host)?,
        path: path_rewrite(path, path_prefix, path_regex.as_ref())?,
    })
}

fn authority(text: &str) -> Result<Option<Authority>, InvalidRoute> {
    (!text.is_empty())
        .then(|| Authority::parse(text))
        .transpose()
}

fn path_rewrite(
    path: &str,
    path_prefix: &str,
    path_regex: Option<&v1::RegexRewriteSpec>,
) -> Result<PathRewrite, InvalidRoute> {
    match (path, path_prefix, path_regex) {
        ("", "", None) => Ok(PathRewrite::Keep),
        ("", "", Some(regex)) => PathRewrite::substitute(&regex.pattern, &regex.replacement),
        ("", prefix, _) => PathRewrite::prefix(prefix),
        (path, _, _) => PathRewrite::whole(path),
    }
}

/// The changes to a route's answers.
pub(super) fn answer_edits(spec: Option<&v1::HeaderEditsSpec>) -> Result<FieldEdits, InvalidRoute> {
    edits(spec, Side::Answer)
}

fn edits(spec: Option<&v1::HeaderEditsSpec>, side: Side) -> Result<FieldEdits, InvalidRoute> {
    let Some(v1::HeaderEditsSpec { set, add, remove }) = spec else {
        return Ok(FieldEdits::default());
    };
    let header =
        |it: &v1::HeaderSpec| Ok((FieldName::parse(&it.name)?, FieldValue::parse(&it.value)?));
    let mut edits = Vec::new();
    for name in remove {
        edits.push(FieldEdit::Remove(FieldName::parse(name)?));
    }
    for it in set {
        let (name, value) = header(it)?;
        edits.push(FieldEdit::Set(name, value));
    }
    for it in add {
        let (name, value) = header(it)?;
        edits.push(FieldEdit::Add(name, value));
    }
    compile(&edits, side)
}

fn limited(spec: v1::RouteTimeoutsSpec) -> Result<RouteTimeouts, InvalidRoute> {
    let v1::RouteTimeoutsSpec {
        connect_ms,
        total_ms,
        silence_ms,
        tunnel_ms,
    } = spec;
    let limit = |field, ms: u32| {
        let time = Duration::from_millis(ms.into());
        (ms > 0).then(|| TimeLimit::new(field, time)).transpose()
    };
    Ok(RouteTimeouts {
        connect: limit("timeouts.connect", connect_ms)?,
        total: limit("timeouts.total", total_ms)?,
        silence: limit("timeouts.silence", silence_ms)?,
        tunnel: limit("timeouts.tunnel", tunnel_ms)?,
    })
}

fn retried(spec: &v1::RouteRetriesSpec) -> Result<Retries, InvalidRoute> {
    let on: Vec<_> = spec.on().filter_map(failure).collect();
    let small = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
    Retries::new(
        small(spec.attempts),
        &on,
        small(spec.budget_percent),
        spec.any_method,
    )
}

const fn failure(on: v1::RetryOn) -> Option<Failure> {
    match on {
        v1::RetryOn::Unspecified => None,
        v1::RetryOn::Connect => Some(Failure::Connect),
        v1::RetryOn::Reset => Some(Failure::Reset),
        v1::RetryOn::RetryOn502 => Some(Failure::BadGateway),
        v1::RetryOn::RetryOn503 => Some(Failure::Unavailable),
        v1::RetryOn::RetryOn504 => Some(Failure::GatewayTimeout),
    }
}

pub(super) fn redirect(spec: &v1::RouteRedirectSpec) -> Result<Redirect, InvalidRoute> {
    let v1::RouteRedirectSpec {
        status,
        scheme: _,
        host,
        path,
        path_prefix,
        path_regex,
        drop_query,
    } = spec;
    Redirect::new(
        RedirectStatus::parse(u16::try_from(*status).unwrap_or(u16::MAX))?,
        scheme(spec.scheme()),
        authority(host)?,
        path_rewrite(path, path_prefix, path_regex.as_ref())?,
        !drop_query,
    )
}

pub(super) fn answer(spec: &v1::RouteAnswerSpec) -> Result<FixedAnswer, InvalidRoute> {
    let v1::RouteAnswerSpec {
        status,
        content_type,
        body,
    } = spec;
    let status = u16::try_from(*status).unwrap_or(u16::MAX);
    let content_type = (!content_type.is_empty()).then_some(content_type.as_str());
    FixedAnswer::new(status, content_type, body.as_bytes())
}
