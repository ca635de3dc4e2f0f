//! An OpenTelemetry collector in the test's own process.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Instant,
};

use data_encoding::HEXLOWER;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span as WireSpan},
};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use crate::program::PATIENCE;

/// A span as a program exported it.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.name` of the program that made it.
    pub service: String,
    /// What it is about.
    pub name: String,
    /// 32 hex digits.
    pub trace: String,
    /// 16 hex digits.
    pub id: String,
    /// The span above it, perhaps of the other program; empty for a root.
    pub parent: String,
    /// Attributes, as text.
    pub attributes: HashMap<String, String>,
}

#[derive(Debug, Default)]
struct Received {
    spans: Mutex<Vec<Span>>,
    more: Condvar,
}

/// The collector; it ends when dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    received: Arc<Received>,
    _runtime: Runtime,
}

impl Collector {
    /// Listens for OTLP over gRPC on a free port.
    pub fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.set_nonblocking(true).expect("sockets can be set");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let received = Arc::new(Received::default());
        let service = TraceServiceServer::new(Service(Arc::clone(&received)));
        let incoming = {
            let _entered = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener);
            TcpListenerStream::new(listener.expect("the runtime takes the socket"))
        };
        runtime.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Self {
            address,
            received,
            _runtime: runtime,
        }
    }

    /// What the programs' configuration calls the endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until the spans received satisfy `enough`, and returns them.
    ///
    /// # Panics
    /// After [`PATIENCE`], showing what came.
    pub fn wait_for(&self, what: &str, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let deadline = Instant::now() + PATIENCE;
        let mut spans = self.received.spans.lock();
        while !enough(&spans) {
            let late = self.received.more.wait_until(&mut spans, deadline);
            assert!(!late.timed_out(), "no {what} among {spans:#?}");
        }
        spans.clone()
    }
}

/// The spans from `span` up to its root, `span` first. Ends early where a
/// parent was not exported.
pub fn ancestry<'a>(spans: &'a [Span], span: &'a Span) -> Vec<&'a Span> {
    let mut line = vec![span];
    let mut current = span;
    while let Some(parent) = spans
        .iter()
        .find(|other| other.id == current.parent && other.trace == current.trace)
    {
        line.push(parent);
        current = parent;
    }
    line
}

struct Service(Arc<Received>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let exported = request.into_inner().resource_spans;
        let spans = exported.into_iter().flat_map(spans_of);
        self.0.spans.lock().extend(spans);
        self.0.more.notify_all();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn spans_of(exported: ResourceSpans) -> Vec<Span> {
    let resource = exported.resource.map(|resource| texts(resource.attributes));
    let service = resource
        .and_then(|mut attributes| attributes.remove("service.name"))
        .unwrap_or_default();
    let scopes = exported.scope_spans.into_iter();
    scopes
        .flat_map(|scope| scope.spans)
        .map(|span| from_wire(&service, span))
        .collect()
}

fn from_wire(service: &str, span: WireSpan) -> Span {
    Span {
        service: service.to_owned(),
        name: span.name,
        trace: HEXLOWER.encode(&span.trace_id),
        id: HEXLOWER.encode(&span.span_id),
        parent: HEXLOWER.encode(&span.parent_span_id),
        attributes: texts(span.attributes),
    }
}

fn texts(attributes: Vec<KeyValue>) -> HashMap<String, String> {
    let text = |value| match value {
        Value::StringValue(text) => text,
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        Value::DoubleValue(value) => value.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .into_iter()
        .filter_map(|pair| Some((pair.key, text(pair.value?.value?))))
        .collect()
}
