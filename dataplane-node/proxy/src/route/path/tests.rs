use proptest::{prelude::*, sample::select};

use super::*;

fn default(path: &str) -> Result<Cow<'_, str>, PathRefusal> {
    normal(path, PathPolicy::default())
}

#[test]
fn paths_have_one_form() {
    for (path, expected) in [
        ("*", "*"),
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("/%61%2d%5F", "/a-_"),
        ("/%c3%a9", "/%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/%2561", "/%2561"),
        ("/.", "/"),
        ("/..a", "/..a"),
        ("/...", "/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/a/.", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/../", "/a/"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/..", "/"),
        ("//", "/"),
        ("//a", "/a"),
        ("/a//b///c", "/a/b/c"),
        ("/a//", "/a/"),
        ("/a//./b", "/a/b"),
        ("/group%2fproject", "/group%2Fproject"),
        ("/a%5cb", "/a%5Cb"),
        ("/a\\b", "/a\\b"),
        ("/a;b/c", "/a;b/c"),
    ] {
        assert_eq!(default(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn what_servers_read_in_different_ways_is_refused() {
    use PathRefusal as No;
    for (path, refusal) in [
        ("/%", No::Escape),
        ("/%4", No::Escape),
        ("/%4g", No::Escape),
        ("/a%00", No::Nul),
        ("/..", No::LeavesRoot),
        ("/%2e%2e", No::LeavesRoot),
        ("/a/../..", No::LeavesRoot),
        ("/./../a", No::LeavesRoot),
        ("/a//../b", No::Ambiguous),
        ("/a//b/../../c", No::Ambiguous),
        ("/a/..%2fb", No::Ambiguous),
        ("/a/..%2Fb/c", No::Ambiguous),
        ("/a/b%2f..", No::Ambiguous),
        ("/a/..%5cb", No::Ambiguous),
        ("/a/..\\b", No::Ambiguous),
        ("/a/b%2fc/../d", No::Ambiguous),
        ("/a/..;/b", No::Ambiguous),
        ("/a/..;x=1/b", No::Ambiguous),
        ("/a/.;/b", No::Ambiguous),
        ("/a/..%3b/b", No::Ambiguous),
        ("/a/%2e.;x%2fb", No::Ambiguous),
        ("/a/;x/../b", No::Ambiguous),
    ] {
        assert_eq!(default(path), Err(refusal), "{path}");
    }
}

#[test]
fn what_is_not_wanted_is_refused() {
    let strict = PathPolicy {
        dot_segments: DotSegments::Refuse,
        empty_segments: EmptySegments::Refuse,
        escaped_slashes: EscapedSlashes::Refuse,
    };
    for (path, refusal) in [
        ("/a/./b", PathRefusal::DotSegment),
        ("/a/%2E%2e", PathRefusal::DotSegment),
        ("/a//b", PathRefusal::EmptySegment),
        ("/a%2fb", PathRefusal::EscapedSlash),
        ("/a%5Cb", PathRefusal::EscapedSlash),
        ("/a\\b", PathRefusal::EscapedSlash),
    ] {
        assert_eq!(normal(path, strict), Err(refusal), "{path}");
    }
    assert_eq!(normal("/a/%62/", strict).as_deref(), Ok("/a/b/"));
    let keep = PathPolicy {
        empty_segments: EmptySegments::Keep,
        ..PathPolicy::default()
    };
    assert_eq!(normal("/a//b/./", keep).as_deref(), Ok("/a//b/"));
    assert_eq!(normal("/a//b/../c", keep), Err(PathRefusal::Ambiguous));
}

#[test]
fn rules_name_paths_in_their_normal_form() {
    for path in ["/", "/a", "/a/", "/a%20b", "/%C3%A9", "/.well-known"] {
        assert_eq!(check("path", path), Ok(()), "{path}");
    }
    for (path, told) in [
        ("", "begin it with `/`"),
        ("a", "begin it with `/`"),
        ("/a?b", "visible ASCII"),
        ("/é", "visible ASCII"),
        ("/a b", "visible ASCII"),
        ("/%61", "write `a`"),
        ("/a/../b", "leave it out"),
        ("//a", "write one slash"),
        ("/..", "leave it out"),
    ] {
        let error = check("path", path).expect_err(path);
        assert!(error.reason.contains(told), "{path}: {error}");
    }
    assert!(check("path", &format!("/{}", "a".repeat(1_024))).is_err());
}

/// RFC 3986 section 5.2.4 in its own words, of a path without escapes and empty segments; none if it would leave the root.
fn remove_dot_segments(path: &str) -> Option<String> {
    let mut out: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path[1..].split('/').collect();
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        match *segment {
            "." => {}
            ".." => {
                out.pop()?;
            }
            segment => {
                out.push(segment);
                continue;
            }
        }
        if is_last {
            out.push("");
        }
    }
    Some(format!("/{}", out.join("/")))
}

fn policy() -> impl Strategy<Value = PathPolicy> {
    let empty = select(vec![
        EmptySegments::Merge,
        EmptySegments::Keep,
        EmptySegments::Refuse,
    ]);
    empty.prop_map(|empty_segments| PathPolicy {
        empty_segments,
        ..PathPolicy::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn dots_are_resolved_as_the_rfc_says(
        segments in prop::collection::vec(select(vec![".", "..", "a", "b", "..c"]), 1..7),
        ends in any::<bool>(),
    ) {
        let path = format!("/{}{}", segments.join("/"), if ends { "/" } else { "" });
        let expected = remove_dot_segments(&path).ok_or(PathRefusal::LeavesRoot);
        prop_assert_eq!(default(&path).map(Cow::into_owned), expected);
    }

    /// What comes out cannot be written in another way, and every way of writing it comes out the same.
    #[test]
    fn a_normal_form_is_its_own(
        parts in prop::collection::vec(
            select(vec!["/", "/", "a", "B", ".", "..", "%2e", "%2F", "%5c", "\\", ";", "%3B", "%41", "%7e", "%25", "%zz", "%00"]),
            0..10,
        ),
        policy in policy(),
    ) {
        let path = format!("/{}", parts.concat());
        // What a rule may name is what a request's path can be.
        let may_be_named = check("path", &path).is_ok();
        prop_assert_eq!(may_be_named, default(&path).as_deref() == Ok(&*path), "{}", path);
        if let Ok(form) = normal(&path, policy) {
            let again = normal(&form, policy);
            prop_assert_eq!(again.as_deref(), Ok(&*form), "{}", path);
            let mut segments = form[1..].split('/');
            prop_assert!(form.starts_with('/') && segments.all(|it| !is_dots(it)), "{} of {}", form, path);
            // What has no escapes, written with them.
            let escape = |it: char| match it {
                '/' | '\\' | ';' => it.to_string(),
                it => format!("%{:02x}", u32::from(it)),
            };
            let escaped: String = if path.contains('%') { path.clone() } else { path.chars().map(escape).collect() };
            let again = normal(&escaped, policy);
            prop_assert_eq!(again.as_deref(), Ok(&*form), "{} of {}", escaped, path);
        }
    }

    /// Whichever way a server reads what was let through, it does not climb above what we have matched.
    #[test]
    fn no_reading_of_a_path_leads_elsewhere(
        parts in prop::collection::vec(select(vec!["/", "/", "a", "b", ".", "..", "%2e", "%2f", "\\", ";x"]), 0..10),
    ) {
        let path = format!("/{}", parts.concat());
        if let Ok(form) = default(&path) {
            // A server that unescapes first, takes other slashes for slashes, cuts parameters off and merges empty segments.
            let eager = path.replace("%2e", ".").replace("%2f", "/").replace('\\', "/");
            let segments = eager.split('/').map(without_parameters).filter(|it| !it.is_empty());
            let mut read: Vec<&str> = Vec::new();
            for segment in segments {
                match segment {
                    "." => {}
                    ".." => { prop_assert!(read.pop().is_some(), "{}", path); }
                    segment => read.push(segment),
                }
            }
            let ours: Vec<&str> = form.split('/').flat_map(slash_parts).map(without_parameters).filter(|it| !it.is_empty()).collect();
            prop_assert_eq!(read, ours, "{}", path);
        }
    }
}
