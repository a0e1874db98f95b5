//! A request's way to servers, one after the other until one answers: the same for every version of HTTP on both sides.
//!
//! ```text
//!  reach a server ──► exchange ──► answered
//!    ▲      ▲            │ untouched: once more, over another connection to the same server
//!    │      └────────────┤
//!    └───────────────────┘ unanswered, or an answer that the client is not to have: at another server, if the route says so
//! ```

use std::{
    cell::Cell,
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use h2::Reason;

use crate::{
    config::ProxyConfig,
    http1::{Body, Refusal, Response},
    http2,
    observe::{
        Cause, Ending, NO_SERVER, Phase, Renewal, ServerFailure, Termination, Watch, failure_of,
    },
    route::Failure,
    routing::Routed,
    stream::{Incoming, NoHead},
    upstream::{Carrier, NoUpstream, Permit, Pool, RequestKey, Upstream},
};

/// What of a request is needed after its head has been sent on.
pub(crate) struct Asked {
    /// As far as an answer's framing goes by it.
    pub(crate) method: &'static str,
    pub(crate) body: Body,
    /// Sent twice it does the same as sent once, RFC 9110 section 9.2.2.
    pub(crate) is_idempotent: bool,
    /// Something comes behind its head, and is gone once it was sent.
    pub(crate) has_more: bool,
    pub(crate) routed: Routed,
    /// Where it goes; nowhere without a pool.
    pub(crate) to: Option<(Rc<Pool>, RequestKey)>,
    /// Some of it is still to come.
    pub(crate) is_sending: Cell<bool>,
    pub(crate) watch: Rc<Watch>,
}

/// Why a client gets no answer of a server's, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// It gets this one instead, if it has nothing of another yet, because of that.
    Told(u16, Cause),
    /// A 503 that says why.
    Unavailable(&'static str, Termination),
    /// Its request is refused.
    Refused(Refusal),
    /// The server's answer is refused, and it gets 502 instead.
    Malformed(Refusal),
    /// The client is gone, breaks its request off, is silent for too long, or does not take the answer.
    Gone(Cause),
    /// The server has broken it off, or says nothing for too long; over HTTP/2 for this reason.
    Broken(Reason, Cause),
}

/// Why an attempt gives no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The server has not looked at the request, and all of it is there.
    Untouched,
    /// Nothing of an answer has come.
    Unanswered,
    /// The one that came is not what the client is to have.
    Again,
    NoAnswer(NoAnswer),
}

/// What the server's connection is for behind an answer.
pub(crate) enum Behind {
    /// For another request, unless the server closes it within this time.
    Requests(Upstream, Option<Duration>),
    /// For another protocol.
    Switched(Upstream),
    /// A stream of it is.
    Tunnel(Box<http2::ServerStream>),
    /// For nothing, or it is not the request's own.
    Nothing,
}

/// A request as its client's connection has it.
pub(crate) trait Asking<C> {
    /// What is left of an answer that the client has.
    type Answered;

    /// Does something else for as long as somebody waits for the answer.
    async fn or_gone<F: Future>(&mut self, work: Pin<&mut F>) -> Result<F::Output, NoAnswer>;

    /// Sends the request to a server, and gives its answer to the client.
    async fn exchange(&mut self, permit: &Permit, over: C) -> Result<Self::Answered, Failed>;

    /// The next server is told something else of the trace than the last one.
    fn renew(&mut self, renewal: &Renewal);
}

/// Sends a request to a server, and to further ones as far as its route allows it, until one answers.
pub(crate) async fn attempts<C: Carrier, A: Asking<C>>(
    asking: &mut A,
    asked: &Asked,
    config: &Arc<ProxyConfig>,
) -> Result<(Permit, A::Answered), NoAnswer> {
    let nowhere = NoAnswer::Unavailable("", NO_SERVER);
    let (pool, key) = asked.to.as_ref().ok_or(nowhere)?;
    let watch = &*asked.watch;
    let (mut pool, mut key) = (pool.clone(), key.clone());
    let limit = asked.routed.timeouts(config).connect;
    'servers: loop {
        let reached = {
            let reaching = pin!(pool.reach(&key, config, limit, watch));
            asking.or_gone(reaching).await?
        };
        let (permit, mut over) = match reached {
            Ok(reached) => reached,
            Err(NoUpstream::Connect(error)) if asked.again(Failure::Connect, config) => {
                watch.retries(failure_of(&error));
                continue;
            }
            Err(why) => return Err(why.into()),
        };
        let mut may_repeat = true;
        loop {
            let failed = match asking.exchange(&permit, over).await {
                Ok(answered) => return Ok((permit, answered)),
                Err(failed) => failed,
            };
            match failed {
                Failed::Untouched if may_repeat => {
                    may_repeat = false;
                    watch.retries(Some(ServerFailure::NoAnswer));
                    renew(asking, watch);
                    watch.reconnects();
                    // Most requests do not carry the room for this.
                    let mut connecting = Box::pin(C::connect(&permit, config, limit));
                    match asking.or_gone(connecting.as_mut()).await? {
                        Ok(anew) => {
                            watch.connected(anew.is_reused());
                            over = anew;
                            continue;
                        }
                        Err(error) if asked.again(Failure::Connect, config) => {
                            watch.retries(failure_of(&error));
                        }
                        Err(error) => return Err(NoUpstream::from(error).into()),
                    }
                }
                Failed::Untouched | Failed::Unanswered => {
                    permit.failed();
                    if !asked.again(Failure::Reset, config) {
                        return Err(NoAnswer::Told(502, Cause::Server));
                    }
                    watch.retries(Some(ServerFailure::NoAnswer));
                }
                Failed::Again => watch.retries(None),
                Failed::NoAnswer(why) => {
                    if let NoAnswer::Told(502 | 504, _) | NoAnswer::Malformed(_) = why {
                        permit.failed();
                    }
                    return Err(why);
                }
            }
            renew(asking, watch);
            (pool, key) = permit.another(&pool, &key);
            continue 'servers;
        }
    }
}

