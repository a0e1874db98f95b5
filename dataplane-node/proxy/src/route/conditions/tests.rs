use super::*;
use crate::{http1::Body, route::request::tests::Said};

fn meets(
    conditions: &Conditions,
    method: &str,
    client: &str,
    query: Option<&str>,
    fields: &[(&str, &str)],
) -> bool {
    let said = Said(fields);
    let request = RouteRequest {
        method,
        host: Some("a"),
        target: "/",
        scheme: "http",
        client: client.parse().unwrap(),
        body: Body::Length(0),
        head_bytes: 100,
        fields: &said,
    };
    conditions.unmet(&request, query).is_none()
}

#[test]
fn every_condition_has_to_be_met() {
    let conditions = Conditions {
        methods: Some(Methods::parse(["GET"]).unwrap()),
        fields: vec![FieldCondition {
            name: FieldName::parse("X-A").unwrap(),
            value: TextPattern::Exact("1".into()),
        }],
        query: vec![QueryCondition {
            name: "q".into(),
            value: TextPattern::Present,
        }],
        clients: Some(Prefixes::parse(["192.0.2.0/24"]).unwrap()),
        ..Conditions::default()
    };
    let fields = [("x-a", "1")];
    assert!(meets(&conditions, "GET", "192.0.2.1", Some("q"), &fields));
    assert!(!meets(&conditions, "POST", "192.0.2.1", Some("q"), &fields));
    assert!(!meets(
        &conditions,
        "GET",
        "198.51.100.1",
        Some("q"),
        &fields
    ));
    assert!(!meets(&conditions, "GET", "192.0.2.1", Some("p"), &fields));
    assert!(!meets(&conditions, "GET", "192.0.2.1", None, &fields));
    assert!(!meets(
        &conditions,
        "GET",
        "192.0.2.1",
        Some("q"),
        &[("x-a", "2")]
    ));
    assert!(meets(&Conditions::default(), "X", "::1", None, &[]));
    for (scheme, is_met) in [(Scheme::Http, true), (Scheme::Https, false)] {
        let conditions = Conditions {
            scheme: Some(scheme),
            ..Conditions::default()
        };
        assert_eq!(meets(&conditions, "GET", "::1", None, &[]), is_met);
    }
}

#[test]
fn fields_are_met_by_any_of_their_name() {
    let met = |value: TextPattern, fields: &[(&str, &str)]| {
        let name = FieldName::parse("x-a").unwrap();
        FieldCondition { name, value }.is_met(&Said(fields))
    };
    let exact = || TextPattern::Exact("b".into());
    assert!(met(TextPattern::Present, &[("X-A", "")]));
    assert!(!met(TextPattern::Present, &[("X-AB", "")]));
    assert!(met(exact(), &[("x-a", "a"), ("x-a", "b")]));
    assert!(!met(exact(), &[("x-a", "B"), ("x-b", "b"), ("x-a", "b,b")]));
    let regex = || TextPattern::regex("v[0-9]+").unwrap();
    assert!(met(regex(), &[("x-a", "v10")]));
    assert!(!met(regex(), &[("x-a", "v10x")]));
}

#[test]
fn queries_are_compared_without_escapes() {
    let met = |value: TextPattern, query: &str| {
        let name = "a b".into();
        QueryCondition { name, value }.is_met(query)
    };
    let exact = |text: &str| TextPattern::Exact(text.into());
    for query in ["a+b=c%26", "a%20b=%63%26&x", "x=y&&a+b=d&a+b=c%26"] {
        assert!(met(exact("c&"), query), "{query}");
    }
    for query in ["", "a+b", "a+b=c", "a b=c&", "ab=c%26", "a+b=c%26%"] {
        assert!(!met(exact("c&"), query), "{query}");
    }
    assert!(met(TextPattern::Present, "a+b"));
    assert!(met(exact(""), "a+b="));
    assert!(met(exact("%zz"), "a+b=%zz"));
    assert!(met(TextPattern::regex("c&?").unwrap(), "a+b=c%26"));
}

#[test]
fn patterns_of_paths_are_told_apart() {
    assert_eq!(PathPattern::prefix("/a/"), PathPattern::prefix("/a"));
    assert_eq!(PathPattern::prefix("/").unwrap(), PathPattern::default());
    assert_ne!(PathPattern::exact("/a/"), PathPattern::exact("/a"));
    assert_eq!(PathPattern::exact("a").unwrap_err().field, "path.exact");
    assert_eq!(
        PathPattern::prefix("/a/./b").unwrap_err().field,
        "path.prefix"
    );
    assert_eq!(PathPattern::regex("(").unwrap_err().field, "path.regex");
}
