use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lbfabric_proto::otlp::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::InstrumentationScope,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use lbfabric_proxy::observe::{SpanQueue, TracedRequest};
use prost::Message as _;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tracing::{info, warn};

use super::spans::{resource, spans};
use crate::{chain::Chain, jitter::Jitter};

/// Requests that wait to be exported: some MiB at most.
const ROOM: usize = 4096;
/// How long they are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(200);
/// Requests that are sent at once.
const REQUESTS_AT_ONCE: usize = 512;
/// Bytes that are sent at once, but for the last span: collectors take 4 MiB unless they are told otherwise.
const BYTES_AT_ONCE: usize = 1 << 20;
const CONNECT: Duration = Duration::from_secs(3);
/// How long the collector may take to answer, as OpenTelemetry's own exporters have it.
const ANSWER: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How long the end waits for what is still to be sent.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Exports spans of requests to a collector, OTLP over gRPC.
///
/// ```text
///  workers ── TracedRequest ──► SpanQueue ──► task: gathers, makes spans ── Export ──► collector
///             no room: dropped    4096                 while it is away: tries again, and nothing is taken out
/// ```
///
/// Dropping it ends it at once, without what is not sent yet.
#[derive(Debug)]
pub(crate) struct Collector {
    counts: Arc<SpanCounts>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// What becomes of spans.
#[derive(Debug)]
pub(crate) struct SpanCounts {
    queue: Arc<SpanQueue>,
    sent: AtomicU64,
    failed: AtomicU64,
}

/// The collector's address is none.
#[derive(Debug, thiserror::Error)]
#[error("the collector {url} is to be http://HOST:PORT")]
pub(crate) struct InvalidCollector {
    url: String,
    #[source]
    source: Option<tonic::transport::Error>,
}

// === impl Collector ===

impl Collector {
    /// Starts to export what the queue gets. Whether anybody is there shows later.
    pub(crate) fn start(url: &str, service: &str, node: &str) -> Result<Self, InvalidCollector> {
        let invalid = |source| InvalidCollector {
            url: url.to_owned(),
            source,
        };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|it| invalid(Some(it)))?;
        if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().authority().is_none() {
            return Err(invalid(None));
        }
        let channel = endpoint
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .tcp_nodelay(true)
            .connect_lazy();
        let (queue, requests) = SpanQueue::new(ROOM);
        let counts = Arc::new(SpanCounts {
            queue: Arc::new(queue),
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        let exporter = Exporter {
            requests,
            resource: resource(service, node),
            client: TraceServiceClient::new(channel),
            url: url.to_owned(),
            counts: counts.clone(),
            stop: stop.clone(),
            standing: Standing::Takes,
            jitter: Jitter::new(),
        };
        Ok(Self {
            counts,
            stop,
            task: AbortOnDropHandle::new(tokio::spawn(exporter.run())),
        })
    }

    /// Where requests go.
    pub(crate) fn queue(&self) -> Arc<SpanQueue> {
        self.counts.queue.clone()
    }

    pub(crate) fn counts(&self) -> Arc<SpanCounts> {
        self.counts.clone()
    }

    /// Sends what there still is, unless that takes too long.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        // Who does not take it in time does not get it.
        let _late = timeout(END_PATIENCE, self.task).await;
    }
}

// === impl SpanCounts ===

impl SpanCounts {
    /// Spans by what became of them: dropped as there was no room, refused by the collector, or sent.
    pub(crate) fn read(&self) -> [(&'static str, u64); 3] {
        [
            ("dropped", self.queue.dropped()),
            ("failed", self.failed.load(Ordering::Relaxed)),
            ("sent", self.sent.load(Ordering::Relaxed)),
        ]
    }
}

/// The task that sends.
struct Exporter {
    requests: mpsc::Receiver<Box<TracedRequest>>,
    resource: Resource,
    client: TraceServiceClient<Channel>,
    url: String,
    counts: Arc<SpanCounts>,
    stop: CancellationToken,
    standing: Standing,
    jitter: Jitter,
}

/// What the collector did last. Only a change is worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Takes,
    Refuses,
    Away,
}

impl Exporter {
    async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            let first = tokio::select! {
                first = self.requests.recv() => first,
                () = stop.cancelled() => None,
            };
            let Some(first) = first else { break };
            if self.requests.len() < REQUESTS_AT_ONCE {
                tokio::select! {
                    () = sleep(GATHER) => {}
                    () = stop.cancelled() => {}
                }
            }
            self.send(Some(first)).await;
        }
        while !self.requests.is_empty() {
            self.send(None).await;
        }
    }

    /// Sends what is there, and does not take out more than is sent at once.
    async fn send(&mut self, first: Option<Box<TracedRequest>>) {
        let rest = std::iter::from_fn(|| self.requests.try_recv().ok());
        let requests: Vec<_> = first
            .into_iter()
            .chain(rest)
            .take(REQUESTS_AT_ONCE)
            .collect();
        let made = requests.iter().flat_map(|it| spans(it));
        for batch in batches(made) {
            self.deliver(batch).await;
        }
    }

    /// Sends spans until the collector has taken or refused them, or the end has come.
    async fn deliver(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let request = export(self.resource.clone(), spans);
        let mut backoff = BACKOFF_MIN;
        loop {
            let status = match self.client.export(request.clone()).await {
                Ok(reply) => {
                    let partial = reply.into_inner().partial_success.unwrap_or_default();
                    let refused = u64::try_from(partial.rejected_spans)
                        .unwrap_or(0)
                        .min(count);
                    self.taken(count - refused, refused, &partial.error_message);
                    return;
                }
                Err(status) => status,
            };
            if !is_passing(&status) {
                self.taken(0, count, &Chain(&status).to_string());
                return;
            }
            if self.is_news(Standing::Away) {
                let (collector, error) = (&self.url, Chain(&status));
                warn!(%collector, %error, "the collector of traces is away; spans wait, and are dropped when there is no more room");
            }
            tokio::select! {
                () = sleep(self.jitter.around(backoff, 25)) => {}
                () = self.stop.cancelled() => {
                    self.counts.failed.fetch_add(count, Ordering::Relaxed);
                    return;
                }
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// The collector has answered.
    fn taken(&mut self, sent: u64, refused: u64, why: &str) {
        self.counts.sent.fetch_add(sent, Ordering::Relaxed);
        self.counts.failed.fetch_add(refused, Ordering::Relaxed);
        let now = if refused > 0 {
            Standing::Refuses
        } else {
            Standing::Takes
        };
        if self.is_news(now) {
            let collector = &self.url;
            match now {
                Standing::Refuses => {
                    warn!(%collector, %why, "the collector of traces refuses spans");
                }
                Standing::Takes | Standing::Away => {
                    info!(%collector, "the collector of traces takes spans again");
                }
            }
        }
    }

    fn is_news(&mut self, now: Standing) -> bool {
        std::mem::replace(&mut self.standing, now) != now
    }
}

/// Parts of spans that are sent at once.
fn batches(spans: impl Iterator<Item = Span>) -> Vec<Vec<Span>> {
    let (mut batches, mut bytes) = (Vec::<Vec<Span>>::new(), 0);
    for span in spans {
        let length = span.encoded_len();
        match batches.last_mut() {
            Some(batch) if bytes < BYTES_AT_ONCE => batch.push(span),
            _ => {
                bytes = 0;
                batches.push(vec![span]);
            }
        }
        bytes += length;
    }
    batches
}

fn export(resource: Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "lbfabric".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans = ScopeSpans {
        scope: Some(scope),
        spans,
        ..ScopeSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![scope_spans],
            ..ResourceSpans::default()
        }],
    }
}

/// Whether the same may be taken later, by the table of OTLP's specification ("Failures", of OTLP/gRPC). `RESOURCE_EXHAUSTED` without a time to
/// wait is final there: what is too large does not get smaller.
fn is_passing(status: &Status) -> bool {
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        // Not said by the collector: the connection has broken.
        Code::Unknown => status.source().is_some(),
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal
        | Code::Unauthenticated => false,
    }
}

#[cfg(test)]
mod tests;
