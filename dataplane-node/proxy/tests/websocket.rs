//! Real clients and real servers of the WebSocket protocol: over HTTP/1.1 (Debian's `python3-websockets`) and over HTTP/2 (RFC 8441; `python3-h2`
//! and `python3-wsproto`), in all pairs.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "tls/authority.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod authority;
#[path = "engine/nginx.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod nginx;
#[path = "engine/worker.rs"]
mod worker;

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use authority::Authority;
use lbfabric_proxy::{
    Http2Config, ProxyConfig, ServerProtocol, Timeouts,
    tls::{Believed, MinimumVersion, ServerTlsConfig, ServerTlsOptions},
};
use nginx::Nginx;
use worker::engine;

/// Debian's own, which has Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

/// A server that gives every message back, and goes with this.
struct Echo {
    address: SocketAddr,
    process: Child,
}

fn script(name: &str) -> Command {
    let mut command = Command::new(PYTHON);
    command.arg(format!(
        "{}/tests/websocket/{name}",
        env!("CARGO_MANIFEST_DIR")
    ));
    command
}

impl Echo {
    fn start() -> Self {
        Self::of(&mut script("server.py"))
    }

    /// One of HTTP/2, which says that it has tunnels, or does not.
    fn of_http2(is_able: bool) -> Self {
        let mut server = script("server_http2.py");
        Self::of(if is_able {
            &mut server
        } else {
            server.arg("unable")
        })
    }

    fn of(server: &mut Command) -> Self {
        let mut process = server.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut port).unwrap();
        let port: u16 = port
            .trim()
            .parse()
            .expect("python3-websockets, python3-h2 and python3-wsproto are installed");
        Self {
            address: ([127, 0, 0, 1], port).into(),
            process,
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn talk(client: &str, engine: SocketAddr, arguments: &[&str]) {
    let output = script(client)
        .arg(engine.to_string())
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "good\n",
        "{client}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const CLIENTS: [&str; 2] = ["client.py", "client_http2.py"];

fn to_http2(server: SocketAddr) -> ProxyConfig {
    ProxyConfig {
        http2: Http2Config {
            servers: ServerProtocol::Http2,
            ..Http2Config::default()
        },
        ..ProxyConfig::to(&[server])
    }
}

#[test]
fn messages_come_back_as_they_were() {
    let (echo, echo_http2) = (Echo::start(), Echo::of_http2(true));
    for config in [
        ProxyConfig::to(&[echo.address]),
        to_http2(echo_http2.address),
    ] {
        let engine = engine(config);
        for client in CLIENTS {
            talk(client, engine, &[]);
            talk(client, engine, &["several"]);
        }
    }
}

/// nginx has none over HTTP/2, and takes them over HTTP/1.1.
#[test]
fn a_server_that_has_none_over_http2_gets_them_over_http1() {
    let echo = Echo::start();
    let authority = Authority::new("test");
    let issued = authority.issue(&["server.example"]);
    let directives = format!(
        "ssl_certificate chain.pem; ssl_certificate_key key.pem; http2_max_concurrent_streams 64;
        location /chat {{
            proxy_pass http://{};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}",
        echo.address
    );
    let files = [
        ("chain.pem", &issued.chain[..]),
        ("key.pem", &issued.key[..]),
    ];
    let nginx = Nginx::with(&directives, &files);
    let options = ServerTlsOptions {
        believed: Believed::IssuedBy(authority.authorities()),
        name: Some("server.example".try_into().unwrap()),
        minimum: MinimumVersion::Tls12,
        certificate: None,
    };
    let engine = engine(ProxyConfig {
        server_tls: Some(Arc::new(ServerTlsConfig::new(&options).unwrap())),
        ..to_http2(nginx.address)
    });
    for client in CLIENTS {
        talk(client, engine, &[]);
    }
    let scheme = Command::new("curl")
        .args(["-sS", &format!("http://{engine}/scheme")])
        .output()
        .unwrap();
    assert_eq!(scheme.stdout, b"https HTTP/2.0\n");
}

#[test]
fn what_a_server_does_not_want_is_told() {
    let (able, unable) = (Echo::of_http2(true), Echo::of_http2(false));
    let engines = [able, unable].map(|echo| (engine(to_http2(echo.address)), echo));
    for client in CLIENTS {
        talk(client, engines[0].0, &["refused", "/forbidden", "403"]);
        talk(client, engines[1].0, &["refused", "/chat", "501"]);
    }
}

/// What bodies may be silent for is of no concern to it.
#[test]
fn silence_ends_a_tunnel_and_nothing_before_that() {
    let (echo, echo_http2) = (Echo::start(), Echo::of_http2(true));
    let tunnel = Duration::from_millis(1_200);
    for config in [
        ProxyConfig::to(&[echo.address]),
        to_http2(echo_http2.address),
    ] {
        let engine = engine(ProxyConfig {
            timeouts: Timeouts {
                silence: Duration::from_millis(100),
                idle: Duration::from_millis(100),
                tunnel,
                ..Timeouts::default()
            },
            ..config
        });
        for client in CLIENTS {
            let begun = Instant::now();
            talk(client, engine, &["idle"]);
            assert!(begun.elapsed() >= tunnel, "{client}: {:?}", begun.elapsed());
        }
    }
}
