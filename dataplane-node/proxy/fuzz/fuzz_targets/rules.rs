//! Texts of rules: what the API takes of them, the engine takes too, and the API shows what it has taken in a form that it takes again.
#![no_main]

use lbfabric_model::Document;
use lbfabric_proto::v1;
use lbfabric_proxy::route::{
    Authority, ContentTypes, CookieName, FieldName, FieldValue, HostPattern, InvalidRoute, Methods,
    PathPattern, PathRewrite, Prefixes, TextPattern,
};
use libfuzzer_sys::fuzz_target;

/// A route with a text in a place that the first byte says.
fn route(place: u8, text: &str) -> v1::RouteSpec {
    let mut route = v1::RouteSpec {
        name: "a".to_owned(),
        ..v1::RouteSpec::default()
    };
    let mut when = v1::RouteMatchSpec::default();
    let mut forward = v1::RouteForwardSpec::default();
    let mut rewrite = v1::RewriteSpec::default();
    let text = text.to_owned();
    let named = |name: &str, regex: &str| v1::FieldMatchSpec {
        name: name.to_owned(),
        regex: regex.to_owned(),
        ..v1::FieldMatchSpec::default()
    };
    match place {
        0 => when.host = text,
        1 => when.path = text,
        2 => when.path_prefix = text,
        3 => when.path_regex = text,
        4 => when.methods = vec![text],
        5 => when.headers = vec![named(&text, "")],
        6 => when.headers = vec![named("a", &text)],
        7 => when.sources = vec![text],
        8 => rewrite.host = text,
        9 => rewrite.path = text,
        10 => {
            when.path_prefix = "/a".to_owned();
            rewrite.path_prefix = text;
        }
        11 => {
            let (pattern, replacement) = text.split_once('>').unwrap_or((&text, ""));
            rewrite.path_regex = Some(v1::RegexRewriteSpec {
                pattern: pattern.to_owned(),
                replacement: replacement.to_owned(),
            });
        }
        12 => {
            let value = v1::HeaderSpec {
                name: "a".to_owned(),
                value: text,
            };
            forward.request_headers = Some(v1::HeaderEditsSpec {
                set: vec![value],
                ..v1::HeaderEditsSpec::default()
            });
        }
        13 => route.allow_content_types = vec![text],
        _ => {
            forward.split = vec![v1::SplitSpec {
                pool: "a".to_owned(),
                weight: None,
            }];
            forward.split_by = Some(v1::RequestKeySpec {
                cookie: text,
                ..v1::RequestKeySpec::default()
            });
        }
    }
    if rewrite != v1::RewriteSpec::default() {
        forward.rewrite = Some(rewrite);
    }
    route.r#match = Some(when);
    route.forward = Some(forward);
    route
}

fn fabric(route: v1::RouteSpec) -> v1::FabricSpec {
    v1::FabricSpec {
        pools: vec![v1::PoolSpec {
            name: "a".to_owned(),
            ..v1::PoolSpec::default()
        }],
        services: vec![v1::ServiceSpec {
            name: "web".to_owned(),
            vips: vec!["203.0.113.1".to_owned()],
            ports: vec!["80".to_owned()],
            mode: v1::Mode::L7Reverse.into(),
            pool: "a".to_owned(),
            proxy: Some(v1::ProxySpec {
                routes: vec![route],
                ..v1::ProxySpec::default()
            }),
            ..v1::ServiceSpec::default()
        }],
        ..v1::FabricSpec::default()
    }
}

/// The texts of a route that a node was told of, as the agent reads them.
fn engine(route: &v1::RouteSpec) -> Result<(), InvalidRoute> {
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let when = route.r#match.clone().unwrap_or_default();
    let forward = route.forward.clone().unwrap_or_default();
    let rewrite = forward.rewrite.unwrap_or_default();
    said(&when.host)
        .map(|it| HostPattern::parse(&it))
        .transpose()?;
    said(&when.path)
        .map(|it| PathPattern::exact(&it))
        .transpose()?;
    said(&when.path_prefix)
        .map(|it| PathPattern::prefix(&it))
        .transpose()?;
    said(&when.path_regex)
        .map(|it| PathPattern::regex(&it))
        .transpose()?;
    for methods in &when.methods {
        Methods::parse([methods.as_str()])?;
    }
    for field in &when.headers {
        FieldName::parse(&field.name)?;
        said(&field.regex)
            .map(|it| TextPattern::regex(&it))
            .transpose()?;
    }
    Prefixes::parse(when.sources.iter().map(String::as_str))?;
    said(&rewrite.host)
        .map(|it| Authority::parse(&it))
        .transpose()?;
    said(&rewrite.path)
        .map(|it| PathRewrite::whole(&it))
        .transpose()?;
    said(&rewrite.path_prefix)
        .map(|it| PathRewrite::prefix(&it))
        .transpose()?;
    if let Some(regex) = rewrite.path_regex {
        PathRewrite::substitute(&regex.pattern, &regex.replacement)?;
    }
    for header in forward.request_headers.unwrap_or_default().set {
        FieldName::parse(&header.name)?;
        FieldValue::parse(&header.value)?;
    }
    if !route.allow_content_types.is_empty() {
        ContentTypes::parse(route.allow_content_types.iter().map(String::as_str))?;
    }
    let cookie = forward.split_by.unwrap_or_default().cookie;
    said(&cookie).map(|it| CookieName::parse(&it)).transpose()?;
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((place, rest)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let Ok(document) = Document::parse(&fabric(route(place % 15, text))) else {
        return;
    };
    let shown = document.to_spec();
    let again = Document::parse(&shown).map_err(|invalid| invalid.violations);
    assert_eq!(again, Ok(document));
    let proxy = shown.services[0].proxy.clone().expect("it is shown");
    for route in &proxy.routes {
        assert_eq!(engine(route), Ok(()), "{route:?}");
    }
});
