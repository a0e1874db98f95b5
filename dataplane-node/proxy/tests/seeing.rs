//! What is logged and counted of requests between real curl and real nginx, and of those that go wrong.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail loudly wherever they meet what they do not expect"
)]

#[path = "tls/authority.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod authority;
#[path = "seeing/datagrams.rs"]
mod datagrams;
#[path = "engine/nginx.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod nginx;
#[path = "seeing/protocols.rs"]
mod protocols;
#[path = "seeing/seen.rs"]
mod seen;
#[path = "passthrough/servers.rs"]
mod servers;
#[path = "seeing/told.rs"]
mod told;
#[path = "engine/worker.rs"]
mod worker;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use lbfabric_proxy::{
    Timeouts,
    observe::{Sampling, ServerFailure},
};
use nginx::Nginx;
use seen::{SERVICE, Seen, millis, text};

const PATIENCE: Duration = Duration::from_secs(20);
/// A time that a test waits out.
const SHORT: Duration = Duration::from_millis(200);

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

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A server that does this with each connection.
fn server(with_each: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(with_each));
    address
}

/// Reads a head; none if the connection ends before.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn timeouts() -> Timeouts {
    Timeouts {
        connect: SHORT,
        head: SHORT,
        silence: SHORT,
        ..Timeouts::default()
    }
}

#[test]
fn a_request_that_goes_well_is_logged_with_its_bytes_and_times() {
    let nginx = Nginx::start();
    let seen = Seen::start(&[nginx.address], Sampling::ALL, |_| {});
    let output = Command::new("curl")
        .args([
            "--silent",
            "--max-time",
            "20",
            "--user-agent",
            "seen \"by\" us",
            "--referer",
            "http://r/\u{e9}",
        ])
        .args([
            "--write-out",
            "%{size_request} %{size_header} %{size_download} ",
            "--output",
            "/dev/null",
        ])
        .args([
            &format!("http://{}/hello?a=b", seen.engine),
            "--output",
            "/dev/null",
        ])
        .arg(format!("http://{}/large", seen.engine))
        .output()
        .expect("curl is installed");
    assert!(output.status.success(), "{output:?}");
    let sizes = String::from_utf8(output.stdout).unwrap();
    let sizes: Vec<u64> = sizes
        .split_whitespace()
        .map(|it| it.parse().unwrap())
        .collect();
    let [line, large] = seen.lines(2).try_into().unwrap();
    for (name, value) in [
        ("client", "127.0.0.1"),
        ("service", SERVICE),
        ("server", "one"),
        ("protocol", "HTTP/1.1"),
        ("method", "GET"),
        ("path", "/hello?a=b"),
        ("host", &seen.engine.to_string()),
        ("user_agent", "seen \"by\" us"),
        ("referer", "http://r/\u{e9}"),
        ("termination", "--"),
    ] {
        assert_eq!(text(&line, name), Some(value), "{line}");
    }
    assert_eq!(text(&line, "refusal"), None);
    assert_eq!(
        (&line["status"], &line["retries"]),
        (&200.into(), &0.into())
    );
    // The bytes are those that curl has counted.
    assert_eq!(line["received_bytes"], sizes[0]);
    assert_eq!(line["sent_bytes"], sizes[1] + sizes[2]);
    assert_eq!(large["sent_bytes"], sizes[4] + sizes[5]);
    assert!(sizes[5] == nginx::LARGE_BYTES as u64);
    // The second goes over connections that are there.
    assert!(millis(&line, "connect_ms") > 0.0, "{line}");
    assert!(millis(&large, "connect_ms") == 0.0, "{large}");
    for line in [&line, &large] {
        let parts = ["request_ms", "queue_ms", "connect_ms", "response_ms"];
        let sum: f64 = parts.iter().map(|it| millis(line, it)).sum();
        // Each is cut to microseconds.
        assert!(
            millis(line, "response_ms") > 0.0 && sum <= millis(line, "total_ms") + 0.004,
            "{line}"
        );
    }

    let reading = seen.reading();
    assert_eq!((reading.connections_total, reading.refusals.len()), (1, 0));
    assert_eq!(seen.terminations(), [("--".to_owned(), 2)]);
    let all = reading.all_routes();
    assert_eq!(all.answers.classes, [0, 0, 2, 0, 0, 0]);
    assert_eq!(all.received, sizes[0] + sizes[3]);
    assert_eq!(all.sent, sizes[1] + sizes[2] + sizes[4] + sizes[5]);
    let server = &reading.servers["one"];
    assert_eq!((server.connections_total, server.requests), (1, 0));
    assert_eq!(
        (server.answers.head.count(), server.answers.total.count()),
        (2, 2)
    );
    let total = millis(&line, "total_ms") + millis(&large, "total_ms");
    let counted = all.answers.total.sum().as_secs_f64() * 1000.0;
    assert!((total - counted).abs() < 0.004, "{total} {counted}");
}

