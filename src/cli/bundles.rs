//! `workplane bundles`.

use serde_json::json;

use super::bundle_file;
use super::client::{Client, ClientFlags};
use super::failure::Failure;
use super::output::{Table, json as message_json, print_fields, print_json};
use super::spawn::refuse_unless_accepted;
use crate::proto::v1::{
    CheckConfigBundleRequest, ConfigBundleRef, ConfigBundleSummary, ListConfigBundlesRequest,
    RemoveConfigBundleRequest, SyncConfigBundleRequest,
};

/// `workplane bundles`.
#[derive(Debug, clap::Args)]
pub struct Bundles {
    #[command(flatten)]
    client: ClientFlags,
    /// The runtime whose bundles are meant; without it the only one, or the embedded one
    #[arg(long, global = true, value_name = "ID", env = "WORKPLANE_RUNTIME")]
    runtime: Option<String>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists them all; the same as no word at all
    List,
    /// Checks that the runtime has a bundle with just this digest
    Check {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
        /// Its digest: lower-case hex SHA-256
        #[arg(value_name = "DIGEST")]
        digest: String,
    },
    /// Gives the runtime a bundle
    #[command(
        long_about = "Gives the runtime a bundle. The file is JSON or TOML, with the fields of the API's ConfigBundle: \
                      metadata (id, revision, workspace_id, created_at, provenance), profiles and declarations. A \
                      digest that stands in it must be the bundle's; without one it is computed."
    )]
    Sync {
        /// The file; `-` reads standard input
        #[arg(value_name = "FILE")]
        file: String,
        /// Makes a repeat of this command the same request
        #[arg(long, value_name = "ID", default_value = "")]
        request_id: String,
    },
    /// Removes a bundle that no worker uses any more
    #[command(
        long_about = "Removes the bundle with just this digest; others of its id stay. It is refused while a worker \
                      that has not ended was made with it."
    )]
    Remove {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
        /// Its digest: lower-case hex SHA-256
        #[arg(value_name = "DIGEST")]
        digest: String,
        /// Makes a repeat of this command the same request
        #[arg(long, value_name = "ID", default_value = "")]
        request_id: String,
    },
}

impl Bundles {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let as_json = self.client.json();
        // A file that is no bundle is told of before anybody is asked.
        let given = match &self.action {
            Some(Action::Sync { file, .. }) => Some(bundle_file::read(file)?),
            _ => None,
        };
        let client = self.client.connect().await?;
        let runtime_id = client.runtime(self.runtime).await?;
        match self.action {
            Some(Action::Sync { file: _, request_id }) => {
                let request = SyncConfigBundleRequest { runtime_id, bundle: given, request_id };
                let response = client.bundles().sync_config_bundle(client.call(request)).await?.into_inner();
                print(as_json, &message_json("SyncConfigBundleResponse", &response)?)?;
                refuse_unless_accepted("the bundle was not taken", response.state(), response.diagnostics)
            }
            Some(Action::Check { id, digest }) => {
                let reference = Some(ConfigBundleRef { id, digest });
                let request = client.call(CheckConfigBundleRequest { runtime_id, reference });
                let response = client.bundles().check_config_bundle(request).await?.into_inner();
                print(as_json, &message_json("CheckConfigBundleResponse", &response)?)?;
                refuse_unless_accepted(
                    "the bundle was not found as it was asked for",
                    response.state(),
                    response.diagnostics,
                )
            }
            Some(Action::Remove { id, digest, request_id }) => {
                let reference = Some(ConfigBundleRef { id, digest });
                let request = client.call(RemoveConfigBundleRequest { runtime_id, reference, request_id });
                let response = client.bundles().remove_config_bundle(request).await?.into_inner();
                print(as_json, &message_json("RemoveConfigBundleResponse", &response)?)?;
                refuse_unless_accepted("the bundle was not removed", response.state(), response.diagnostics)
            }
            Some(Action::List) | None => list(&client, runtime_id, as_json).await,
        }
    }
}

fn print(as_json: bool, answer: &serde_json::Value) -> std::io::Result<()> {
    if as_json { print_json(answer) } else { print_fields(answer) }
}

async fn list(client: &Client, runtime_id: String, as_json: bool) -> Result<(), Failure> {
    let mut request = ListConfigBundlesRequest { runtime_id, page_size: 1_000, page_token: String::new() };
    let mut bundles = Vec::new();
    loop {
        let page = client.bundles().list_config_bundles(client.call(request.clone())).await?.into_inner();
        client.remark(page.diagnostics);
        bundles.extend(page.bundles);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if as_json {
        let bundles: Result<Vec<_>, _> =
            bundles.iter().map(|bundle| message_json("ConfigBundleSummary", bundle)).collect();
        return Ok(print_json(&json!({ "bundles": bundles? }))?);
    }
    let mut table = Table::new(&["BUNDLE", "REVISION", "WORKSPACE", "PROFILES", "DECLARATIONS", "DIGEST"]);
    for bundle in &bundles {
        let ConfigBundleSummary { id, revision, workspace_id, digest, profile_count, declaration_count, .. } = bundle;
        let counts = [profile_count.to_string(), declaration_count.to_string()];
        table.row([id.as_str(), revision, workspace_id, &counts[0], &counts[1], digest]);
    }
    Ok(table.print()?)
}
