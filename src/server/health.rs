//! `grpc.health.v1` for the server as a whole and for each of its services: `NOT_SERVING` until told otherwise.

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// What health checks are told. Clones tell the same.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    services: &'static [&'static str],
}

impl Health {
    /// Not serving yet.
    pub(super) async fn new(reporter: HealthReporter, services: &'static [&'static str]) -> Self {
        let health = Self { reporter, services };
        health.not_serving().await;
        health
    }

    /// Of a server without services, for tests.
    #[cfg(test)]
    pub(crate) async fn of_nobody() -> Self {
        Self::new(HealthReporter::new(), &[]).await
    }

    /// From now on the server takes calls.
    pub async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// From now on balancers are to send nobody here.
    pub async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        // The empty name is the server.
        for service in [""].iter().chain(self.services) {
            self.reporter.set_service_status(*service, status).await;
        }
    }
}
