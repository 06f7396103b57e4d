//! What of this process is seen from outside: metrics that can be asked for, and traces that are sent.

use tokio_util::task::AbortOnDropHandle;

use super::AppError;
use super::standing::Standing;
use crate::config::ServerConfig;
use crate::telemetry::export::Exported;
use crate::telemetry::scrape::Endpoint;

/// What is to be seen of this process, where the configuration says so.
pub(super) struct Observed {
    metrics: Option<Endpoint>,
    traces: Option<Exported>,
}

impl Observed {
    /// Begins. Before all else is made: what is there earlier is not counted.
    ///
    /// # Errors
    /// The address for metrics cannot be had, or the collector is named wrongly.
    pub(super) async fn begin(config: &ServerConfig) -> Result<Self, AppError> {
        let metrics = match config.metrics_listen {
            Some(address) => Some(Endpoint::open(address).await.map_err(|error| AppError::Metrics(address, error))?),
            None => None,
        };
        let traces = config.traces.as_ref().map(Exported::begin).transpose();
        Ok(Self { metrics, traces: traces.map_err(|error| AppError::Traces(error.to_string()))? })
    }

    /// Serves metrics, with what stands, until what is returned is dropped.
    pub(super) fn serve(&mut self, standing: Standing) -> Option<AbortOnDropHandle<()>> {
        self.metrics.take().map(|endpoint| endpoint.serve(move |text| standing.write(text)))
    }

    /// Sends the last traces.
    pub(super) async fn end(self) {
        if let Some(traces) = self.traces {
            traces.end().await;
        }
    }
}
