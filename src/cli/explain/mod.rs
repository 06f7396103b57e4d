//! `workplane explain`: how a worker is, and how that is known.

mod findings;
mod recent;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tonic::Code;

use self::findings::{Finding, Situation, Verdict, time};
use self::recent::Recent;
use super::client::{Client, ClientFlags, WorkerName};
use super::failure::Failure;
use super::frame::frame_line;
use super::output::{Table, json as message_json, line, plain, print_json};
use crate::proto::v1::{
    Approval, GetRuntimeRequest, GetWorkerRequest, ListApprovalsRequest, ObservationFrame, Runtime, Worker,
    WorkerActivity,
};

/// Of an event no more is told on a line.
const LONGEST: usize = 160;
/// Nor of what an answer rests on, which may be the end of what a program wrote to its standard error.
const LONGEST_EVIDENCE: usize = 400;

/// `workplane explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    #[command(flatten)]
    worker: WorkerName,
    #[command(flatten)]
    client: ClientFlags,
}

impl Explain {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.client.connect().await?;
        let (runtime_id, worker_id) = self.worker.resolve(&client).await?;
        let (situation, note) = look(&client, &runtime_id, &worker_id).await?;
        let verdict = situation.verdict();
        if self.client.json() {
            print_json(&as_json(&situation, &verdict, note.as_deref())?)?;
        } else {
            line(&format!("{}/{}: {}", plain(&runtime_id), plain(&worker_id), verdict.words))?;
            print(&situation, note.as_deref())?;
        }
        match verdict {
            Verdict { code: 0, .. } => Ok(()),
            Verdict { code, words } => Err(Failure::Verdict { code, words: words.to_owned() }),
        }
    }
}

/// Asks for all there is to know.
async fn look(client: &Client, runtime_id: &str, worker_id: &str) -> Result<(Situation, Option<String>), Failure> {
    let request = client.call(GetRuntimeRequest { runtime_id: runtime_id.to_owned() });
    let runtime = client.runtimes().get_runtime(request).await?.into_inner().runtime.unwrap_or_default();
    let request = GetWorkerRequest { runtime_id: runtime_id.to_owned(), worker_id: worker_id.to_owned() };
    let worker = match client.workers().get_worker(client.call(request)).await {
        Ok(answer) => answer.into_inner().worker,
        Err(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => None,
        Err(status) => return Err(status.into()),
    };
    // Of a host that was lost in between this says so.
    let runtime = if worker.is_none() { Runtime { status: 0, ..runtime } } else { runtime };
    let (recent, approvals) = match &worker {
        Some(worker) if !worker.stale => (Recent::of(client, worker).await, approvals(client, worker).await),
        Some(_) => (Recent::out_of_reach(), Vec::new()),
        None => (Recent::default(), Vec::new()),
    };
    let Recent { frames, now, note } = recent;
    let now = now.unwrap_or_else(SystemTime::now);
    Ok((Situation { worker, runtime, approvals, recent: frames.into(), now }, note))
}

/// What it waits to be allowed; a host that cannot say leaves that open.
async fn approvals(client: &Client, worker: &Worker) -> Vec<Approval> {
    if worker.activity() != WorkerActivity::Waiting {
        return Vec::new();
    }
    let (runtime_id, worker_id) = (worker.runtime_id.clone(), worker.worker_id.clone());
    let request = client.call(ListApprovalsRequest { runtime_id, worker_id });
    let answer = client.workers().list_approvals(request).await;
    answer.map(|answer| answer.into_inner().approvals).unwrap_or_default()
}

fn print(situation: &Situation, note: Option<&str>) -> Result<(), Failure> {
    let mut table = Table::new(&["QUESTION", "ANSWER", "AGE", "EVIDENCE"]);
    for Finding { name, answer, since, evidence } in situation.findings() {
        let age = age(since, situation.now);
        table.row([name, answer.word(), &age, &short(&evidence, LONGEST_EVIDENCE)]);
    }
    table.print()?;
    if !situation.recent.is_empty() {
        line("\nThe last events:")?;
    }
    for frame in &situation.recent {
        let age = age(time(frame.observed_at), situation.now);
        line(&short(&format!("{age:>10} ago  {}", frame_line(frame)), LONGEST))?;
    }
    note.map_or(Ok(()), |note| Ok(line(&format!("\n{}", plain(note)))?))
}

fn as_json(situation: &Situation, verdict: &Verdict, note: Option<&str>) -> Result<Value, Failure> {
    let finding = |Finding { name, answer, since, evidence }: Finding| {
        let since = since.map(|since| humantime::format_rfc3339_millis(since).to_string());
        json!({ "name": name, "answer": answer.word(), "since": since, "evidence": evidence })
    };
    let events: Result<Vec<_>, _> =
        situation.recent.iter().map(|frame: &ObservationFrame| message_json("ObservationFrame", frame)).collect();
    Ok(json!({
        "verdict": { "code": verdict.code, "words": verdict.words },
        "now": humantime::format_rfc3339_millis(situation.now).to_string(),
        "findings": situation.findings().into_iter().map(finding).collect::<Vec<_>>(),
        "worker": situation.worker.as_ref().map(|worker| message_json("Worker", worker)).transpose()?,
        "runtime": message_json("Runtime", &situation.runtime)?,
        "approvals": situation.approvals.iter().map(|it| message_json("Approval", it)).collect::<Result<Vec<_>, _>>()?,
        "events": events?,
        "events_note": note,
    }))
}

/// How long ago, to the second; two clocks may differ, so what is yet to come is now.
fn age(since: Option<SystemTime>, now: SystemTime) -> String {
    let Some(since) = since else { return String::new() };
    let age = now.duration_since(since).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(age.as_secs())).to_string()
}

/// The beginning of a text.
fn short(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}
