//! HTTP servers that say who they are and what they were asked, and curl to ask them.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::namespace::Namespace;

/// Answers each request with the server's name and the lines of its head, for as long as the process lives; the first one for `/fails-once` with
/// 503.
pub(crate) fn serve(namespace: &Namespace, name: &'static str, address: &str) {
    let address: SocketAddr = address.parse().expect("an address and a port");
    let listener = namespace.within(|| TcpListener::bind(address).expect("the port is free"));
    let has_failed = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let has_failed = has_failed.clone();
            thread::spawn(move || answer(client, name, &has_failed));
        }
    });
}

/// Ends with the connection.
fn answer(mut client: TcpStream, name: &str, has_failed: &AtomicBool) -> io::Result<()> {
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            client.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let lines: Vec<_> = head.lines().filter(|line| !line.is_empty()).collect();
        let body = format!("{name} {}\n", lines.join("|"));
        let may_fail = head.contains(" /fails-once ");
        let status = if may_fail && !has_failed.swap(true, Ordering::Relaxed) {
            "503 Service Unavailable"
        } else {
            "200 OK"
        };
        let length = body.len();
        write!(
            client,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nX-Inside: {name}\r\n\r\n{body}"
        )?;
    }
}

/// What curl writes; or its exit code.
pub(crate) fn curl(from: &Namespace, args: &[&str]) -> Result<String, Option<i32>> {
    let output = Command::new("nsenter")
        .arg(format!("--net=/var/run/netns/{}", from.name))
        .args(["curl", "--silent", "--max-time", "5", "--noproxy", "*"])
        .args(args)
        .output()
        .expect("these tests need curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_success = output.status.success();
    is_success.then_some(text).ok_or(output.status.code())
}
