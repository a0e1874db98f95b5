//! A server of HTTP/2 that does what nginx does not, by the path that it is asked for.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::{net::TcpListener, runtime::Builder, task::LocalSet};

/// Where it listens, and how many requests have come.
pub(crate) fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::task::spawn_local(connection(socket, counted.clone()));
            }
        });
    });
    (address, count)
}

async fn connection(socket: tokio::net::TcpStream, count: Arc<AtomicUsize>) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let number = count.fetch_add(1, Ordering::SeqCst);
        // It ends when the other side does not want its answer any more.
        tokio::task::spawn_local(async move { answer(number, request, respond).await });
    }
}

/// The answer to the request with this number; none if the other side has gone.
async fn answer(
    number: usize,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<()> {
    let path = request.uri().path().to_owned();
    let status = |status: u16| Response::builder().status(status);
    match path.as_str() {
        "/trailers" => {
            let mut to = respond
                .send_response(status(200).body(()).ok()?, false)
                .ok()?;
            to.send_data("abc".into(), false).ok()?;
            to.send_data("de".into(), false).ok()?;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("5"));
            trailers.insert("content-length", HeaderValue::from_static("9"));
            to.send_trailers(trailers).ok()?;
        }
        "/hints" => {
            let hints = status(103).header("link", "</a>").body(()).ok()?;
            respond.send_informational(hints).ok()?;
            respond
                .send_response(status(204).body(()).ok()?, true)
                .ok()?;
        }
        // It has not looked at any of the body, and does not want it.
        "/early" => {
            let mut to = respond
                .send_response(status(413).body(()).ok()?, false)
                .ok()?;
            to.send_data("too much".into(), true).ok()?;
        }
        "/refused" if number.is_multiple_of(2) => respond.send_reset(Reason::REFUSED_STREAM),
        "/reset" => respond.send_reset(Reason::INTERNAL_ERROR),
        "/broken" => {
            let head = status(200).header("content-length", "9").body(()).ok()?;
            let mut to = respond.send_response(head, false).ok()?;
            to.send_data("hello".into(), false).ok()?;
            to.reserve_capacity(1);
            // What is before the reset would not be sent behind it.
            tokio::task::yield_now().await;
            to.send_reset(Reason::INTERNAL_ERROR);
        }
        "/silent" => {
            std::future::poll_fn(|cx| respond.poll_reset(cx))
                .await
                .ok()?;
        }
        "/unavailable" => {
            respond
                .send_response(status(503).body(()).ok()?, true)
                .ok()?;
        }
        "/switch" => {
            respond
                .send_response(status(101).body(()).ok()?, true)
                .ok()?;
        }
        _ => {
            let said = said(&request);
            let body = read(request.into_body()).await?;
            let head = status(200).header("x-number", number).body(()).ok()?;
            let mut to = respond.send_response(head, false).ok()?;
            to.send_data(format!("{said}{} bytes\n", body.len()).into(), true)
                .ok()?;
        }
    }
    Some(())
}

/// The request's head, in lines.
fn said(request: &Request<RecvStream>) -> String {
    let lines = request.headers().iter();
    let lines = lines.map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
    format!(
        "{} {}\n{}",
        request.method(),
        request.uri(),
        lines.collect::<String>()
    )
}

async fn read(mut body: RecvStream) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        all.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len()).ok()?;
    }
    if let Some(trailers) = body.trailers().await.ok()? {
        all.extend_from_slice(format!("{trailers:?}").as_bytes());
    }
    Some(all)
}
