//! Trace context across processes, and root spans that outlive one.
//!
//! A job may start before a coordinator restarts and end after it. Its trace
//! and root span ids are therefore chosen when the job is made and kept in the
//! catalog; the span itself is recorded when the job ends, with those ids.

use std::{cell::Cell, collections::HashMap, time::SystemTime};

use jiff::Timestamp;
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{
        Span as _, SpanBuilder, SpanId, SpanKind, Status, TraceContextExt, TraceId, Tracer,
        TracerProvider,
    },
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{IdGenerator, RandomIdGenerator},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header that carries the context, W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";

/// The ids of a job's trace and of its root span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootIds {
    /// 32 hex digits.
    pub trace: TraceId,
    /// 16 hex digits.
    pub span: SpanId,
}

impl RootIds {
    /// New, random ones.
    pub fn random() -> Self {
        let ids = RandomIdGenerator::default();
        Self {
            trace: ids.new_trace_id(),
            span: ids.new_span_id(),
        }
    }

    /// From their hex forms; `None` when either is not valid.
    pub fn from_hex(trace: &str, span: &str) -> Option<Self> {
        let ids = Self {
            trace: TraceId::from_hex(trace).ok()?,
            span: SpanId::from_hex(span).ok()?,
        };
        (ids.trace != TraceId::INVALID && ids.span != SpanId::INVALID).then_some(ids)
    }

    /// The `traceparent` of children of this root.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }
}

/// Makes `span` a child of the span that a `traceparent` names. A value that
/// is not valid leaves the span as it is: traces never fail the work.
pub fn set_parent(span: &Span, traceparent: &str) {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    if context.span().span_context().is_valid() {
        // It fails only for spans that are filtered out.
        let _ = span.set_parent(context);
    }
}

/// The `traceparent` of children of the current span, if it has a trace.
pub fn current_traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Puts the current span's context into gRPC metadata.
pub fn inject(metadata: &mut tonic::metadata::MetadataMap) {
    if let Some(value) = current_traceparent().and_then(|text| text.parse().ok()) {
        metadata.insert(TRACEPARENT, value);
    }
}

/// Makes `span` a child of the caller's span, as gRPC metadata names it.
pub fn set_parent_from(span: &Span, metadata: &tonic::metadata::MetadataMap) {
    if let Some(value) = metadata.get(TRACEPARENT).and_then(|v| v.to_str().ok()) {
        set_parent(span, value);
    }
}

/// A root span that has ended.
#[derive(Debug)]
pub struct RootSpan {
    /// Such as `job backup`.
    pub name: String,
    /// As kept in the catalog.
    pub ids: RootIds,
    /// When the job was made.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What is worth a search.
    pub attributes: Vec<(&'static str, String)>,
    /// What went wrong, if it failed.
    pub error: Option<String>,
}

impl RootSpan {
    /// Records it with its own ids and times.
    pub fn record(self) {
        let tracer = opentelemetry::global::tracer_provider().tracer("strongroom");
        self.record_with(&tracer);
    }

    fn record_with<T: Tracer>(self, tracer: &T) {
        let builder = SpanBuilder::from_name(self.name)
            .with_kind(SpanKind::Producer)
            .with_start_time(SystemTime::from(self.start))
            .with_attributes(
                self.attributes
                    .into_iter()
                    .map(|(key, value)| KeyValue::new(key, value)),
            );
        NEXT.set(Some(self.ids));
        let mut span = tracer.build_with_context(builder, &Context::new());
        NEXT.set(None);
        if let Some(error) = self.error {
            span.set_status(Status::error(error));
        }
        span.end_with_timestamp(SystemTime::from(self.end));
    }
}

thread_local! {
    /// The ids of the root span that this thread is about to build: the SDK
    /// asks its generator for ids within the call that builds a span.
    static NEXT: Cell<Option<RootIds>> = const { Cell::new(None) };
}

/// Random ids, except for a root span that brings its own.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get()
            .map_or_else(|| self.0.new_trace_id(), |ids| ids.trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get()
            .map_or_else(|| self.0.new_span_id(), |ids| ids.span)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_root_span_keeps_its_ids_and_its_children_hang_below_it() {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_id_generator(Ids::default())
            .with_simple_exporter(exporter.clone())
            .build();
        let tracer = provider.tracer("test");
        let ids = RootIds::random();
        let subscriber = tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")));

        // The child is first to end, as it would be on the agent.
        let onwards = tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("attempt");
            set_parent(&span, &ids.traceparent());
            span.in_scope(current_traceparent)
        });
        let start = Timestamp::from_second(1_700_000_000).unwrap();
        let root = RootSpan {
            name: "job".into(),
            ids,
            start,
            end: start + jiff::SignedDuration::from_mins(1),
            attributes: vec![("strongroom.policy", "web".into())],
            error: None,
        };
        root.record_with(&tracer);

        let spans = exporter.get_finished_spans().unwrap();
        let child = spans.iter().find(|span| span.name == "attempt").unwrap();
        let root = spans.iter().find(|span| span.name == "job").unwrap();
        assert_eq!(root.span_context.trace_id(), ids.trace);
        assert_eq!(root.span_context.span_id(), ids.span);
        assert_eq!(root.parent_span_id, SpanId::INVALID);
        assert_eq!(child.span_context.trace_id(), ids.trace);
        assert_eq!(child.parent_span_id, ids.span);
        let onwards = onwards.unwrap();
        assert!(onwards.contains(&child.span_context.span_id().to_string()));
        assert_eq!(
            RootIds::from_hex(&ids.trace.to_string(), &ids.span.to_string()),
            Some(ids)
        );
    }

    #[test]
    fn ids_that_are_not_valid_are_refused() {
        assert_eq!(RootIds::from_hex(&"0".repeat(32), &"1".repeat(16)), None);
        assert_eq!(RootIds::from_hex("x", "y"), None);
    }
}
