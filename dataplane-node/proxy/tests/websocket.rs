//! Real clients and a real server of the WebSocket protocol: over HTTP/1.1 (Debian's `python3-websockets`) and over HTTP/2 (RFC 8441; `python3-h2`
//! and `python3-wsproto`).
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "engine/worker.rs"]
mod worker;

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lbfabric_proxy::{ProxyConfig, Timeouts};
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
        let mut process = script("server.py").stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut port).unwrap();
        let port: u16 = port
            .trim()
            .parse()
            .expect("python3-websockets is installed");
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

#[test]
fn messages_come_back_as_they_were() {
    let echo = Echo::start();
    let engine = engine(ProxyConfig::to(&[echo.address]));
    for client in CLIENTS {
        talk(client, engine, &[]);
    }
}

/// What bodies may be silent for is of no concern to it.
#[test]
fn silence_ends_a_tunnel_and_nothing_before_that() {
    let echo = Echo::start();
    let tunnel = Duration::from_millis(1_200);
    let engine = engine(ProxyConfig {
        timeouts: Timeouts {
            silence: Duration::from_millis(100),
            idle: Duration::from_millis(100),
            tunnel,
            ..Timeouts::default()
        },
        ..ProxyConfig::to(&[echo.address])
    });
    for client in CLIENTS {
        let begun = Instant::now();
        talk(client, engine, &["idle"]);
        assert!(begun.elapsed() >= tunnel, "{client}: {:?}", begun.elapsed());
    }
}