/// Each server that may have seen the request was told of a span of its own, if it is recorded.
fn renew<C: Carrier, A: Asking<C>>(asking: &mut A, watch: &Watch) {
    if let Some(renewal) = watch.renewed() {
        asking.renew(&renewal);
    }
}

/// A request's body there and its answer back at the same time, as neither waits for the other; with the answer, whether the whole body
/// is gone. The body gives whether it is, as the server need not take all of it to answer.
pub(crate) async fn both<T>(
    asked: &Asked,
    mut body: Pin<&mut impl Future<Output = Result<bool, NoAnswer>>>,
    mut answer: Pin<&mut impl Future<Output = Result<T, Failed>>>,
) -> Result<(T, bool), Failed> {
    let mut is_sent = None;
    asked.is_sending.set(true);
    loop {
        tokio::select! {
            biased;
            answered = &mut answer => return Ok((answered?, is_sent == Some(true))),
            sent = &mut body, if is_sent.is_none() => {
                asked.is_sending.set(false);
                is_sent = Some(sent?);
            }
        }
    }
}

/// Waits for the head of an answer that comes over HTTP/1.1, and gives its length.
pub(crate) async fn answer_head(
    from: &mut Incoming<'_>,
    asked: &Asked,
    config: &ProxyConfig,
    silence: Duration,
) -> Result<usize, Failed> {
    loop {
        let length = match from.some(silence, |_| false).await {
            Ok(()) => from.head(&config.limits, silence, || {}).await,
            // The server waits for the rest of the request, as long as that comes.
            Err(NoHead::Silent) if asked.is_sending.get() => continue,
            Err(error) => Err(error),
        };
        return length.map_err(|error| match error {
            NoHead::Closed | NoHead::Leaving | NoHead::Broken => Failed::Unanswered,
            NoHead::Refused(refusal) => NoAnswer::Malformed(refusal).into(),
            NoHead::Silent | NoHead::Late => NoAnswer::Told(504, Cause::ServerTimeout).into(),
        });
    }
}

// === impl Asked ===

impl Asked {
    /// Whether it has a body, as far as its head says.
    pub(crate) fn has_body(&self) -> bool {
        self.body != Body::Length(0)
    }

    /// Whether nothing is lost or done twice when it is sent again.
    pub(crate) const fn may_repeat(&self) -> bool {
        self.is_idempotent && !self.has_more
    }

    /// Whether its route has it sent again.
    fn again(&self, failure: Failure, config: &ProxyConfig) -> bool {
        let (is_idempotent, has_more) = (self.is_idempotent, self.has_more);
        self.routed.again(failure, is_idempotent, has_more, config)
    }

    /// The head of an answer has come, with this status: whether it is what the client is to have.
    pub(crate) fn answered(
        &self,
        permit: &Permit,
        status: u16,
        config: &ProxyConfig,
    ) -> Result<(), Failed> {
        permit.answered(status, !self.has_body());
        match Failure::of_status(status) {
            Some(failure) if self.again(failure, config) => {
                self.watch.turns_down(status);
                Err(Failed::Again)
            }
            Some(_) | None => {
                self.watch.answered(status);
                Ok(())
            }
        }
    }
}

// === impl Behind ===

impl Behind {
    /// `is_sent`: all of the request is gone.
    pub(crate) fn of(upstream: Upstream, response: &Response, is_sent: bool) -> Self {
        if response.switches {
            Self::Switched(upstream)
        } else if response.persists && is_sent {
            Self::Requests(upstream, response.keep_alive)
        } else {
            Self::Nothing
        }
    }
}

// === impl NoAnswer ===

impl NoAnswer {
    /// Because of an error of the client's connection.
    pub(crate) fn of_client(error: &io::Error) -> Self {
        Self::Gone(Cause::client(error.kind() == io::ErrorKind::TimedOut))
    }

    /// How its request ends by it.
    pub(crate) fn ending(self, watch: &Watch) -> Ending {
        let by_us = |phase| Termination::new(Cause::Proxy, phase);
        let (termination, told, refusal) = match self {
            Self::Told(status, cause) => (watch.ended_by(cause), Some(status), None),
            Self::Unavailable(_, termination) => (termination, Some(503), None),
            Self::Refused(refusal) => {
                let status = refusal.status();
                (by_us(Phase::Request), Some(status), Some(refusal))
            }
            Self::Malformed(refusal) => (by_us(Phase::Headers), Some(502), Some(refusal)),
            Self::Gone(cause) | Self::Broken(_, cause) => (watch.ended_by(cause), None, None),
        };
        Ending {
            termination,
            told,
            refusal,
        }
    }
}

// === impl Failed ===

impl From<NoAnswer> for Failed {
    fn from(why: NoAnswer) -> Self {
        Self::NoAnswer(why)
    }
}

impl From<NoUpstream> for NoAnswer {
    fn from(why: NoUpstream) -> Self {
        let termination = why.termination();
        match why {
            NoUpstream::NoServer(why) => Self::Unavailable(why.reason(), termination),
            NoUpstream::Connect(error) => match error.kind() {
                io::ErrorKind::QuotaExceeded => {
                    Self::Unavailable("no connection was free in time", termination)
                }
                io::ErrorKind::TimedOut => Self::Told(504, Cause::ServerTimeout),
                _ => Self::Told(502, Cause::Server),
            },
        }
    }
}
