//! Routes between real curl and real nginx.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "engine/curl.rs"]
mod curl;
#[path = "engine/nginx.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod nginx;
#[path = "engine/routes.rs"]
mod routes;
#[path = "engine/worker.rs"]
mod worker;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use curl::{curl, status};
use lbfabric_proxy::route::{
    Action, Authority, Conditions, ConnectionLimits, ContentTypes, FieldCondition, FieldEdit,
    FieldName, FieldValue, FixedAnswer, Forward, HostPattern, Methods, PathRewrite, Prefixes,
    RateLimit, Redirect, RedirectStatus, RequestKey, Rewrite, Route, RouteLimits, RoutesConfig,
    Scheme, Side, TextPattern, compile,
};
use nginx::Nginx;
use routes::{below, engine_of, guarded, routes};

fn rewritten(path: PathRewrite) -> Forward {
    Forward {
        rewrite: Rewrite { host: None, path },
        ..Forward::to(0)
    }
}

/// To this path, whatever was asked for.
fn to(name: &str, when: Conditions, path: &str) -> Route {
    let path = PathRewrite::whole(path).unwrap();
    Route::new(name, when, Action::Forward(rewritten(path)))
}

#[test]
fn requests_go_by_host_path_and_field() {
    let nginx = Nginx::start();
    let host = |name| Conditions {
        host: HostPattern::parse(name).unwrap(),
        ..Conditions::default()
    };
    let field = Conditions {
        fields: vec![FieldCondition {
            name: FieldName::parse("X-Canary").unwrap(),
            value: TextPattern::Exact("1".into()),
        }],
        ..below("/a/b")
    };
    let table = routes(vec![
        to("canary", field, "/echo/canary"),
        to("ab", below("/a/b"), "/echo/ab"),
        to("a", below("/a"), "/echo/a"),
        to("host", host("one.example"), "/echo/host"),
        to("below", host("*.example"), "/echo/below"),
    ]);
    let engine = engine_of(&[nginx.address], table);
    let went = |path: &str, header: &str| {
        let said = curl(&[
            "--path-as-is",
            "--header",
            header,
            &format!("http://{engine}{path}"),
        ]);
        said.split('|')
            .next()
            .unwrap()
            .trim_start_matches("GET /echo/")
            .to_owned()
    };
    for (path, header, expected) in [
        ("/a/b/c?d=e", "X: y", "ab?d=e"),
        ("/a/b", "X-Canary: 1", "canary"),
        ("/a/b", "X-Canary: 2", "ab"),
        ("/a/bc", "X: y", "a"),
        ("/x/../a/%62", "X: y", "ab"),
        ("/x", "Host: ONE.example:80", "host"),
        ("/x", "Host: two.example", "below"),
        ("/a", "Host: one.example", "host"),
    ] {
        assert_eq!(went(path, header), expected, "{path} {header}");
    }
    assert_eq!(status(&[&format!("http://{engine}/x")]), "404");
    assert_eq!(
        status(&["--path-as-is", &format!("http://{engine}/a/../..")]),
        "400"
    );
}

#[test]
fn a_target_goes_on_as_it_came_or_rewritten() {
    let nginx = Nginx::start();
    let substitute = PathRewrite::substitute("^/user/([a-z]+)/", "/echo/$1-").unwrap();
    let mut host = Forward::to(0);
    host.rewrite.host = Some(Authority::parse("inner.example:81").unwrap());
    let prefix = rewritten(PathRewrite::prefix("/echo").unwrap());
    let table = routes(vec![
        Route::new("prefix", below("/api"), Action::Forward(prefix)),
        Route::new(
            "user",
            below("/user"),
            Action::Forward(rewritten(substitute)),
        ),
        Route::new("host", below("/echo"), Action::Forward(host)),
    ]);
    let engine = engine_of(&[nginx.address], table);
    let went = |path: &str| curl(&["--path-as-is", &format!("http://{engine}{path}")]);
    for (path, expected) in [
        (
            "/api/v1?q=/api",
            format!("GET /echo/v1?q=/api|{engine}|||\n"),
        ),
        ("/api", format!("GET /echo|{engine}|||\n")),
        ("/user/bob/x", format!("GET /echo/bob-x|{engine}|||\n")),
        (
            "/echo/%7Ea/./b",
            "GET /echo/%7Ea/./b|inner.example:81|||\n".to_owned(),
        ),
    ] {
        assert_eq!(went(path), expected, "{path}");
    }
}

