//! The engine between clients and servers of which one side, or both, speak HTTP/2: real curl, nghttp, h2load and nginx, and servers that answer by hand.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail loudly wherever they meet what they do not expect"
)]

#[path = "http2/from_http1.rs"]
mod from_http1;
#[path = "engine/nginx.rs"]
mod nginx;
#[path = "http2/server.rs"]
mod server;
#[path = "http2/tunnel_server.rs"]
mod tunnel_server;
#[path = "http2/tunnels.rs"]
mod tunnels;
#[path = "engine/worker.rs"]
mod worker;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::{Command, Output},
    thread,
};

use lbfabric_proxy::{
    Http2Config, ProxyConfig, ServerProtocol,
    proxy_protocol::{ProxyProtocolConfig, Version},
};
use nginx::Nginx;
use worker::engine;

fn to(servers: &[SocketAddr]) -> ProxyConfig {
    ProxyConfig::to(servers)
}

fn curl_of(arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["--http2-prior-knowledge", "--silent", "--show-error"])
        .args(["--max-time", "20"])
        .args(arguments)
        .output()
        .expect("curl is installed")
}

/// What curl prints.
fn curl(arguments: &[&str]) -> String {
    let output = curl_of(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Streams of one client's connection go over connections of its own.
#[test]
fn a_server_hears_who_its_client_is() {
    let nginx = Nginx::start();
    let engine = engine(ProxyConfig {
        proxy_protocol: ProxyProtocolConfig {
            send: Some(Version::Two),
            ..ProxyProtocolConfig::default()
        },
        ..to(&[nginx.proxied])
    });
    let url = format!("http://{engine}/");
    let said = curl(&["--write-out", "%{local_port}", &url]);
    let (seen, port) = said.split_once('\n').expect("two lines");
    let expected = format!("127.0.0.1:{port} {engine} ");
    assert!(seen.starts_with(&expected), "{said}");
}

#[test]
fn curl_gets_what_nginx_serves() {
    let nginx = Nginx::start();
    let engine = engine(to(&[nginx.address]));
    let url = |path: &str| format!("http://{engine}{path}");
    assert_eq!(
        curl(&[&url("/hello"), "--write-out", "%{http_version}"]),
        "hello\n2"
    );
    assert_eq!(curl(&[&url("/large")]), nginx.large());
    let head = curl(&["--head", &url("/large")]);
    assert!(head.starts_with("HTTP/2 200"), "{head}");
    assert!(head.contains(&format!("content-length: {}\r\n", nginx::LARGE_BYTES)));
    assert!(!head.contains("connection:"), "{head}");
    let part = curl(&["--range", "3-7", &url("/large")]);
    assert_eq!(part, nginx.large()[3..=7]);
    let code = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    let status = |more: &[&str]| curl(&[&code[..], more].concat());
    assert_eq!(status(&[&url("/nowhere")]), "404");
    // Over one connection, at the same time.
    let several = Command::new("nghttp")
        .args([
            "--no-push",
            &url("/hello"),
            &url("/hello?1"),
            &url("/hello?2"),
        ])
        .output()
        .expect("nghttp is installed");
    assert_eq!(
        String::from_utf8(several.stdout).unwrap(),
        "hello\n".repeat(3)
    );
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

/// From clients of both versions to servers of both, but for HTTP/1.1 on both sides.
#[test]
fn bodies_arrive_whole() {
    let http1 = Nginx::start();
    let http2 = Nginx::with("http2_max_concurrent_streams 64;", &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("body");
    let body: Vec<u8> = (0..3_000_000u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    std::fs::write(&path, &body).unwrap();
    let file = path.to_str().unwrap();
    let cases = [
        (&http1, to(&[http1.address]), "--http2-prior-knowledge"),
        (
            &http2,
            to_http2(&[http2.address]),
            "--http2-prior-knowledge",
        ),
        (&http2, to_http2(&[http2.address]), "--http1.1"),
    ];
    for (nginx, config, version) in cases {
        let engine = engine(config);
        let name = |kind: &str| format!("{kind}{version}{}", nginx.address.port());
        let put = |kind: &str, upload: &str| {
            let name = name(kind);
            // Without a length where curl does not know it.
            let command = format!(
                "cat {file} | curl {version} -sS --max-time 20 --write-out '%{{http_code}}' {upload} http://{engine}/put/{name}"
            );
            let output = Command::new("sh").args(["-c", &command]).output().unwrap();
            assert_eq!(output.stdout, *b"201", "{name}: {output:?}");
            assert!(nginx.stored(&name) == body, "{name}");
        };
        put("length", &format!("-T {file}"));
        put("chunks", "-T -");
        put("expected", &format!("-T {file} -H 'Expect: 100-continue'"));
        let large = curl_of(&[version, &format!("http://{engine}/large")]);
        assert!(large.stdout == nginx.large().into_bytes(), "{version}");
    }
}

fn to_http2(servers: &[SocketAddr]) -> ProxyConfig {
    ProxyConfig {
        http2: Http2Config {
            servers: ServerProtocol::Http2,
            ..Http2Config::default()
        },
        ..to(servers)
    }
}

/// A server that gives such an answer to each request, and what it was asked.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4096];
            // What it is does not matter.
            let _asked = client.read(&mut request);
            let _gone = client.write_all(answer);
        }
    });
    address
}

/// With the head where that matters, as curl prints it: the trailer behind the body, and what `--write-out` says behind that.
#[test]
fn answers_of_every_kind_become_those_of_http2() {
    let all: &[&str] = &["--dump-header", "-"];
    let cases: [(&[u8], &[&str], &str); 9] = [
        (
            b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
            &[],
            "until the end",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
            all,
            "HTTP/2 200 \r\n\r\nabcde",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\nContent-Length: 4\r\n\r\n",
            all,
            "HTTP/2 200 \r\n\r\nabcx-sum: 6\r\n",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 0\r\n\r\n",
            all,
            "HTTP/2 200 \r\n\r\nx-sum: 0\r\n",
        ),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            all,
            "HTTP/2 103 \r\nlink: </a>\r\n\r\nHTTP/2 204 \r\n\r\n",
        ),
        (
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            all,
            "HTTP/2 304 \r\ncontent-length: 5\r\n\r\n",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            &["--head"],
            "HTTP/2 200 \r\ncontent-length: 5\r\n\r\n",
        ),
        (
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\nhi",
            all,
            "HTTP/2 200 \r\ncontent-length: 2\r\n\r\nhi",
        ),
        (
            b"HTTP/1.1 500 No\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n",
            all,
            "HTTP/2 500 \r\nset-cookie: a=b\r\nset-cookie: c=d\r\ncontent-length: 0\r\n\r\n",
        ),
    ];
    for (answer, arguments, wanted) in cases {
        let engine = engine(to(&[answering(answer)]));
        let url = format!("http://{engine}/");
        let got = curl(&[arguments, &[&url]].concat());
        assert_eq!(got, wanted, "{}", answer.escape_ascii());
    }
}

