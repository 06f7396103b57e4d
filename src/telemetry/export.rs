//! Traces to a collector, over OTLP, where the configuration names one.
//!
//! A collector that is away costs no call anything: spans wait in a queue with an end, are sent by a thread of their own, and
//! are lost where there are too many. The end of a process waits for the last of them, not for long.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter as Export};
use tokio::time::timeout;

use crate::config::TracesConfig;
use crate::traces;

/// How long a collector may take for one batch.
const EXPORT: Duration = Duration::from_secs(5);
/// How long the end waits for the last of them.
const END: Duration = Duration::from_secs(1);

/// Traces that go to a collector.
#[derive(Debug)]
pub struct Exported(SdkTracerProvider);

impl Exported {
    /// Begins to trace, and to send what is traced. Its connection is made on the current runtime, and not yet.
    ///
    /// # Errors
    /// The endpoint is none.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn begin(config: &TracesConfig) -> Result<Self, ExporterBuildError> {
        let endpoint = config.endpoint.to_string();
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT).build()?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Told { exporter, fails: AtomicBool::new(false) })
            // Who is in a trace already has decided whether it is kept; strangers do not get as far as that.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample))))
            .with_resource(Resource::builder().with_service_name("workplane").with_attribute(version).build())
            .build();
        global::set_tracer_provider(provider.clone());
        traces::begin();
        tracing::info!(sample = config.sample, "traces are sent to a collector");
        Ok(Self(provider))
    }

    /// Sends the last of them, as far as that takes no longer than a second.
    pub async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(END));
        if !matches!(timeout(END, ended).await, Ok(Ok(Ok(())))) {
            tracing::info!("the collector did not take the last traces");
        }
    }
}

/// Says when the collector begins to fail, and when it is back.
struct Told {
    exporter: SpanExporter,
    fails: AtomicBool,
}

impl Export for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        if self.fails.swap(sent.is_err(), Ordering::Relaxed) != sent.is_err() {
            // What the collector says is somebody else's text.
            if sent.is_err() {
                tracing::warn!("the collector of traces is away: spans are lost until it is back");
            } else {
                tracing::info!("the collector of traces is back");
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").field("fails", &self.fails).finish_non_exhaustive()
    }
}
