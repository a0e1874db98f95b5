//! The client: real `curl` and UDP requests, each from a new socket.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::exchange::{Answer, Exchange, MARK};
use super::frame::Protocol;
use super::interrupt::Interrupt;
use super::namespace::Namespace;
use super::program;
use super::sighting::Case;

/// How long one request may take. TCP repeats a lost SYN after a second; a request that needs that was not lost.
const REQUEST_LIMIT: Duration = Duration::from_secs(3);
/// UDP requests that may fail before the others are not tried any more.
const UDP_FAILURES_MAX: usize = 3;

/// Sends `requests` requests of one kind from the client's namespace. It stops early once it is clear that they fail.
pub(super) fn send(
    client: &Namespace,
    case: Case,
    requests: u32,
    interrupt: &Interrupt,
) -> anyhow::Result<Exchange> {
    match case.protocol {
        Protocol::Tcp => curl(client, case.vip(), requests, interrupt),
        Protocol::Udp => client.inside(|| Ok(udp(case.vip(), requests, interrupt))),
    }
}

fn curl(
    client: &Namespace,
    vip: IpAddr,
    requests: u32,
    interrupt: &Interrupt,
) -> anyhow::Result<Exchange> {
    let authority = SocketAddr::new(vip, Protocol::Tcp.port());
    let write = format!("\n{MARK} %{{http_code}} %{{num_connects}} %{{errormsg}}\n");
    let limit = REQUEST_LIMIT.as_secs().to_string();
    let mut command = client.command("curl");
    command.args([
        "--silent",
        "--noproxy",
        "*",
        "--max-time",
        &limit,
        "--fail-early",
        "--write-out",
        &write,
    ]);
    // Each request is a new connection: some servers close after each answer, and the others are told to.
    command.args(["--header", "Connection: close"]);
    command.arg(format!("http://{authority}/?request=[1-{requests}]"));
    let finished = program::finish(&mut command, "", REQUEST_LIMIT * requests.max(1), interrupt)?;
    let mut exchange = Exchange::of_curl(&finished.stdout);
    if exchange.sent < requests {
        let stderr = finished.stderr.trim();
        exchange.failures.push(format!(
            "curl ended after {} of {requests} requests ({}) {stderr}",
            exchange.sent, finished.status
        ));
    }
    Ok(exchange)
}

fn udp(vip: IpAddr, requests: u32, interrupt: &Interrupt) -> Exchange {
    let mut exchange = Exchange::default();
    for _ in 0..requests {
        if interrupt.is_raised() || exchange.failures.len() >= UDP_FAILURES_MAX {
            break;
        }
        exchange.sent += 1;
        match ask(vip) {
            Ok(answer) => exchange.answers.push(answer),
            Err(problem) => exchange.failures.push(format!("udp: {problem}")),
        }
    }
    exchange
}

/// One UDP request from a new socket of the network namespace that the calling thread is in.
fn ask(vip: IpAddr) -> Result<Answer, String> {
    let any: IpAddr = match vip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let exchanged = || {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.set_read_timeout(Some(REQUEST_LIMIT))?;
        // A connected socket takes answers from the VIP only.
        socket.connect(SocketAddr::new(vip, Protocol::Udp.port()))?;
        socket.send(b"who")?;
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let text = exchanged().map_err(|error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no answer from {vip}"),
        _ => format!("asking {vip}: {error}"),
    })?;
    Answer::parse(&text).ok_or_else(|| format!("{vip} answered {text:?}"))
}
