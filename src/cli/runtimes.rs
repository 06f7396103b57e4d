//! `workplane runtimes` and `workplane hosts`.

use serde_json::json;

use super::client::ClientFlags;
use super::failure::Failure;
use super::output::{Table, get_is_meant, json as message_json, own_label, print_fields, print_json, time, word};
use crate::proto::v1::{GetHostRequest, GetRuntimeRequest, Host, ListHostsRequest, Runtime};

/// `workplane runtimes`.
#[derive(Debug, clap::Args)]
pub struct Runtimes {
    #[command(flatten)]
    client: ClientFlags,
    #[command(subcommand)]
    action: Option<RuntimeAction>,
}

#[derive(Debug, clap::Subcommand)]
enum RuntimeAction {
    /// Lists them all; the same as no word at all
    List,
    /// Shows one
    Get {
        /// Its id
        #[arg(value_name = "ID")]
        runtime_id: String,
    },
    #[command(external_subcommand)]
    Other(Vec<String>),
}

/// `workplane hosts`.
#[derive(Debug, clap::Args)]
pub struct Hosts {
    #[command(flatten)]
    client: ClientFlags,
    #[command(subcommand)]
    action: Option<HostAction>,
}

#[derive(Debug, clap::Subcommand)]
enum HostAction {
    /// Lists them all; the same as no word at all
    List,
    /// Shows one
    Get {
        /// Its id
        #[arg(value_name = "ID")]
        host_id: String,
    },
    #[command(external_subcommand)]
    Other(Vec<String>),
}

impl Runtimes {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if let Some(RuntimeAction::Other(words)) = &self.action {
            return Err(get_is_meant("runtimes", words));
        }
        let client = self.client.connect().await?;
        if let Some(RuntimeAction::Get { runtime_id }) = self.action {
            let response = client.runtimes().get_runtime(client.call(GetRuntimeRequest { runtime_id })).await?;
            let runtime = message_json("Runtime", &response.into_inner().runtime.unwrap_or_default())?;
            let print = if self.client.json() { print_json } else { print_fields };
            return Ok(print(&runtime)?);
        }
        let runtimes = client.all_runtimes().await?;
        if self.client.json() {
            let runtimes: Result<Vec<_>, _> = runtimes.iter().map(|runtime| message_json("Runtime", runtime)).collect();
            return Ok(print_json(&json!({ "runtimes": runtimes? }))?);
        }
        Ok(runtime_table(&runtimes).print()?)
    }
}

fn runtime_table(runtimes: &[Runtime]) -> Table {
    let mut table = Table::new(&["RUNTIME", "KIND", "STATUS", "VERSION", "LABEL"]);
    for runtime in runtimes {
        let kind = word(runtime.kind().as_str_name(), "RUNTIME_KIND");
        let status = word(runtime.status().as_str_name(), "RUNTIME_STATUS");
        let Runtime { runtime_id, version, label, .. } = runtime;
        table.row([runtime_id.as_str(), &kind, &status, version, own_label(label, runtime_id)]);
    }
    table
}

impl Hosts {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if let Some(HostAction::Other(words)) = &self.action {
            return Err(get_is_meant("hosts", words));
        }
        let client = self.client.connect().await?;
        if let Some(HostAction::Get { host_id }) = self.action {
            let response = client.hosts().get_host(client.call(GetHostRequest { host_id })).await?;
            let host = message_json("Host", &response.into_inner().host.unwrap_or_default())?;
            let print = if self.client.json() { print_json } else { print_fields };
            return Ok(print(&host)?);
        }
        let (mut hosts, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = client.call(ListHostsRequest { page_size: 1_000, page_token });
            let page = client.hosts().list_hosts(request).await?.into_inner();
            client.remark(page.diagnostics);
            hosts.extend(page.hosts);
            if page.next_page_token.is_empty() {
                break;
            }
            page_token = page.next_page_token;
        }
        if self.client.json() {
            let hosts: Result<Vec<_>, _> = hosts.iter().map(|host| message_json("Host", host)).collect();
            return Ok(print_json(&json!({ "hosts": hosts? }))?);
        }
        Ok(host_table(&hosts).print()?)
    }
}

fn host_table(hosts: &[Host]) -> Table {
    let mut table = Table::new(&["HOST", "RUNTIME", "STATUS", "KIND", "LAST SEEN"]);
    for host in hosts {
        let Host { host_id, runtime_id, status, kind, last_seen_at, .. } = host;
        table.row([host_id.as_str(), runtime_id, status, kind, &time(*last_seen_at)]);
    }
    table
}
