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

use super::{AccessLog, Exposition, LogReading, Metrics};

/// Connections at the same time; others wait.
const CONNECTIONS_MAX: usize = 32;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may last.
const CONNECTION: Duration = Duration::from_mins(10);

/// What is told of the engine over HTTP, to those who may reach the listener: by itself it asks nobody who they are, so it belongs on
/// loopback.
///
/// - `/metrics`: what is counted, in the form that is asked for; `?service=NAME` of one service alone
/// - `/healthz`: 200 as long as the process serves
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whose lines are counted.
    pub log: Option<Arc<AccessLog>>,
}

impl Admin {
    /// Serves the listener's connections. Ends only if the listener fails.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
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
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            "/metrics" => self.metrics(&request).await,
            _ => plain(StatusCode::NOT_FOUND, "/metrics or /healthz\n"),
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
        // Those of many services take a while to write.
        let written = task::spawn_blocking(move || self.written(form, service.as_deref())).await;
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

    fn written(&self, form: Exposition, service: Option<&str>) -> String {
        let reading = self
            .metrics
            .read_those(|it| service.is_none_or(|service| it == service));
        let log = self
            .log
            .as_ref()
            .map_or_else(LogReading::default, |it| it.read());
        form.write(&reading, log)
    }
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
