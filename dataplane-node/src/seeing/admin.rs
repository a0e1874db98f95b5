use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task,
    time::timeout,
};

use lbfabric_proxy::observe::{AccessLog, Exposition, Metrics};

use super::{Asker, SpanCounts, node_metrics, span_metrics};

/// Connections at the same time; others wait.
const CONNECTIONS_MAX: usize = 32;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may last.
const CONNECTION: Duration = Duration::from_mins(10);

/// What is told of the node over HTTP, to those who may reach the listener: by itself it asks nobody who they are, so it belongs on
/// loopback or a network of administration.
///
/// - `/metrics`: what is counted, in the form that is asked for; `?service=NAME` of one layer-7 service alone
/// - `/healthz`: 200 as long as the agent works
/// - `/readyz`: 200 as long as the node forwards what it was told to; else 503 with what is in the way
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    /// What is counted of layer 7.
    pub(crate) metrics: Arc<Metrics>,
    /// Whose lines are counted.
    pub(crate) log: Arc<AccessLog>,
    /// Whose spans are counted, if there is a collector.
    pub(crate) spans: Option<Arc<SpanCounts>>,
    /// Who knows the rest.
    pub(crate) agent: Asker,
}

impl Admin {
    /// Serves the listener's connections. Ends only if the listener fails.
    pub(crate) async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let admin = Arc::new(self);
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let room = room.clone().acquire_owned().await;
            let room = room.expect("nobody closes it");
            let socket = match listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) if is_of_one(&error) => continue,
                Err(error) => return Err(error),
            };
            let admin = admin.clone();
            task::spawn(async move {
                // Who does not end the connection, or breaks it, has had the answers.
                let _ended = timeout(CONNECTION, admin.connection(socket)).await;
                drop(room);
            });
        }
    }

    async fn connection(self: Arc<Self>, socket: TcpStream) -> hyper::Result<()> {
        let service = service_fn(move |request| {
            let admin = self.clone();
            async move { Ok::<_, Infallible>(admin.answer(request).await) }
        });
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(socket), service)
            .await
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
            let allow = hyper::header::HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allow);
            return response;
        }
        match request.uri().path() {
            "/healthz" => match self.agent.ask().await {
                Some(_) => plain(StatusCode::OK, "ok\n"),
                None => stuck(),
            },
            "/readyz" => match self.agent.ask().await.map(|seen| seen.in_the_way()) {
                Some(None) => plain(StatusCode::OK, "ok\n"),
                Some(Some(why)) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
                None => stuck(),
            },
            "/metrics" => self.metrics(&request).await,
            _ => plain(StatusCode::NOT_FOUND, "/metrics, /healthz or /readyz\n"),
        }
    }

    async fn metrics(self: Arc<Self>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let accept = request.headers().get(ACCEPT);
        let form = Exposition::accepted(accept.and_then(|it| it.to_str().ok()).unwrap_or(""));
        let service = match request.uri().query() {
            None => None,
            Some(query) => match query.strip_prefix("service=") {
                Some(name) => Some(name.to_owned()),
                None => return plain(StatusCode::BAD_REQUEST, "only service=NAME\n"),
            },
        };
        let node = match service {
            Some(_) => None,
            None => match self.agent.ask().await {
                Some(node) => Some(node),
                None => return stuck(),
            },
        };
        // Those of many services take a while to write.
        let written = task::spawn_blocking(move || {
            let metrics = &self.metrics;
            let which = |it: &str| service.as_deref().is_none_or(|service| it == service);
            let mut text = form.begin();
            if let Some(node) = &node {
                node_metrics(&mut text, node);
                if let Some(spans) = &self.spans {
                    span_metrics(&mut text, spans);
                }
            }
            text.layer7(&metrics.read_those(which), self.log.read());
            text.finish()
        });
        let written = written.await;
        let Ok(text) = written else {
            return plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "they cannot be written\n",
            );
        };
        let mut response = plain(StatusCode::OK, text);
        let content_type = hyper::header::HeaderValue::from_static(form.content_type());
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }
}

/// The agent does not answer.
fn stuck() -> Response<Full<Bytes>> {
    plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "the agent does not answer\n",
    )
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

/// Whether an error concerns the connection that was to be accepted, and not the listener.
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