#[test]
fn redirects_and_fixed_answers_need_no_server() {
    let https = Redirect::new(
        RedirectStatus::parse(301).unwrap(),
        Some(Scheme::Https),
        None,
        PathRewrite::Keep,
        true,
    );
    let fixed = FixedAnswer::new(418, Some("text/plain"), b"short and stout\n").unwrap();
    let table = routes(vec![
        Route::new("redirect", below("/old"), Action::Redirect(https.unwrap())),
        Route::new("fixed", below("/tea"), Action::Answer(fixed)),
    ]);
    let engine = engine_of(&[], table);
    let old = format!("http://{engine}/old/a?b=c");
    let told = curl(&[
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code} %{redirect_url}",
        &old,
    ]);
    assert_eq!(told, "301 https://127.0.0.1/old/a?b=c");
    // Over one connection, as there is nothing of a body to come.
    let tea = format!("http://{engine}/tea");
    let told = curl(&[&tea, &tea, "--write-out", "%{http_code} %{num_connects}\n"]);
    assert_eq!(told, "short and stout\n418 1\nshort and stout\n418 0\n");
    let head = curl(&["--head", &tea]);
    assert!(
        head.ends_with("Content-Type: text/plain\r\nContent-Length: 16\r\n\r\n"),
        "{head}"
    );
    assert_eq!(status(&["--data", "a body", &tea]), "418");
}

#[test]
fn heads_are_changed_in_both_directions() {
    let nginx = Nginx::start();
    let name = |text| FieldName::parse(text).unwrap();
    let value = |text| FieldValue::parse(text).unwrap();
    let request = [
        FieldEdit::Set(name("X-Set"), value("ours")),
        FieldEdit::Remove(name("X-Gone")),
        FieldEdit::Add(name("X-Added"), value("added")),
    ];
    let answer = [
        FieldEdit::Set(name("X-Old"), value("ours")),
        FieldEdit::Remove(name("Server")),
        FieldEdit::Add(name("X-Frame-Options"), value("DENY")),
    ];
    let forward = Forward {
        request: compile(&request, Side::Request).unwrap(),
        ..Forward::to(0)
    };
    let table = guarded(|route| {
        route.action = Action::Forward(forward);
        route.answer = compile(&answer, Side::Answer).unwrap();
    });
    let engine = engine_of(&[nginx.address], table);
    let url = format!("http://{engine}/echo");
    let said = ["--header", "X-Set: theirs", "--header", "X-Gone: theirs"];
    let told = curl(&[&said[..], &["--include", &url]].concat());
    assert!(
        told.ends_with(&format!("\r\n\r\nGET /echo|{engine}|ours||added\n")),
        "{told}"
    );
    assert!(
        told.contains("\r\nX-Old: ours\r\nX-Frame-Options: DENY\r\n"),
        "{told}"
    );
    assert!(
        !told.contains("X-Old: server") && !told.contains("Server:"),
        "{told}"
    );
}

const TEXT: &str = "Content-Type: text/plain; charset=utf-8";
const CHUNKED: &str = "Transfer-Encoding: chunked";

