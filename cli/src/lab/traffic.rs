//! The client: real `curl` and UDP requests, each from a new socket.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::case::Case;
use super::exchange::{Answer, Exchange, MARK};
use super::frame::{Protocol, TCP_PORT, UDP_PORT};
use super::interrupt::Interrupt;
use super::namespace::Namespace;
use super::{ping, program};

/// How long one request may take. TCP repeats a lost SYN after a second; a request that needs that was not lost.
const REQUEST_LIMIT: Duration = Duration::from_secs(3);
/// UDP requests or pings that may fail before the others are not tried any more.
const FAILURES_MAX: usize = 3;

/// Sends `requests` requests of one kind from the client's namespace. It stops early once it is clear that they fail.
pub(super) fn send(
    client: &Namespace,
    case: Case,
    requests: u32,
    interrupt: &Interrupt,
) -> anyhow::Result<Exchange> {
    match case.protocol {
        Protocol::Tcp => curl(client, case, requests, interrupt),
        Protocol::Udp => client.inside(|| Ok(udp(case, requests, interrupt))),
        Protocol::Icmp => client.inside(|| Ok(pings(case, requests, interrupt))),
    }
}

fn curl(
    client: &Namespace,
    case: Case,
    requests: u32,
    interrupt: &Interrupt,
) -> anyhow::Result<Exchange> {
    let write = format!("\n{MARK} %{{http_code}} %{{num_connects}} %{{errormsg}}\n");
    let limit = REQUEST_LIMIT.as_secs().to_string();
    let mut command = client.command("curl");
    command.args([
        "--silent",
        "--globoff",
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
    command.args(["--config", "-"]);
    let urls: Vec<String> = (0..requests)
        .map(|number| {
            let authority = SocketAddr::new(case.target(number), TCP_PORT);
            format!("url = \"http://{authority}/?request={number}\"\n")
        })
        .collect();
    let finished = program::finish(
        &mut command,
        &urls.concat(),
        REQUEST_LIMIT * requests.max(1),
        interrupt,
    )?;
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

fn udp(case: Case, requests: u32, interrupt: &Interrupt) -> Exchange {
    let mut exchange = Exchange::default();
    for number in numbers(requests, interrupt) {
        exchange.sent += 1;
        match ask(case.target(number)) {
            Ok(answer) => exchange.answers.push(answer),
            Err(problem) => exchange.failures.push(format!("udp: {problem}")),
        }
        if exchange.failures.len() >= FAILURES_MAX {
            break;
        }
    }
    exchange
}

fn pings(case: Case, requests: u32, interrupt: &Interrupt) -> Exchange {
    let mut exchange = Exchange::default();
    for number in numbers(requests, interrupt) {
        exchange.sent += 1;
        match ping::ping(case.target(number), number, REQUEST_LIMIT) {
            Ok(()) => exchange.echoes += 1,
            Err(problem) => exchange.failures.push(format!("icmp: {problem}")),
        }
        if exchange.failures.len() >= FAILURES_MAX {
            break;
        }
    }
    exchange
}

/// The numbers of so many requests, until the run is to end.
fn numbers(requests: u32, interrupt: &Interrupt) -> impl Iterator<Item = u32> {
    (0..requests).take_while(|_| !interrupt.is_raised())
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
        socket.connect(SocketAddr::new(vip, UDP_PORT))?;
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
