//! Clients of HTTP/1.1 at servers of HTTP/2.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use lbfabric_proxy::{
    PoolConfig, ProxyConfig, StickyConfig, StickyKey, Timeouts,
    route::{
        Action, Conditions, Failure, Forward, Retries, Route, RouteLimits, RouteTable,
        RoutesConfig, TimeLimit,
    },
};

use super::{curl_of, to_http2};
use crate::{nginx::Nginx, server::server, worker::engine};

const PATIENCE: Duration = Duration::from_secs(20);

fn connect(engine: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(engine).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// What comes back until the engine closes.
fn say(engine: SocketAddr, request: &str) -> String {
    let mut client = connect(engine);
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// The answer to the last request of a connection.
fn get(engine: SocketAddr, path: &str) -> String {
    say(
        engine,
        &format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    )
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

/// All requests, with what the change makes of their route.
fn routed(server: SocketAddr, change: impl FnOnce(&mut Route)) -> ProxyConfig {
    let mut route = Route::new(
        "all",
        Conditions::default(),
        Action::Forward(Forward::to(0)),
    );
    change(&mut route);
    let routes = RoutesConfig {
        routes: vec![route],
        ..RoutesConfig::default()
    };
    ProxyConfig {
        routes: Arc::new(RouteTable::new(routes, 1, 0, None).unwrap()),
        ..to_http2(&[server])
    }
}

#[test]
fn curl_gets_what_nginx_serves() {
    let nginx = Nginx::with("http2_max_concurrent_streams 64;", &[]);
    let engine = engine(to_http2(&[nginx.address]));
    let url = |path: &str| format!("http://{engine}{path}");
    let got = |arguments: &[&str]| {
        let output = curl_of(&[&["--http1.1"], arguments].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    let several = got(&[
        &url("/hello"),
        &url("/hello"),
        "--write-out",
        "%{num_connects} ",
    ]);
    assert_eq!(several, "hello\n1 hello\n0 ");
    let forwarded = format!("for=127.0.0.1;host=\"{engine}\";proto=http");
    let seen = format!("127.0.0.1|http|{forwarded}|{engine}\n");
    assert_eq!(got(&[&url("/seen")]), seen);
    assert_eq!(got(&["--http1.0", &url("/large")]), nginx.large());
    let head = got(&["--head", &url("/large")]).to_lowercase();
    assert!(head.contains("content-length: 1000003\r\n"), "{head}");
    let missing = got(&[
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        &url("/no"),
    ]);
    assert_eq!(missing, "404");
    // A client that would rather speak HTTP/2 may: an upgrade to that is not taken notice of.
    assert_eq!(got(&["--http2", &url("/hello")]), "hello\n");
    nginx.restart();
    assert_eq!(got(&[&url("/hello")]), "hello\n");
}

#[test]
fn a_request_loses_what_belongs_to_its_connection_alone() {
    let (server, _) = server();
    let engine = engine(to_http2(&[server]));
    let request = "POST /seen?q HTTP/1.1\r\nHost: a:80\r\nTE: trailers, gzip\r\nConnection: close, X-Own\r\nX-Own: 1\r\nKeep-Alive: 5\r\nUpgrade: x\r\nCookie: c=d\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Sum: 7\r\nHost: b\r\n\r\n";
    let answer = say(engine, request);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        head.ends_with("Transfer-Encoding: chunked\r\nConnection: close"),
        "{answer}"
    );
    for part in [
        "POST http://a:80/seen?q\ncookie: c=d\n",
        "\nte: trailers\n",
        // Seven, and what of the trailer may come behind them.
        &format!("\n{} bytes\n", 7 + "{\"x-sum\": \"7\"}".len()),
    ] {
        assert!(body.contains(part), "{part}: {answer}");
    }
    for name in [
        "x-own",
        "keep-alive",
        "upgrade",
        "transfer-encoding",
        "connection",
    ] {
        assert!(!body.contains(&format!("\n{name}:")), "{answer}");
    }
    // Neither wait for a 100 that nobody would give, nor any trailer.
    let old = say(
        engine,
        "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    );
    assert!(
        old.contains("\n2 bytes\n") && !old.contains("expect"),
        "{old}"
    );
    let nameless = say(engine, "GET / HTTP/1.0\r\n\r\n");
    assert_eq!(status(&nameless), "400", "{nameless}");
}

#[test]
fn answers_of_every_kind_become_those_of_http1() {
    let (server, _) = server();
    let engine = engine(to_http2(&[server]));
    let trailers = get(engine, "/trailers");
    let (_, body) = trailers.split_once("\r\n\r\n").unwrap();
    assert!(body.ends_with("0\r\nx-sum: 5\r\n\r\n"), "{trailers}");
    let hints = get(engine, "/hints");
    let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    assert_eq!(hints, expected);
    // One of HTTP/1.0 knows neither chunks nor answers before the one that counts.
    let old = |path: &str| say(engine, &format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n"));
    assert_eq!(
        old("/hints"),
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        old("/trailers"),
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcde"
    );
    assert_eq!(status(&get(engine, "/reset")), "502");
    assert_eq!(status(&get(engine, "/switch")), "502");
    assert_eq!(status(&get(engine, "/unavailable")), "503");
    let broken = get(engine, "/broken");
    assert!(
        !broken.ends_with("\r\n0\r\n\r\n") && !broken.contains(" 502 "),
        "{broken}"
    );
    // Whom the server has not told of tunnels, and who gets no answer over HTTP/1.1 either.
    let websocket = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(status(&say(engine, websocket)), "501");
}

/// The rest of the body is for nobody, and the client hears why.
#[test]
fn an_early_answer_is_given() {
    let (server, _) = server();
    let engine = engine(to_http2(&[server]));
    let mut client = connect(engine);
    client
        .write_all(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        .unwrap();
    client.write_all(&vec![0; 100_000]).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), "413", "{answer}");
    assert!(answer.contains("too much"), "{answer}");
}

#[test]
fn what_the_server_has_not_looked_at_is_sent_again() {
    let (server, count) = server();
    let engine = engine(to_http2(&[server]));
    let post = "POST /refused HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&say(engine, post)), "200");
    assert_eq!(count.load(Ordering::SeqCst), 2);
    // Its body is gone.
    let post =
        "POST /refused HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(status(&say(engine, post)), "502");
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn routes_have_their_say() {
    let (server, count) = server();
    let forward = |change: fn(&mut Forward)| {
        move |route: &mut Route| {
            let mut forward = Forward::to(0);
            change(&mut forward);
            route.action = Action::Forward(forward);
        }
    };
    let retried = engine(routed(
        server,
        forward(|forward| {
            forward.retries = Retries::new(2, &Failure::ALL, 100, false).unwrap();
        }),
    ));
    for path in ["/unavailable", "/reset"] {
        let before = count.load(Ordering::SeqCst);
        get(retried, path);
        assert_eq!(count.load(Ordering::SeqCst) - before, 3, "{path}");
    }
    let limited = engine(routed(
        server,
        forward(|forward| {
            forward.timeouts.total =
                Some(TimeLimit::new("total", Duration::from_millis(200)).unwrap());
        }),
    ));
    let begun = Instant::now();
    assert_eq!(status(&get(limited, "/silent")), "504");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    let small = engine(routed(server, |route| {
        route.guard.limits = RouteLimits::new(Some(4), None, None).unwrap();
    }));
    let chunks = |data: &str| {
        let head =
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        say(
            small,
            &format!("{head}{:x}\r\n{data}\r\n0\r\n\r\n", data.len()),
        )
    };
    assert_eq!(status(&chunks("four")), "200");
    assert_eq!(status(&chunks("five!")), "413");
}

/// Servers that are silent, while the client is and while it is not.
#[test]
fn a_server_has_as_long_as_the_request_comes() {
    let (server, _) = server();
    let silence = Duration::from_millis(600);
    let engine = engine(ProxyConfig {
        timeouts: Timeouts {
            silence,
            ..Timeouts::default()
        },
        ..to_http2(&[server])
    });
    assert_eq!(status(&get(engine, "/silent")), "504");
    let mut client = connect(engine);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 8\r\n\r\n";
    client.write_all(head).unwrap();
    let begun = Instant::now();
    for _ in 0..8 {
        // Slower than the whole may be silent, and never as slow as a part may.
        std::thread::sleep(silence / 4);
        client.write_all(b"x").unwrap();
    }
    assert!(begun.elapsed() > silence);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\n8 bytes\n"), "{answer}");
}

/// Clients come back to their server, and go to another one when it is gone.
#[test]
fn pools_have_their_say() {
    let servers = [(); 2].map(|()| server());
    let mut config = to_http2(&servers.each_ref().map(|(address, _)| *address));
    config.pools = vec![PoolConfig {
        sticky: Some(StickyConfig::new("shop", StickyKey::new([9; 32]))),
        ..config.pools.remove(0)
    }];
    let engine = engine(config);
    let first = get(engine, "/");
    let cookie = first
        .lines()
        .find_map(|line| line.strip_prefix("Set-Cookie: "))
        .expect(&first);
    let cookie = cookie.split(';').next().unwrap();
    let counts = || {
        servers
            .each_ref()
            .map(|(_, count)| count.load(Ordering::SeqCst))
    };
    let before = counts();
    for _ in 0..4 {
        let request =
            format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
        let answer = say(engine, &request);
        assert!(
            status(&answer) == "200" && !answer.contains("Set-Cookie"),
            "{answer}"
        );
    }
    let after = counts();
    assert_eq!(after.iter().sum::<usize>(), 5);
    assert!(
        before
            .iter()
            .zip(after)
            .all(|(before, after)| after == before * 5),
        "{after:?}"
    );
}
