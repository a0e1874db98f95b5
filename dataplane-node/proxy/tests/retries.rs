//! Retries and times of routes, with servers that fail.
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
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use curl::{curl, status};
use lbfabric_proxy::route::{
    Action, Failure, Forward, Retries, Route, RouteTimeouts, RoutesConfig, TimeLimit,
};
use nginx::Nginx;
use routes::{below, engine_of, guarded, routes};

/// A server that answers every connection's request by its number, and then closes; with how many have come.
fn server(answer: fn(usize) -> &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let number = counted.fetch_add(1, Ordering::SeqCst);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            client.write_all(answer(number).as_bytes()).unwrap();
        }
    });
    (address, count)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const UNAVAILABLE: &str =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy";

fn retried(attempts: u8, on: &[Failure], any_method: bool) -> RoutesConfig {
    guarded(|route| {
        route.action = Action::Forward(Forward {
            retries: Retries::new(attempts, on, 100, any_method).unwrap(),
            ..Forward::to(0)
        });
    })
}

#[test]
fn a_request_is_sent_again_only_where_that_is_safe() {
    let resets: fn(usize) -> &'static str = |number| if number < 2 { "" } else { OK };
    let unavailable: fn(usize) -> &'static str = |number| if number < 2 { UNAVAILABLE } else { OK };
    let (post, body) = (
        ["--request", "POST"],
        ["--request", "PUT", "--data", "body"],
    );
    for (answers, on, failed) in [
        (resets, Failure::Reset, "502"),
        (unavailable, Failure::Unavailable, "503"),
    ] {
        for (attempts, any_method, arguments, expected, seen) in [
            (2, false, &[][..], "200", 3),
            (1, false, &[], failed, 2),
            (2, false, &post, failed, 1),
            (2, true, &post, "200", 3),
            (2, true, &body, failed, 1),
        ] {
            let (address, count) = server(answers);
            let engine = engine_of(&[address], retried(attempts, &[on], any_method));
            let url = format!("http://{engine}/");
            assert_eq!(
                status(&[arguments, &[&url]].concat()),
                expected,
                "{on:?} {arguments:?}"
            );
            assert_eq!(count.load(Ordering::SeqCst), seen, "{on:?} {arguments:?}");
        }
        let (address, count) = server(answers);
        let engine = engine_of(&[address], retried(2, &[Failure::Connect], true));
        assert_eq!(
            status(&[&format!("http://{engine}/")]),
            failed,
            "what was not asked for"
        );
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
    // The answer of the last attempt is the client's, whole.
    let (address, _) = server(|_| UNAVAILABLE);
    let engine = engine_of(&[address], retried(3, &[Failure::Unavailable], false));
    assert_eq!(curl(&[&format!("http://{engine}/")]), "busy");
}

/// As nothing was sent, any request may go to another server.
#[test]
fn a_server_that_cannot_be_reached_is_passed_by() {
    let nginx = Nginx::start();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let engine = engine_of(
        &[gone, nginx.address],
        retried(1, &[Failure::Connect], false),
    );
    for number in 0..4 {
        let name = format!("{number}");
        let url = format!("http://{engine}/put/{name}");
        assert_eq!(status(&["--request", "PUT", "--data", &name, &url]), "201");
        assert_eq!(nginx.stored(&name), name.as_bytes());
    }
}

#[test]
fn retries_are_a_share_of_the_requests() {
    let (address, count) = server(|_| UNAVAILABLE);
    let table = guarded(|route| {
        route.action = Action::Forward(Forward {
            retries: Retries::new(1, &[Failure::Unavailable], 10, false).unwrap(),
            ..Forward::to(0)
        });
    });
    let engine = engine_of(&[address], table);
    let url = format!("http://{engine}/");
    let urls = vec![&*url; 100];
    curl(&urls);
    // The ten that are saved in quiet times, and one for ten requests.
    let retries = count.load(Ordering::SeqCst) - 100;
    assert!((18..=20).contains(&retries), "{retries}");
}

#[test]
fn a_route_has_times_of_its_own() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let limit = |millis| Some(TimeLimit::new("timeouts", Duration::from_millis(millis)).unwrap());
    let timed = |name, path, timeouts| {
        let forward = Forward {
            timeouts,
            ..Forward::to(0)
        };
        Route::new(name, below(path), Action::Forward(forward))
    };
    let total = RouteTimeouts {
        total: limit(300),
        ..RouteTimeouts::default()
    };
    let silence = RouteTimeouts {
        silence: limit(300),
        ..RouteTimeouts::default()
    };
    let table = routes(vec![
        timed("total", "/total", total),
        timed("silence", "/silence", silence),
    ]);
    let engine = engine_of(&[silent.local_addr().unwrap()], table);
    for path in ["total", "silence"] {
        let begun = Instant::now();
        assert_eq!(
            status(&[&format!("http://{engine}/{path}")]),
            "504",
            "{path}"
        );
        let took = begun.elapsed();
        let expected = Duration::from_millis(300)..Duration::from_secs(10);
        assert!(expected.contains(&took), "{path}: {took:?}");
    }
}

/// What has begun with one answer does not end with another.
#[test]
fn an_answer_that_takes_too_long_is_cut_off() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        client
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf-")
            .unwrap();
        // Until the engine has closed.
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
    });
    let table = guarded(|route| {
        let timeouts = RouteTimeouts {
            total: Some(TimeLimit::new("total", Duration::from_millis(300)).unwrap()),
            ..RouteTimeouts::default()
        };
        route.action = Action::Forward(Forward {
            timeouts,
            ..Forward::to(0)
        });
    });
    let engine = engine_of(&[address], table);
    let mut client = TcpStream::connect(engine).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhalf-"),
        "{answer}"
    );
}
