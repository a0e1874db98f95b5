//! A collector of traces that a test plays: a server of OTLP made of what OpenTelemetry publishes, as Debian has none.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use lbfabric_proto::otlp::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// It keeps all that it gets, as long as it lives.
pub(crate) struct PlayedCollector {
    heard: Heard,
    task: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Heard {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut heard = self.0.lock().expect("nobody panics with it");
        heard.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl PlayedCollector {
    pub(crate) async fn start(address: SocketAddr) -> Self {
        let heard = Heard::default();
        let listener = TcpListener::bind(address).await.expect("a free port");
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(heard.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { server.await.expect("the played collector serves") });
        Self { heard, task }
    }

    /// Those of a trace, as they came.
    pub(crate) fn spans_of(&self, trace_id: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|it| hexadecimal(&it.trace_id) == trace_id);
        spans
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let heard = self.heard.0.lock().expect("nobody panics with it");
        let of = heard.iter().flat_map(|it| &it.resource_spans);
        let scopes = of.flat_map(|it| &it.scope_spans);
        scopes.flat_map(|it| it.spans.clone()).collect()
    }

    /// Attributes of all resources, as text.
    pub(crate) fn resources(&self) -> Vec<(String, String)> {
        let heard = self.heard.0.lock().expect("nobody panics with it");
        let of = heard.iter().flat_map(|it| &it.resource_spans);
        let attributes = of.flat_map(|it| it.resource.iter().flat_map(|it| &it.attributes));
        let mut all: Vec<_> = attributes.map(|it| (it.key.clone(), text(it))).collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Drop for PlayedCollector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a text takes all");
    }
    text
}

/// An attribute as text; none if the span does not have it.
pub(crate) fn attribute(span: &Span, key: &str) -> Option<String> {
    span.attributes.iter().find(|it| it.key == key).map(text)
}

fn text(attribute: &KeyValue) -> String {
    match attribute.value.as_ref().and_then(|it| it.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => panic!("{}: {other:?}", attribute.key),
    }
}
