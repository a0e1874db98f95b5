//! How many requests and connections may come.

use lbfabric_proto::v1;

use super::at::At;
use crate::{Name, route_text};

/// Requests of a rate, and at once.
const REQUESTS_MAX: u32 = 1_000_000;
/// Values that are told apart at a time.
const VALUES_MAX: u32 = 1 << 20;
const VALUES_DEFAULT: u32 = 1 << 16;
const CONNECTIONS_MAX: u32 = 10_000_000;

/// Checks a rate limit, and fills in what it leaves out.
pub(super) fn rate(spec: &v1::RequestRateSpec, mut at: At<'_>) -> v1::RequestRateSpec {
    let v1::RequestRateSpec {
        name,
        requests,
        per_ms,
        burst,
        key,
        every_request,
        values,
    } = spec;
    if let Err(violation) = Name::parse(name, &at.of("name")) {
        at.violations().push(violation);
    }
    if !(1..=REQUESTS_MAX).contains(requests) {
        let what = match requests {
            0 => "it is required".to_owned(),
            requests => format!("{requests} is out of range"),
        };
        at.refuse("requests", format!("{what}: use 1 to {REQUESTS_MAX}"));
    }
    if let Some(key) = key {
        check_key(key, &mut at.field("key"));
    }
    let burst_default = (*requests).clamp(1, REQUESTS_MAX);
    v1::RequestRateSpec {
        name: name.clone(),
        requests: *requests,
        per_ms: at.or_default("per_ms", *per_ms, 1_000, (100, 3_600_000)),
        burst: at.or_default("burst", *burst, burst_default, (1, REQUESTS_MAX)),
        key: key.clone(),
        every_request: *every_request,
        values: at.or_default("values", *values, VALUES_DEFAULT, (1, VALUES_MAX)),
    }
}

/// Checks what tells requests apart.
pub(super) fn check_key(spec: &v1::RequestKeySpec, at: &mut At<'_>) {
    let v1::RequestKeySpec { header, cookie } = spec;
    if !header.is_empty() {
        at.check("header", route_text::field_name(header));
    }
    if !cookie.is_empty() {
        at.check("cookie", route_text::cookie_name(cookie));
    }
    if !header.is_empty() && !cookie.is_empty() {
        at.refuse(
            "",
            "`header` and `cookie` are both there: remove one of them",
        );
    }
}

/// Checks limits on connections, and fills in what they leave out.
pub(super) fn connections(
    spec: v1::ConnectionLimitsSpec,
    mut at: At<'_>,
) -> v1::ConnectionLimitsSpec {
    let v1::ConnectionLimitsSpec {
        service,
        source,
        sources,
    } = spec;
    at.or_none("service", service, (1, CONNECTIONS_MAX));
    at.or_none("source", source, (1, CONNECTIONS_MAX));
    v1::ConnectionLimitsSpec {
        service,
        source,
        sources: at.or_default("sources", sources, VALUES_DEFAULT, (1, VALUES_MAX)),
    }
}