#[test]
fn a_404_is_no_error_but_a_502_is() {
    let nginx = Nginx::start();
    let errors = Sampling {
        one_in: 0,
        errors: true,
    };
    let seen = Seen::start(&[nginx.address], errors, |_| {});
    let status = |seen: &Seen| {
        let answer = say(seen.engine, GET);
        answer["HTTP/1.1 ".len()..]
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(status(&seen), "404");
    assert!(say(seen.engine, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let [line] = seen.lines(1).try_into().unwrap();
    assert_eq!(text(&line, "termination"), Some("PR"), "{line}");
    assert_eq!(seen.reading().all_routes().answers.classes[4], 2);

    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let seen = Seen::start(&[gone], errors, |_| {});
    assert_eq!(status(&seen), "502");
    let [line] = seen.lines(1).try_into().unwrap();
    assert_eq!(text(&line, "termination"), Some("SC"), "{line}");
    assert_eq!(
        (&line["status"], text(&line, "path")),
        (&502.into(), Some("/a"))
    );
    // It did not get so far.
    assert_eq!(
        (&line["connect_ms"], &line["response_ms"]),
        (&(-1).into(), &(-1).into())
    );
    let server = &seen.reading().servers["one"];
    assert_eq!(server.failures[ServerFailure::Connect as usize], 1);
    assert_eq!((server.answers.requests(), server.requests), (0, 0));
    assert_eq!(seen.reading().all_routes().answers.classes[5], 1);

    let none = Seen::start(&[], errors, |_| {});
    assert_eq!(status(&none), "503");
    let [line] = none.lines(1).try_into().unwrap();
    assert_eq!(
        (text(&line, "termination"), text(&line, "server")),
        (Some("SC"), None)
    );
}

type Server = fn(TcpStream);

const TOO_SHORT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";

/// What a server does wrong, and how that is told.
#[test]
fn servers_that_fail_are_told_apart() {
    let closes: Server = |mut it| drop(head(&mut it));
    let is_silent: Server = |mut it| {
        head(&mut it);
        thread::spawn(move || it.read(&mut [0]));
    };
    let talks_nonsense: Server = |mut it| {
        head(&mut it);
        it.write_all(b"nonsense\r\n\r\n").unwrap();
    };
    let breaks_off: Server = |mut it| {
        head(&mut it);
        it.write_all(TOO_SHORT).unwrap();
    };
    let stalls: Server = |mut it| {
        head(&mut it);
        it.write_all(TOO_SHORT).unwrap();
        thread::spawn(move || it.read(&mut [0]));
    };
    for (with_each, status, state, failure, refusal) in [
        (closes, 502, "SH", ServerFailure::NoAnswer, None),
        (is_silent, 504, "sH", ServerFailure::AnswerTimeout, None),
        (
            talks_nonsense,
            502,
            "PH",
            ServerFailure::Malformed,
            Some("version"),
        ),
        (breaks_off, 200, "SD", ServerFailure::Broken, None),
        (stalls, 200, "sD", ServerFailure::BodyTimeout, None),
    ] {
        let seen = Seen::start(&[server(with_each)], Sampling::ALL, |it| {
            it.timeouts = timeouts();
        });
        let answer = say(seen.engine, GET);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{state}: {answer}"
        );
        let [line] = seen.lines(1).try_into().unwrap();
        assert_eq!(text(&line, "termination"), Some(state), "{line}");
        assert_eq!(
            (&line["status"], text(&line, "refusal")),
            (&status.into(), refusal)
        );
        assert_eq!(line["sent_bytes"], answer.len());
        if state.starts_with('s') {
            assert!(millis(&line, "total_ms") >= 200.0, "{line}");
        }
        let server = &seen.reading().servers["one"];
        let mut failures = [0; ServerFailure::ALL.len()];
        failures[failure as usize] = 1;
        assert_eq!((server.failures, server.requests), (failures, 0), "{state}");
        assert_eq!(seen.terminations(), [(state.to_owned(), 1)]);
        // What it does wrong is no refusal of a request.
        assert!(seen.reading().refusals.is_empty());
    }
}

#[test]
fn a_server_that_takes_no_connection_in_time_is_a_504() {
    // Its queue is full: the kernel does not answer any more.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _queued = TcpStream::connect(address).unwrap();
    let seen = Seen::start(&[address], Sampling::ALL, |it| it.timeouts = timeouts());
    let answer = say(seen.engine, GET);
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    let [line] = seen.lines(1).try_into().unwrap();
    assert_eq!(text(&line, "termination"), Some("sC"), "{line}");
    let server = &seen.reading().servers["one"];
    assert_eq!(server.failures[ServerFailure::ConnectTimeout as usize], 1);
}

#[test]
fn what_clients_do_wrong_is_told_apart() {
    // It says that it waits, which it may for as long again.
    let patient = server(|mut it| {
        head(&mut it);
        thread::spawn(move || {
            thread::sleep(SHORT / 2);
            let _heard = it.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            while it.read(&mut [0; 100]).is_ok_and(|count| count > 0) {}
        });
    });
    let seen = Seen::start(&[patient], Sampling::ALL, |it| it.timeouts = timeouts());
    let bad = "GET /b\u{22} HTTP/1.1\r\nHost: a\r\nHost: b\r\nUser-Agent: x\r\n\r\n";
    assert!(say(seen.engine, bad).starts_with("HTTP/1.1 400 "));
    assert!(say(seen.engine, "GET / HTTP/1.1\nHost: a\n\n").starts_with("HTTP/1.1 400 "));
    assert!(say(seen.engine, "GET / HTTP/1.1\r\nHost:").starts_with("HTTP/1.1 408 "));
    // One that goes away in the middle of its head, and one that says nothing at all.
    connect(seen.engine)
        .write_all(b"GET / HTTP/1.1\r\nHost:")
        .unwrap();
    drop(connect(seen.engine));
    // One whose body breaks off, and one whose body does not come.
    let put = "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello";
    connect(seen.engine).write_all(put.as_bytes()).unwrap();
    seen.until("that is counted", |it| it.reading().connections == 0);
    assert_eq!(say(seen.engine, put), "HTTP/1.1 100 Continue\r\n\r\n");

    seen.until("all is counted", |it| {
        let reading = it.reading();
        reading.terminations.values().sum::<u64>() == 6
            && reading.connections_total == 7
            && reading.connections == 0
    });
    let mut lines = seen.lines(6);
    lines.sort_by_key(|it| it["time"].to_string());
    let told: Vec<_> = lines
        .iter()
        .map(|it| {
            let text = |name| text(it, name).unwrap_or("").to_owned();
            (
                it["status"].as_u64().unwrap(),
                text("termination"),
                text("refusal"),
                text("path"),
            )
        })
        .collect();
    let expected = [
        (400, "PR", "several-hosts", "/b\""),
        (400, "PR", "bare-lf", ""),
        (408, "cR", "", ""),
        (0, "CR", "", ""),
        (0, "CD", "", "/a"),
        (0, "cD", "", "/a"),
    ];
    let expected = expected.map(|(status, state, refusal, path)| {
        (
            status,
            state.to_owned(),
            refusal.to_owned(),
            path.to_owned(),
        )
    });
    assert_eq!(told, expected);
    assert!(millis(&lines[2], "total_ms") >= 200.0, "{}", lines[2]);
    assert_eq!(lines[0]["received_bytes"], bad.len());
    let refusals = seen.reading().refusals;
    assert!(
        refusals
            .into_iter()
            .eq([("bare-lf", 1), ("several-hosts", 1)])
    );
    assert_eq!(
        seen.reading().all_routes().answers.classes,
        [3, 0, 0, 0, 3, 0]
    );
}

#[test]
fn a_client_that_goes_away_is_not_the_servers_fault() {
    let endless = server(|mut it| {
        head(&mut it);
        let _sent = it.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while it.write_all(&[b'x'; 10_000]).is_ok() {}
    });
    let seen = Seen::start(&[endless], Sampling::ALL, |_| {});
    let mut client = connect(seen.engine);
    client.write_all(GET.as_bytes()).unwrap();
    client.read_exact(&mut [0; 5000]).unwrap();
    drop(client);
    let [line] = seen.lines(1).try_into().unwrap();
    assert_eq!(
        (text(&line, "termination"), &line["status"]),
        (Some("CD"), &200.into())
    );
    assert!(line["sent_bytes"].as_u64().unwrap() >= 5000, "{line}");
    let server = &seen.reading().servers["one"];
    assert_eq!((server.failures, server.requests), ([0; 7], 0));
}

#[test]
fn what_is_sent_again_is_counted() {
    // It closes each connection instead of answering the second request on it.
    let fickle = server(|mut it| {
        head(&mut it);
        it.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            .unwrap();
        head(&mut it);
    });
    let seen = Seen::start(
        &[fickle],
        Sampling {
            one_in: 0,
            errors: true,
        },
        |_| {},
    );
    let mut client = connect(seen.engine);
    for _ in 0..2 {
        client
            .write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        assert!(
            head(&mut client)
                .unwrap()
                .starts_with("HTTP/1.1 200 OK\r\n")
        );
        client.read_exact(&mut [0; 2]).unwrap();
    }
    let [line] = seen.lines(1).try_into().unwrap();
    assert_eq!(
        (&line["retries"], text(&line, "termination")),
        (&1.into(), Some("--"))
    );
    let server = &seen.reading().servers["one"];
    assert_eq!((server.retries, server.connections_total), (1, 2));
    assert_eq!(server.failures[ServerFailure::NoAnswer as usize], 1);
    assert_eq!(server.answers.classes[2], 2);
    assert_eq!(seen.reading().connections, 1);
    drop(client);
    seen.until("its connection is gone", |it| it.reading().connections == 0);
}
