//! The words of `workplane doctor` and `workplane health`. What the first looks at is the composition root's.

use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::ClientFlags;
use super::dial::Whom;
use super::failure::Failure;
use super::output::{Format, line, plain, print_json};
use crate::config::{RuntimeFlags, ServeFlags};

/// `workplane doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorCommand {
    /// What to print
    #[arg(long, short, global = true, value_name = "FORM", value_enum, default_value_t)]
    output: Format,
    /// Whose configuration it is.
    #[command(subcommand)]
    pub role: DoctorRole,
}

impl DoctorCommand {
    /// Whether JSON is wanted.
    #[must_use]
    pub fn json(&self) -> bool {
        self.output == Format::Json
    }
}

/// Whose configuration is looked at; with the flags of that role.
#[derive(Debug, clap::Subcommand)]
pub enum DoctorRole {
    /// Looks at what `workplane serve` would be started with
    Serve(Box<ServeFlags>),
    /// Looks at what `workplane runtime` would be started with
    Runtime(Box<RuntimeFlags>),
}

/// `workplane health`.
#[derive(Debug, clap::Args)]
pub struct Health {
    #[command(flatten)]
    client: ClientFlags,
    /// Which service; all of the server where none is named
    #[arg(value_name = "SERVICE", default_value = "", hide_default_value = true)]
    service: String,
}

impl Health {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.client.connect_to(Whom::Any).await?;
        let request = client.call(HealthCheckRequest { service: self.service.clone() });
        let answer = HealthClient::new(client.line()).check(request).await;
        let answer = answer.map_err(|status| self.failed(status))?.into_inner();
        let status = answer.status().as_str_name();
        if self.client.json() {
            print_json(&serde_json::json!({ "status": status }))?;
        } else {
            line(&plain(status))?;
        }
        match answer.status() {
            ServingStatus::Serving => Ok(()),
            _ => Err(Failure::Other("it takes no calls".to_owned())),
        }
    }

    /// It may be a host, so that nothing is said of a control plane.
    fn failed(&self, status: Status) -> Failure {
        let words = plain(status.message()).into_owned();
        match (status.code(), Failure::from(status)) {
            (Code::NotFound, Failure::Status(_)) => {
                Failure::Other(format!("the server has no service {}", plain(&self.service)))
            }
            (Code::Unimplemented, Failure::Status(_)) => {
                Failure::Other("what answers there says nothing of health: it is no server of workplane".to_owned())
            }
            (code, Failure::Status(_)) => {
                Failure::Other(format!("the server did not answer, or the connection to it broke: {code:?}: {words}"))
            }
            (_, known) => known,
        }
    }
}
