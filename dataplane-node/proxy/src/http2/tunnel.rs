//! A WebSocket over HTTP/2, RFC 8441, to a server of HTTP/1.1, behind the upgrade.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};

use super::answer::Answer;
use crate::{
    attempts::NoAnswer,
    observe::Cause,
    socket::Socket,
    stream::{Incoming, Stream, write},
    tcp::silent,
};

/// Both directions as they come, each until its end, or until nothing has moved in either for so long. What the client sends is added to
/// `count`.
pub(super) async fn tunnel(
    client: &mut RecvStream,
    server: &mut Stream,
    answer: &mut Answer,
    limit: Duration,
    count: &Cell<u64>,
) -> Result<(), NoAnswer> {
    let last = Cell::new(Instant::now());
    let from = Incoming {
        socket: &server.socket,
        buffer: &mut server.buffer,
        alarm: &server.alarm,
    };
    let alarm = from.alarm;
    let mut there = pin!(there(client, &server.socket, &last, count));
    let mut back = pin!(back(from, answer, &last));
    let mut silent = pin!(silent(alarm, &last, limit));
    let mut is_open = true;
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = back.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        if is_open && let Poll::Ready(ended) = there.as_mut().poll(cx) {
            is_open = false;
            if ended.is_err() {
                return Poll::Ready(ended);
            }
        }
        let silent = silent.as_mut().poll(cx);
        silent.map(|()| Err(NoAnswer::Gone(Cause::ClientTimeout)))
    })
    .await;
    if ended.is_err() {
        server.socket.cut();
    }
    ended
}

const GONE: NoAnswer = NoAnswer::Gone(Cause::Client);

async fn there(
    from: &mut RecvStream,
    to: &Socket,
    last: &Cell<Instant>,
    count: &Cell<u64>,
) -> Result<(), NoAnswer> {
    while let Some(data) = poll_fn(|cx| from.poll_data(cx)).await {
        last.set(Instant::now());
        let data = data.map_err(|_broken_off| GONE)?;
        count.set(count.get() + data.len() as u64);
        // Of a server that is gone, what comes back says so.
        if write(to, &data, b"", Duration::MAX).await.is_err() {
            return Ok(());
        }
        last.set(Instant::now());
        // Only now may as much come again.
        let released = from.flow_control().release_capacity(data.len());
        released.map_err(|_closed| GONE)?;
    }
    // A connection that is gone is shut down already.
    let _gone = to.close_half().await;
    Ok(())
}

async fn back(
    mut from: Incoming<'_>,
    answer: &mut Answer,
    last: &Cell<Instant>,
) -> Result<(), NoAnswer> {
    let to = answer.sending()?;
    to.wait(Duration::MAX);
    loop {
        if from.filled().is_empty() {
            let read = pin!(poll_fn(|cx| from.poll_read(cx)));
            match to.or_gone(read).await? {
                Ok(1..) => {}
                Ok(0) => return Ok(to.end(None)?),
                Err(_broken) => {
                    return Err(NoAnswer::Broken(Reason::INTERNAL_ERROR, Cause::Server));
                }
            }
        }
        last.set(Instant::now());
        let data = Bytes::copy_from_slice(from.filled());
        from.consume(data.len());
        to.data(data, false).await?;
        last.set(Instant::now());
    }
}
