use proptest::prelude::*;

use super::*;

fn target(
    rewrite: &PathRewrite,
    paths: &PathPattern,
    normal: &str,
    query: Option<&str>,
) -> Result<Option<String>, NoTarget> {
    rewrite.check(paths).unwrap();
    rewrite.target(normal, query, paths, PathPolicy::default())
}

#[test]
fn a_prefix_is_replaced_on_its_border() {
    let api = PathPattern::prefix("/api").unwrap();
    let all = PathPattern::prefix("/").unwrap();
    for (prefix, paths, normal, expected) in [
        ("/", &api, "/api", "/"),
        ("/", &api, "/api/", "/"),
        ("/", &api, "/api/v1", "/v1"),
        ("/v2", &api, "/api", "/v2"),
        ("/v2/", &api, "/api/x", "/v2/x"),
        ("/v2", &api, "/api/x/", "/v2/x/"),
        ("/v2", &all, "/", "/v2/"),
        ("/v2", &all, "/x", "/v2/x"),
        // A host that some would read is none.
        ("/", &api, "/api//evil.example", "/evil.example"),
    ] {
        let rewrite = PathRewrite::prefix(prefix).unwrap();
        assert_eq!(
            target(&rewrite, paths, normal, None),
            Ok(Some(expected.to_owned())),
            "{prefix} {normal}"
        );
    }
    let rewrite = PathRewrite::prefix("/").unwrap();
    assert_eq!(
        target(&rewrite, &api, "/api/x", Some("a=/b?")),
        Ok(Some("/x?a=/b?".to_owned()))
    );
    assert_eq!(target(&rewrite, &all, "*", None), Ok(None));
    let exact = PathPattern::exact("/api").unwrap();
    assert_eq!(rewrite.check(&exact).unwrap_err().field, "rewrite.prefix");
}

#[test]
fn a_path_is_replaced_or_stays() {
    let all = PathPattern::default();
    assert_eq!(target(&PathRewrite::Keep, &all, "/a", Some("b")), Ok(None));
    let whole = PathRewrite::whole("/index").unwrap();
    assert_eq!(
        target(&whole, &all, "/a", None),
        Ok(Some("/index".to_owned()))
    );
    assert_eq!(
        target(&whole, &all, "/a", Some("")),
        Ok(Some("/index?".to_owned()))
    );
}

#[test]
fn a_regular_expression_rewrites_what_it_matches() {
    let all = PathPattern::default();
    for (regex, replacement, normal, expected) in [
        ("^/v([0-9]+)/", "/api/$1/", "/v2/x", "/api/2/x"),
        ("(?P<user>[a-z]+)@", "${user}-", "/bob@x/al@", "/bob-x/al-"),
        ("a", "$$", "/aa", "/$$"),
        ("x", "y", "/a", "/a"),
        ("/+$", "", "/a/", "/a"),
    ] {
        let rewrite = PathRewrite::substitute(regex, replacement).unwrap();
        assert_eq!(
            target(&rewrite, &all, normal, None),
            Ok(Some(expected.to_owned())),
            "{regex}"
        );
    }
    for (regex, replacement, normal, expected) in [
        ("^/", "", "/a", NoTarget::Refused(PathRefusal::Ambiguous)),
        (
            "x",
            "..",
            "/x/x",
            NoTarget::Refused(PathRefusal::LeavesRoot),
        ),
        (
            "a",
            "$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0",
            "/aaaaaa",
            NoTarget::TooLong,
        ),
    ] {
        let rewrite = PathRewrite::substitute(regex, replacement).unwrap();
        let long = normal.replace("aaaaaa", &"a".repeat(600));
        assert_eq!(
            target(&rewrite, &all, &long, None),
            Err(expected),
            "{regex}"
        );
    }
}

#[test]
fn replacements_name_groups_that_there_are() {
    for (regex, replacement) in [
        ("(", "x"),
        ("a", "$1"),
        ("(a)", "$2"),
        ("(a)", "${b}"),
        ("(a)", "$1x"),
        ("(a)", "${1"),
        ("(a)", "$"),
        ("a", "a b"),
        ("a", "a?b"),
        ("a", "a#b"),
        ("a", "a\r\nb"),
        ("(a)", "$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1"),
    ] {
        assert!(
            PathRewrite::substitute(regex, replacement).is_err(),
            "{regex} {replacement}"
        );
    }
}

#[test]
fn hosts_are_written_as_they_may_be() {
    for (text, expected) in [
        ("A.example", "a.example"),
        ("a:8080", "a:8080"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
        ("[::1]:443", "[::1]:443"),
    ] {
        assert_eq!(Authority::parse(text).unwrap().as_str(), expected);
    }
    for text in [
        "", "*", "*.a", "a:", "a:0", "a:65536", "a:+1", "a b", "a\r\n", "::1", "a/b",
    ] {
        assert_eq!(
            Authority::parse(text).unwrap_err().field,
            "host",
            "{text:?}"
        );
    }
}

proptest! {
    /// Whatever a path is rewritten to can be a request's target, and leads nowhere else.
    #[test]
    fn rewritten_targets_are_targets(
        parts in prop::collection::vec(prop::sample::select(vec!["/", "a", "b", ".", "%2F", ";", "%20", "api", "x"]), 0..10),
        at in 0usize..4,
    ) {
        let path = format!("/api/{}", parts.concat());
        let rewrites = [
            PathRewrite::prefix("/").unwrap(),
            PathRewrite::prefix("/x/y").unwrap(),
            PathRewrite::substitute("[ab]", ".").unwrap(),
            PathRewrite::substitute("(a|b|/)", "$1$1").unwrap(),
        ];
        let paths = PathPattern::prefix("/api").unwrap();
        if let Ok(normal) = path::normal(&path, PathPolicy::default())
            && (&*normal == "/api" || normal.starts_with("/api/"))
            && let Ok(Some(target)) = target(&rewrites[at], &paths, &normal, None)
        {
            let again = path::normal(&target, PathPolicy::default());
            prop_assert_eq!(again.as_deref(), Ok(&*target), "{}", path);
        }
    }
}