#[test]
fn requests_that_are_not_as_declared_are_refused() {
    let nginx = Nginx::start();
    let table = guarded(|route| {
        route.guard.methods = Some(Methods::parse(["GET", "PUT"]).unwrap());
        route.guard.content_types = Some(ContentTypes::parse(["text/plain"]).unwrap());
        route.guard.limits = RouteLimits::new(Some(100_000), Some(1_000), Some(8)).unwrap();
    });
    let engine = engine_of(&[nginx.address], table);
    let url = format!("http://{engine}/hello");
    let refused = curl(&["--include", "--request", "DELETE", &url]);
    assert!(
        refused.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{refused}"
    );
    assert!(refused.contains("\r\nAllow: GET, PUT\r\n"), "{refused}");

    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: usize, headers: &[&str]| {
        let path = folder.path().join("body");
        std::fs::write(&path, vec![b'x'; bytes]).unwrap();
        let url = format!("http://{engine}/put/{name}");
        let mut arguments = vec!["--upload-file", path.to_str().unwrap(), &url];
        for header in headers {
            arguments.extend(["--header", header]);
        }
        status(&arguments)
    };
    assert_eq!(put("fits", 100_000, &[TEXT]), "201");
    assert_eq!(put("fits-in-chunks", 100_000, &[TEXT, CHUNKED]), "201");
    assert_eq!(nginx.stored("fits-in-chunks").len(), 100_000);
    assert_eq!(put("long", 100_001, &[TEXT]), "413");
    assert_eq!(put("long-in-chunks", 100_001, &[TEXT, CHUNKED]), "413");
    assert_eq!(put("typed", 10, &["Content-Type: text/html"]), "415");
    assert_eq!(put("untyped", 10, &["Content-Type:"]), "415");
    let long = format!("X-Long: {}", "x".repeat(1_000));
    assert_eq!(status(&["--header", &long, &url]), "431");
    let many: Vec<_> = (0..8)
        .flat_map(|at| ["--header".to_owned(), format!("X-{at}: y")])
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain([&*url]).collect();
    assert_eq!(status(&many), "431");
    assert_eq!(status(&[&url]), "200");
}

#[test]
fn denied_and_too_frequent_clients_are_refused() {
    let nginx = Nginx::start();
    let denied = RoutesConfig {
        deny: Prefixes::parse(["127.0.0.0/8"]).unwrap(),
        ..RoutesConfig::default()
    };
    let engine = engine_of(&[nginx.address], denied);
    assert_eq!(status(&[&format!("http://{engine}/hello")]), "403");

    let key = RequestKey::Field(FieldName::parse("X-Tenant").unwrap());
    let limit = RateLimit::new("tenant", key, (1, Duration::from_hours(1)), 3, 1_024).unwrap();
    let limited = RoutesConfig {
        rate_limits: vec![limit],
        limit_all: vec!["tenant".into()],
        ..RoutesConfig::default()
    };
    let engine = engine_of(&[nginx.address], limited);
    let url = format!("http://{engine}/hello");
    let of = |tenant: &str| status(&["--header", &format!("X-Tenant: {tenant}"), &url]);
    let first: Vec<_> = (0..4).map(|_| of("a")).collect();
    assert_eq!(first, ["200", "200", "200", "429"]);
    assert_eq!(of("b"), "200");
    let told = curl(&["--include", "--header", "X-Tenant: a", &url]);
    let after = told
        .lines()
        .find_map(|line| line.strip_prefix("Retry-After: "))
        .unwrap();
    assert!(
        (3_500..=3_600).contains(&after.parse::<u32>().unwrap()),
        "{after}"
    );
}

#[test]
fn a_source_has_as_many_connections_as_it_may() {
    let nginx = Nginx::start();
    let limited = RoutesConfig {
        connections: ConnectionLimits::new(None, Some(2), 64).unwrap(),
        ..RoutesConfig::default()
    };
    let engine = engine_of(&[nginx.address], limited);
    let ask = |client: &mut TcpStream| {
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")?;
        let mut byte = [0];
        client.read_exact(&mut byte).map(|()| byte[0])
    };
    let connect = || TcpStream::connect(engine).unwrap();
    let (mut first, mut second, mut third) = (connect(), connect(), connect());
    assert_eq!(ask(&mut first).unwrap(), b'H');
    assert_eq!(ask(&mut second).unwrap(), b'H');
    ask(&mut third).expect_err("the third is closed");
    drop(first);
    let begun = Instant::now();
    while ask(&mut connect()).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the first is still counted"
        );
    }
}
