//! The table against a slow reading of its own documentation: every route is looked at, and the first by precedence taken.

use proptest::{prelude::*, sample::select};

use super::{tests::table, *};
use crate::{
    http1::Body,
    route::{
        FieldCondition, FieldName, Forward, Methods, PathPattern, TextPattern, request::tests::Said,
    },
};

/// A route as it was asked for.
#[derive(Clone, Debug)]
struct Wanted {
    host: &'static str,
    /// Exact with `=` before it, a regular expression with `~`, else a prefix.
    path: String,
    method: Option<&'static str>,
    field: Option<&'static str>,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let host = select(vec!["*", "*.c", "*.b.c", "*.a.b.c", "b.c", "a.b.c", "x.c"]);
    let segments = || prop::collection::vec(select(vec!["a", "b", "ab"]), 0..4);
    let path = prop_oneof![
        3 => segments().prop_map(|it| format!("/{}", it.join("/"))),
        2 => segments().prop_map(|it| format!("=/{}", it.join("/"))),
        1 => segments().prop_map(|it| format!("=/{}/", it.join("/")).replace("//", "/")),
        1 => select(vec!["~/a.*", "~.*b", "~/(a|ab)/b"]).prop_map(str::to_owned),
    ];
    let method = prop::option::weighted(0.2, select(vec!["GET", "POST"]));
    let field = prop::option::weighted(0.2, select(vec!["x-a", "x-b"]));
    (host, path, method, field).prop_map(|(host, path, method, field)| Wanted {
        host,
        path,
        method,
        field,
    })
}

impl Wanted {
    fn route(&self, at: usize) -> Route {
        let path = match self.path.split_at(1) {
            ("=", path) => PathPattern::exact(path),
            ("~", regex) => PathPattern::regex(regex),
            _ => PathPattern::prefix(&self.path),
        };
        let field = self.field.map(|name| FieldCondition {
            name: FieldName::parse(name).unwrap(),
            value: TextPattern::Present,
        });
        let when = Conditions {
            host: HostPattern::parse(self.host).unwrap(),
            path: path.unwrap(),
            methods: self.method.map(|it| Methods::parse([it]).unwrap()),
            fields: field.into_iter().collect(),
            ..Conditions::default()
        };
        Route::new(&at.to_string(), when, Action::Forward(Forward::to(0)))
    }

    /// Smaller is first; none if it is not for such a request.
    fn rank(&self, asked: &Asked) -> Option<(usize, usize, usize)> {
        let host = match self.host.strip_prefix('*') {
            Some("") => usize::MAX,
            Some(suffix) => {
                let is_below = asked.host.len() > suffix.len() && asked.host.ends_with(suffix);
                is_below.then_some(1_000 - suffix.len())?
            }
            None => (self.host == asked.host).then_some(0)?,
        };
        let path = match self.path.split_at(1) {
            ("=", path) => (path == asked.path).then_some((0, 0))?,
            ("~", regex) => slow_regex(regex, &asked.path).then_some((1, 0))?,
            _ => {
                let mut prefix = self.path.clone();
                if !prefix.ends_with('/') {
                    prefix.push('/');
                }
                let with_end = format!("{}/", asked.path);
                with_end
                    .starts_with(&prefix)
                    .then_some((2, 1_000 - prefix.len()))?
            }
        };
        let has_rest = self.method.is_none_or(|it| it == asked.method)
            && self.field.is_none_or(|it| asked.fields.contains(&it));
        has_rest.then_some((host, path.0, path.1))
    }
}

/// The three expressions, by hand.
fn slow_regex(regex: &str, path: &str) -> bool {
    match regex {
        "/a.*" => path.starts_with("/a"),
        ".*b" => path.ends_with('b'),
        _ => path == "/a/b" || path == "/ab/b",
    }
}

#[derive(Clone, Debug)]
struct Asked {
    host: &'static str,
    path: String,
    method: &'static str,
    fields: Vec<&'static str>,
}

fn asked() -> impl Strategy<Value = Asked> {
    let host = select(vec!["c", "b.c", "x.c", "a.b.c", "x.a.b.c", "ab.c", "other"]);
    let segments = prop::collection::vec(select(vec!["a", "b", "ab", "abc"]), 0..5);
    let path = (segments, any::<bool>()).prop_map(|(segments, ends)| {
        let path = format!("/{}", segments.join("/"));
        if ends && path != "/" {
            path + "/"
        } else {
            path
        }
    });
    let method = select(vec!["GET", "POST"]);
    let fields = prop::sample::subsequence(vec!["x-a", "x-b"], 0..=2);
    (host, path, method, fields).prop_map(|(host, path, method, fields)| Asked {
        host,
        path,
        method,
        fields,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_table_finds_what_the_reference_finds(
        wanted in prop::collection::vec(wanted(), 0..40),
        asked in prop::collection::vec(asked(), 1..12),
    ) {
        let table = table(wanted.iter().zip(0..).map(|(it, at)| it.route(at)).collect());
        for asked in asked {
            let fields: Vec<_> = asked.fields.iter().map(|name| (*name, "1")).collect();
            let request = RouteRequest {
                method: asked.method,
                host: Some(asked.host),
                target: &asked.path,
                scheme: "http",
                client: [192, 0, 2, 1].into(),
                body: Body::Length(0),
                head_bytes: 100,
                fields: &Said(&fields),
            };
            let ranked = wanted.iter().enumerate().filter_map(|(at, it)| Some((it.rank(&asked)?, at)));
            let expected = ranked.min().map(|(_, at)| at);
            prop_assert_eq!(table.find(&request).unwrap().0, expected, "{:?}", asked);
        }
    }
}
