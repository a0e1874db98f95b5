//! Routes for clients that speak HTTP/2, to servers of both versions.
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
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use curl::{curl, status};
use lbfabric_proxy::{
    Http2Config, ProxyConfig, ServerProtocol,
    route::{
        Action, Authority, Failure, FieldEdit, FieldName, FieldValue, FixedAnswer, Forward,
        Methods, PathRewrite, Prefixes, Retries, Rewrite, Route, RouteLimits, RouteTable,
        RouteTimeouts, RoutesConfig, Side, TimeLimit, compile,
    },
};
use nginx::Nginx;
use routes::{below, engine_of, guarded, routes};
use worker::engine;

const HTTP2: &str = "--http2-prior-knowledge";

/// An engine that speaks this version with a server.
fn speaking(servers: ServerProtocol, server: SocketAddr, config: RoutesConfig) -> SocketAddr {
    engine(ProxyConfig {
        routes: Arc::new(RouteTable::new(config, 1, 0, None).unwrap()),
        http2: Http2Config {
            servers,
            ..Http2Config::default()
        },
        ..ProxyConfig::to(&[server])
    })
}

/// To servers of HTTP/1.1, and to one of HTTP/2, which is an engine without rules before them.
fn each_way(server: SocketAddr, config: impl Fn() -> RoutesConfig, check: impl Fn(SocketAddr)) {
    check(speaking(ServerProtocol::Http1, server, config()));
    let between = engine_of(&[server], RoutesConfig::default());
    check(speaking(ServerProtocol::Http2, between, config()));
}

#[test]
fn heads_and_targets_are_changed() {
    let nginx = Nginx::start();
    let name = |text| FieldName::parse(text).unwrap();
    let value = |text| FieldValue::parse(text).unwrap();
    let config = || {
        let request = [
            FieldEdit::Set(name("X-Set"), value("ours")),
            FieldEdit::Remove(name("X-Gone")),
        ];
        let answer = [
            FieldEdit::Set(name("X-Old"), value("ours")),
            FieldEdit::Remove(name("Server")),
        ];
        let mut route = Route::new(
            "api",
            below("/api"),
            Action::Forward(Forward {
                rewrite: Rewrite {
                    host: Some(Authority::parse("inner.example").unwrap()),
                    path: PathRewrite::prefix("/echo").unwrap(),
                },
                request: compile(&request, Side::Request).unwrap(),
                ..Forward::to(0)
            }),
        );
        route.answer = compile(&answer, Side::Answer).unwrap();
        routes(vec![route])
    };
    each_way(nginx.address, config, |engine| {
        let url = format!("http://{engine}/api/v1?q");
        let said = ["--header", "X-Set: theirs", "--header", "X-Gone: theirs"];
        let told = curl(&[&said[..], &[HTTP2, "--include", &url]].concat());
        let body = "\r\n\r\nGET /echo/v1?q|inner.example|ours||\n";
        assert!(told.ends_with(body), "{told}");
        assert!(told.contains("\r\nx-old: ours\r\n"), "{told}");
        assert!(
            !told.contains("server:") && !told.contains("x-old: server"),
            "{told}"
        );
        assert_eq!(status(&[HTTP2, &format!("http://{engine}/x")]), "404");
        let climbing = format!("http://{engine}/api/../..");
        assert_eq!(status(&[HTTP2, "--path-as-is", &climbing]), "400");
    });
}

#[test]
fn the_engine_answers_by_itself() {
    let fixed = FixedAnswer::new(200, Some("text/plain"), b"hello\n").unwrap();
    let table = routes(vec![Route::new("fixed", below("/"), Action::Answer(fixed))]);
    let engine = engine_of(&[], table);
    let url = format!("http://{engine}/");
    let told = curl(&[HTTP2, "--include", &url]);
    assert_eq!(
        told,
        "HTTP/2 200 \r\ncontent-length: 6\r\ncontent-type: text/plain\r\n\r\nhello\n"
    );
    let head = curl(&[HTTP2, "--head", &url]);
    assert_eq!(
        head,
        "HTTP/2 200 \r\ncontent-length: 6\r\ncontent-type: text/plain\r\n\r\n"
    );

    let denied = RoutesConfig {
        deny: Prefixes::parse(["127.0.0.0/8"]).unwrap(),
        ..RoutesConfig::default()
    };
    let engine = engine_of(&[], denied);
    assert_eq!(status(&[HTTP2, &format!("http://{engine}/")]), "403");
}

#[test]
fn requests_that_are_not_as_declared_are_refused() {
    let nginx = Nginx::start();
    let config = || {
        guarded(|route| {
            route.guard.methods = Some(Methods::parse(["GET", "PUT"]).unwrap());
            route.guard.limits = RouteLimits::new(Some(100_000), None, None).unwrap();
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("body");
    each_way(nginx.address, config, |engine| {
        let refused = curl(&[
            HTTP2,
            "--include",
            "--request",
            "DELETE",
            &format!("http://{engine}/hello"),
        ]);
        assert!(refused.starts_with("HTTP/2 405 \r\n"), "{refused}");
        assert!(refused.contains("\r\nallow: GET, PUT\r\n"), "{refused}");
        for (bytes, expected) in [(100_000, "201"), (100_001, "413")] {
            std::fs::write(&path, vec![b'x'; bytes]).unwrap();
            // With a length, and without.
            for (way, header) in [("length", "X: y"), ("parts", "Content-Length:")] {
                let name = format!("{way}-{bytes}-{}", engine.port());
                let url = format!("http://{engine}/put/{name}");
                let upload = ["--upload-file", path.to_str().unwrap(), &url];
                let arguments = [&[HTTP2, "--header", header][..], &upload].concat();
                assert_eq!(status(&arguments), expected, "{name}");
            }
        }
    });
}

/// A server that answers the first connections' requests with 503.
fn busy(times: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let line = if number < times { "503 Busy" } else { "200 OK" };
            let answer =
                format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            client.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn a_request_is_sent_again_only_where_that_is_safe() {
    let config = || {
        guarded(|route| {
            let retries = Retries::new(2, &[Failure::Unavailable], 100, false).unwrap();
            route.action = Action::Forward(Forward {
                retries,
                ..Forward::to(0)
            });
        })
    };
    for (method, expected) in [("GET", "200"), ("POST", "503")] {
        for protocol in [ServerProtocol::Http1, ServerProtocol::Http2] {
            let server = match protocol {
                ServerProtocol::Http1 => busy(2),
                ServerProtocol::Http2 => engine_of(&[busy(2)], RoutesConfig::default()),
            };
            let engine = speaking(protocol, server, config());
            let url = format!("http://{engine}/");
            assert_eq!(
                status(&[HTTP2, "--request", method, &url]),
                expected,
                "{protocol:?}"
            );
        }
    }
}

#[test]
fn a_route_has_times_of_its_own() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = || {
        guarded(|route| {
            let limit = TimeLimit::new("total", Duration::from_millis(300)).unwrap();
            let timeouts = RouteTimeouts {
                total: Some(limit),
                ..RouteTimeouts::default()
            };
            route.action = Action::Forward(Forward {
                timeouts,
                ..Forward::to(0)
            });
        })
    };
    each_way(silent.local_addr().unwrap(), config, |engine| {
        assert_eq!(status(&[HTTP2, &format!("http://{engine}/")]), "504");
    });
}
