//! Traces and logs.
//!
//! Every job is one trace: its root span belongs to the coordinator, the
//! agent's attempt and its S3 requests hang below it (see [`trace`]). Spans go
//! to an OTLP endpoint if one is configured; log lines carry the trace id
//! either way.

mod json;
mod text;
pub mod trace;

use std::{fmt, io::IsTerminal, sync::Arc};

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use serde::Deserialize;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

/// The `[telemetry]` table of both configuration files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// OTLP over gRPC, such as `http://127.0.0.1:4317`; absent: no export.
    pub otlp_endpoint: Option<String>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// A level (`info`) or a filter (`info,strongroom=debug`).
    pub log_level: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            log_format: LogFormat::Text,
            log_level: "info".into(),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, with `trace_id` and `span_id`.
    Json,
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log_level` is not a filter.
    #[error("telemetry.log_level {level:?} is not a level or filter: {problem}")]
    Level {
        /// As configured.
        level: String,
        /// Why.
        problem: String,
    },
    /// `otlp_endpoint` cannot be used.
    #[error("telemetry.otlp_endpoint {endpoint:?} cannot be used: {problem}")]
    Exporter {
        /// As configured.
        endpoint: String,
        /// Why.
        problem: String,
    },
    /// Somebody else was first.
    #[error("telemetry is set up already")]
    Twice,
}

/// Keeps telemetry alive; [`Telemetry::shutdown`] sends what is still queued.
pub struct Telemetry {
    provider: SdkTracerProvider,
    set_filter: LevelSetter,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

type SetFilter = dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync;

/// Changes what is logged, while the process runs.
#[derive(Clone)]
pub struct LevelSetter(Arc<SetFilter>);

impl fmt::Debug for LevelSetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LevelSetter")
    }
}

impl LevelSetter {
    /// Logs by this level or filter from now on.
    pub fn set(&self, level: &str) -> Result<(), TelemetryError> {
        (self.0)(filter(level)?).map_err(|error| TelemetryError::Level {
            level: level.to_owned(),
            problem: error.to_string(),
        })
    }
}

/// Whether the table can be used, as far as that is seen without using it.
pub fn check(config: &TelemetryConfig) -> Result<(), TelemetryError> {
    filter(&config.log_level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(level).map_err(|error| TelemetryError::Level {
        level: level.to_owned(),
        problem: error.to_string(),
    })
}

/// Sets up traces and logs (to standard error) for the whole process. Call it
/// once, inside a tokio runtime.
pub fn init(
    service: &'static str,
    version: &'static str,
    config: &TelemetryConfig,
) -> Result<Telemetry, TelemetryError> {
    let (filter, handle) = reload::Layer::new(filter(&config.log_level)?);
    let provider = tracer_provider(service, version, config)?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("strongroom"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_filter(EnvFilter::new("warn,strongroom=debug"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        // No colours in files and journals.
        LogFormat::Text => lines
            .with_target(false)
            .fmt_fields(text::fields())
            .with_ansi(std::io::stderr().is_terminal())
            .boxed(),
        LogFormat::Json => lines.with_ansi(false).event_format(json::JsonLines).boxed(),
    };
    tracing_subscriber::registry()
        .with(spans)
        .with(lines.with_filter(filter.and(filter_fn(|it| !is_foreign(it.target())))))
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;
    opentelemetry::global::set_tracer_provider(provider.clone());
    Ok(Telemetry {
        provider,
        set_filter: LevelSetter(Arc::new(move |filter| handle.reload(filter))),
    })
}

/// This driver logs statements, parameters and what servers remark: rows and
/// passwords may be among them, and at no level is that for a log.
fn is_foreign(target: &str) -> bool {
    target.starts_with("tokio_postgres")
}

fn tracer_provider(
    service: &'static str,
    version: &'static str,
    config: &TelemetryConfig,
) -> Result<SdkTracerProvider, TelemetryError> {
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(opentelemetry::KeyValue::new("service.version", version))
        .build();
    let builder = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_id_generator(trace::Ids::default());
    let Some(endpoint) = &config.otlp_endpoint else {
        // Without an exporter spans still have ids, for the log lines.
        return Ok(builder.build());
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| TelemetryError::Exporter {
            endpoint: endpoint.clone(),
            problem: error.to_string(),
        })?;
    Ok(builder.with_batch_exporter(exporter).build())
}

impl Telemetry {
    /// Changes what is logged.
    pub fn level(&self) -> LevelSetter {
        self.set_filter.clone()
    }

    /// Sends what is still queued. Blocks for a few seconds at most; losing a
    /// span is no reason to fail.
    pub fn shutdown(self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_strict_and_has_defaults() {
        let path = std::path::Path::new("agent.toml");
        let config: TelemetryConfig = crate::config::parse(path, "log_format = 'json'").unwrap();
        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!(config.log_level, "info");
        let error = crate::config::parse::<TelemetryConfig>(path, "otlp = 'x'").unwrap_err();
        assert!(error.to_string().contains("otlp_endpoint"), "{error}");
    }
}
