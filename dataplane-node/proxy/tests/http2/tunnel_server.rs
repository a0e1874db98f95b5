//! A server of both versions by prior knowledge, with tunnels over HTTP/2 (RFC 8441) if it is to have them, and an upgrade to `echo` over HTTP/1.1.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{Method, Request, Response};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, split},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::{LocalSet, spawn_local},
};

/// Where it listens, and what it has seen: the ends of its tunnels, and the heads of HTTP/1.1.
pub(crate) fn tunnel_server(has_tunnels: bool) -> (SocketAddr, Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, receiver) = channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                spawn_local(connection(socket, has_tunnels, seen.clone()));
            }
        });
    });
    (address, receiver)
}

async fn connection(socket: TcpStream, has_tunnels: bool, seen: Sender<String>) {
    let mut first = [0; 3];
    while socket
        .peek(&mut first)
        .await
        .is_ok_and(|it| (1..3).contains(&it))
    {}
    if first != *b"PRI" {
        return over_http1(socket, seen).await;
    }
    let mut builder = h2::server::Builder::new();
    if has_tunnels {
        builder.enable_connect_protocol();
    }
    let mut connection = builder.handshake(socket).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let seen = seen.clone();
        spawn_local(async move {
            let path = request.uri().path().to_owned();
            // It ends when the other side does not want it any more.
            let _whole = answer(&path, request, respond, &seen).await;
        });
    }
}

/// Agrees to whatever is asked for, and gives back what comes.
async fn over_http1(mut socket: TcpStream, seen: Sender<String>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_closed) => return,
        }
    }
    // A test may be over.
    let _heard = seen.send(String::from_utf8(head).unwrap());
    let answer =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    socket.write_all(answer).await.unwrap();
    let (mut from, mut to) = split(socket);
    let _gone = copy(&mut from, &mut to).await;
    let _gone = to.shutdown().await;
}

async fn answer(
    path: &str,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    seen: &Sender<String>,
) -> Option<()> {
    let head = |status: u16| Response::builder().status(status).body(());
    if request.method() != Method::CONNECT {
        let mut to = respond.send_response(head(200).ok()?, false).ok()?;
        return to.send_data("plain\n".into(), true).ok();
    }
    let mut from = request.into_body();
    let mut to = respond.send_response(head(200).ok()?, false).ok()?;
    match path {
        // Its own end comes first.
        "/early" => {
            to.send_data("early".into(), true).ok()?;
            let mut count = 0;
            while let Some(data) = from.data().await {
                let length = data.ok()?.len();
                from.flow_control().release_capacity(length).ok()?;
                count += length;
            }
            let _heard = seen.send(format!("{count} bytes"));
        }
        "/reset" => {
            from.data().await;
            to.send_reset(h2::Reason::ENHANCE_YOUR_CALM);
        }
        "/watch" => {
            let reason = poll_fn(|cx| to.poll_reset(cx)).await.ok()?;
            let _heard = seen.send(format!("{reason:?}"));
        }
        _ => {
            while let Some(data) = from.data().await {
                let mut data = data.ok()?;
                from.flow_control().release_capacity(data.len()).ok()?;
                while !data.is_empty() {
                    to.reserve_capacity(data.len());
                    let room = poll_fn(|cx| to.poll_capacity(cx)).await?.ok()?;
                    to.send_data(data.split_to(room.min(data.len())), false)
                        .ok()?;
                }
            }
            to.send_data(Bytes::new(), true).ok()?;
        }
    }
    Some(())
}
