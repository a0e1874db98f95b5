use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use h2::{Ping, PingPong};
use tokio::time::{Sleep, sleep_until};

use super::{
    clock::{Activity, Clock, Due},
    wire::Wire,
};
use crate::config::ProxyConfig;

/// What a connection's task and those of its streams know of each other.
#[derive(Debug)]
pub(super) struct Streams {
    open: Cell<u32>,
    /// Since when none is.
    idle_since: Cell<Instant>,
}

/// A stream that is open for as long as this is.
#[derive(Debug)]
pub(super) struct Open(Rc<Streams>);

/// What a connection's task does beside the codec: it sends what the codec has written, and sees to it that the connection ends if nobody
/// uses it, or nobody is there any more.
pub(super) struct Watch {
    pub(super) wire: Rc<Wire>,
    pub(super) streams: Rc<Streams>,
    pings: Option<PingPong>,
    clock: Clock,
    timer: Pin<Box<Sleep>>,
    asked_at: Option<Instant>,
    ending_since: Option<Instant>,
}

/// What the codec has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// Tell the other side that the connection ends, and go on.
    End,
    /// Nothing any more: the connection is over.
    Over,
}

// === impl Streams ===

impl Streams {
    fn new(now: Instant) -> Self {
        Self {
            open: Cell::new(0),
            idle_since: Cell::new(now),
        }
    }

    pub(super) fn open(&self) -> u32 {
        self.open.get()
    }
}

// === impl Open ===

impl Open {
    pub(super) fn new(streams: &Rc<Streams>) -> Self {
        streams.open.set(streams.open.get() + 1);
        Self(streams.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let open = self.0.open.get() - 1;
        self.0.open.set(open);
        if open == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}

// === impl Watch ===

impl Watch {
    pub(super) fn new(
        wire: Rc<Wire>,
        pings: Option<PingPong>,
        config: &ProxyConfig,
        now: Instant,
    ) -> Self {
        let clock = Clock {
            idle: config.timeouts.idle,
            keep_alive: config.http2.keep_alive,
            patience: config.http2.keep_alive_timeout,
            silence: config.timeouts.silence,
        };
        Self {
            wire,
            streams: Rc::new(Streams::new(now)),
            pings,
            clock,
            // The first look tells when the next is due.
            timer: Box::pin(sleep_until((now + Duration::from_millis(1)).into())),
            asked_at: None,
            ending_since: None,
        }
    }

    /// Has to be polled when the codec has nothing to do any more, by the same task.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Watched> {
        if let Poll::Ready(Err(_gone)) = self.wire.poll_send(cx) {
            return Poll::Ready(Watched::Over);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match self.clock.due(&self.activity(), now) {
                Due::Nothing(next) => self.timer.as_mut().reset(next.into()),
                Due::Close => return Poll::Ready(Watched::Over),
                Due::End => {
                    self.ending_since = Some(now);
                    return Poll::Ready(Watched::End);
                }
                Due::Ask => {
                    self.asked_at = Some(now);
                    if let Some(pings) = &mut self.pings {
                        // Of the last time.
                        let _heard = pings.poll_pong(cx);
                        let _asked = pings.send_ping(Ping::opaque());
                    }
                    cx.waker().wake_by_ref();
                }
            }
        }
        Poll::Pending
    }

    fn activity(&self) -> Activity {
        let is_idle = self.streams.open.get() == 0;
        Activity {
            idle_since: is_idle.then(|| self.streams.idle_since.get()),
            read_at: self.wire.read_at.get(),
            asked_at: self.asked_at,
            stuck_since: self.wire.stuck_since.get(),
            ending_since: self.ending_since,
        }
    }
}
