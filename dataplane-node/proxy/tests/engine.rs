//! The engine between real curl and real nginx.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail loudly wherever they meet what they do not expect"
)]

#[path = "engine/balancing.rs"]
mod balancing;
#[path = "engine/nginx.rs"]
mod nginx;
#[path = "engine/proxied.rs"]
mod proxied;
#[path = "engine/worker.rs"]
mod worker;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use lbfabric_proxy::{ForwardedConfig, ProxyConfig, Timeouts, http1::ForwardedPolicy};
use nginx::Nginx;
use worker::engine;

const PATIENCE: Duration = Duration::from_secs(20);

fn to(servers: &[SocketAddr]) -> ProxyConfig {
    ProxyConfig::to(servers)
}

/// What curl prints.
fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(arguments)
        .output()
        .expect("curl is installed");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

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

#[test]
fn curl_gets_what_nginx_serves() {
    let nginx = Nginx::start();
    let engine = engine(to(&[nginx.address]));
    let url = |path: &str| format!("http://{engine}{path}");
    assert_eq!(curl(&[&url("/hello")]), "hello\n");
    let large = curl(&[&url("/large")]);
    assert_eq!(large.len(), nginx::LARGE_BYTES);
    assert_eq!(large, nginx.large());
    let head = curl(&["--head", &url("/large")]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", nginx::LARGE_BYTES)));
    let part = curl(&["--range", "3-7", &url("/large")]);
    assert_eq!(part, nginx.large()[3..=7]);
    let status = curl(&[
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        &url("/nowhere"),
    ]);
    assert_eq!(status, "404");
    // Several requests over one connection, to one connection of the server.
    let several = curl(&[
        &url("/hello"),
        &url("/hello"),
        &url("/hello"),
        "--write-out",
        "%{num_connects} ",
    ]);
    assert_eq!(several, "hello\n1 hello\n0 hello\n0 ");
    let old = curl(&["--http1.0", &url("/large")]);
    assert_eq!(old, nginx.large());
}

#[test]
fn a_server_knows_its_client() {
    let nginx = Nginx::start();
    let engine_of = |x_forwarded, forwarded| {
        engine(ProxyConfig {
            forwarded: ForwardedConfig {
                x_forwarded,
                forwarded,
            },
            ..to(&[nginx.address])
        })
    };
    let said = [
        "--header",
        "X-Forwarded-For: 192.0.2.1",
        "--header",
        "Forwarded: for=192.0.2.1",
    ];
    let seen =
        |engine: SocketAddr| curl(&[&said[..], &[&format!("http://{engine}/seen")]].concat());
    let replaced = engine_of(ForwardedPolicy::Replace, ForwardedPolicy::Replace);
    let forwarded = format!("for=127.0.0.1;host=\"{replaced}\";proto=http");
    assert_eq!(
        seen(replaced),
        format!("127.0.0.1|http|{forwarded}|{replaced}\n")
    );
    let appended = engine_of(ForwardedPolicy::Append, ForwardedPolicy::Leave);
    assert_eq!(
        seen(appended),
        format!("192.0.2.1, 127.0.0.1|http|for=192.0.2.1|{appended}\n")
    );
}

/// Both with a length and in chunks, and while curl waits for a 100.
#[test]
fn bodies_arrive_whole() {
    let nginx = Nginx::start();
    let engine = engine(to(&[nginx.address]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("body");
    let body: Vec<u8> = (0..3_000_000u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    std::fs::write(&path, &body).unwrap();
    let file = path.to_str().unwrap();
    for (name, header) in [
        ("length", "X: y"),
        ("chunks", "Transfer-Encoding: chunked"),
        ("expected", "Expect: 100-continue"),
    ] {
        let url = format!("http://{engine}/put/{name}");
        let status = curl(&[
            "--upload-file",
            file,
            "--header",
            header,
            "--write-out",
            "%{http_code}",
            &url,
        ]);
        assert_eq!(status, "201", "{name}");
        assert!(nginx.stored(name) == body, "{name}");
    }
}

#[test]
fn servers_take_turns_and_one_that_is_gone_is_told() {
    let (one, other) = (Nginx::start(), Nginx::start());
    let engine_of = |servers: &[SocketAddr]| engine(to(servers));
    let both = engine_of(&[one.address, other.address]);
    let ports: Vec<_> = (0..4)
        .map(|_| curl(&[&format!("http://{both}/port")]))
        .collect();
    let [first, second] = [&one, &other].map(|it| format!("{}\n", it.address.port()));
    // Either may be the first.
    assert_eq!((&ports[0], &ports[1]), (&ports[2], &ports[3]));
    assert!(
        ports.contains(&first) && ports.contains(&second),
        "{ports:?}"
    );

    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let status = |engine: SocketAddr| {
        let url = format!("http://{engine}/hello");
        curl(&["--output", "/dev/null", "--write-out", "%{http_code}", &url])
    };
    assert_eq!(status(engine_of(&[gone])), "502");
    assert_eq!(status(engine_of(&[])), "503");
}

/// A connection that the server has closed meanwhile is no reason for an error.
#[test]
fn a_closed_connection_is_replaced() {
    let nginx = Nginx::start();
    let engine = engine(to(&[nginx.address]));
    let url = format!("http://{engine}/hello");
    assert_eq!(curl(&[&url]), "hello\n");
    nginx.restart();
    assert_eq!(curl(&[&url]), "hello\n");
}

#[test]
fn what_is_ambiguous_is_refused_and_nothing_of_it_arrives() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = engine(to(&[server.local_addr().unwrap()]));
    let both = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = say(engine, both);
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(answer.contains("Connection: close\r\n"));
    let answer = say(engine, "GET / HTTP/2.0\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
    server.set_nonblocking(true).unwrap();
    assert!(server.accept().is_err(), "nothing has been sent on");
}

/// Though the client goes on sending, which a closed socket would answer with a reset.
#[test]
fn a_refusal_arrives_while_the_client_sends() {
    let engine = engine(to(&[]));
    for _ in 0..20 {
        let mut client = connect(engine);
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n";
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(&vec![b'x'; 500_000]).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\n400 Bad Request\n"), "{answer}");
    }
}

/// A server that answers what no client must see.
fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4096];
            // What it is does not matter.
            let _asked = client.read(&mut request);
            let _gone = client.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn a_servers_malformed_answer_is_never_relayed() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
        "nonsense\r\n\r\n",
        "",
    ] {
        let engine = engine(to(&[answering(answer)]));
        let got = say(
            engine,
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        );
        assert!(
            got.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
            "{answer:?}: {got}"
        );
    }
    // Its end is the connection's: the client gets chunks, and may go on.
    let engine = engine(to(&[answering("HTTP/1.1 200 OK\r\n\r\nhello")]));
    let got = curl(&[&format!("http://{engine}/")]);
    assert_eq!(got, "hello");
}

/// One that ends too early does not look whole to the client.
#[test]
fn a_body_that_breaks_off_does_not_end() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let engine = engine(to(&[answering(answer)]));
        let output = Command::new("curl")
            .args(["--silent", "--max-time", "20", &format!("http://{engine}/")])
            .output()
            .unwrap();
        // CURLE_PARTIAL_FILE.
        assert_eq!(output.status.code(), Some(18), "{answer:?}");
        assert_eq!(output.stdout, b"hello");
    }
}