#[test]
fn a_servers_malformed_answer_becomes_a_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent Length: 2\r\n\r\nhi",
        "nonsense\r\n\r\n",
        "",
    ] {
        let engine = engine(to(&[answering(answer.as_bytes())]));
        let url = format!("http://{engine}/");
        let status = curl(&["--write-out", "%{http_code}", &url]);
        assert_eq!(status, "502", "{answer:?}");
    }
    let status =
        |engine: SocketAddr| curl(&["--write-out", "%{http_code}", &format!("http://{engine}/")]);
    assert_eq!(status(engine(to(&[]))), "503");
}

/// One that ends too early does not look whole to the client.
#[test]
fn a_body_that_breaks_off_is_reset() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n",
    ] {
        let engine = engine(to(&[answering(answer.as_bytes())]));
        let output = curl_of(&[&format!("http://{engine}/")]);
        // CURLE_HTTP2_STREAM.
        assert_eq!(output.status.code(), Some(92), "{answer:?}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("INTERNAL_ERROR"), "{said}");
    }
}

#[test]
fn h2load_sees_no_failure() {
    let nginx = Nginx::start();
    let engine = engine(to(&[nginx.address]));
    let url = format!("http://{engine}/hello");
    let output = Command::new("h2load")
        .args(["-n", "5000", "-c", "8", "-m", "10", &url])
        .output()
        .expect("h2load is installed");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("5000 succeeded, 0 failed, 0 errored"),
        "{said}"
    );
    assert!(said.contains("status codes: 5000 2xx"), "{said}");
}