#[test]
fn another_protocol_goes_both_ways() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = engine(to(&[server.local_addr().unwrap()]));
    let server = thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        let mut request = vec![0; 4096];
        let length = client.read(&mut request).unwrap();
        request.truncate(length);
        client
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n",
            )
            .unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        client.write_all(&rest).unwrap();
        String::from_utf8(request).unwrap()
    });
    let mut client = connect(engine);
    client
        .write_all(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nbytes",
        )
        .unwrap();
    client.write_all(b" and more").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nbytes and more"), "{answer}");
    let request = server.join().unwrap();
    assert!(request.contains("Upgrade: echo\r\n"), "{request}");
}

#[test]
fn a_slow_head_is_not_waited_for() {
    let nginx = Nginx::start();
    let engine = engine(ProxyConfig {
        timeouts: Timeouts {
            head: Duration::from_millis(200),
            ..Timeouts::default()
        },
        ..to(&[nginx.address])
    });
    let answer = say(engine, "GET / HTTP/1.1\r\nHost:");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // Between two requests it is another time that counts.
    let mut client = connect(engine);
    for _ in 0..2 {
        client
            .write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut answer = [0; 4096];
        let length = client.read(&mut answer).unwrap();
        assert!(answer[..length].ends_with(b"\r\n\r\nhello\n"));
        let wait = Duration::from_millis(500);
        client.set_read_timeout(Some(wait)).unwrap();
        let nothing = client.read(&mut answer).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

#[test]
fn a_head_that_fills_the_buffer_is_told() {
    let engine = engine(to(&[]));
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(20_000));
    let answer = say(engine, &head);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// However they are cut.
#[test]
fn empty_lines_before_a_request_do_not_matter() {
    let nginx = Nginx::start();
    let engine = engine(to(&[nginx.address]));
    let cuts = [&["\r\n\r\n"][..], &["\r", "\n\r", "\n"]];
    for parts in cuts.into_iter().cycle().take(40) {
        let mut client = connect(engine);
        client.set_nodelay(true).unwrap();
        for part in parts {
            client.write_all(part.as_bytes()).unwrap();
        }
        let request = b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.write_all(request).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\nhello\n"), "{answer}");
    }
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    // The kernel takes the connection, and nobody reads from it.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = engine(ProxyConfig {
        timeouts: Timeouts {
            silence: Duration::from_millis(200),
            ..Timeouts::default()
        },
        ..to(&[server.local_addr().unwrap()])
    });
    let answer = say(engine, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}

/// A server waits for a request's body before it answers: as long as that comes, nobody is silent.
#[test]
fn a_slow_upload_is_not_a_server_that_says_nothing() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = engine(ProxyConfig {
        timeouts: Timeouts {
            silence: Duration::from_millis(300),
            ..Timeouts::default()
        },
        ..to(&[server.local_addr().unwrap()])
    });
    let answering = std::thread::spawn(move || {
        let (mut from, _) = server.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"12345678") {
            let mut byte = [0];
            from.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        from.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let mut client = TcpStream::connect(engine).unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 8\r\n\r\n")
        .unwrap();
    for byte in b"12345678" {
        // The body's own pace is what is tested here.
        std::thread::sleep(Duration::from_millis(100));
        client.write_all(&[*byte]).unwrap();
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    answering.join().unwrap();
}
