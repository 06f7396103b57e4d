//! The rounds on a disk: the engine on both stores, the binary with both, and etcd.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;
use workplane::model::{InputKind, RequestId};

use crate::bed::Bed;
use crate::etcd::Etcd;
use crate::grpc::Driven;
use crate::load::{Measured, bare, load};
use crate::verdict::{Verdict, median};

/// So many, where `WORKPLANE_STORE_ROUNDS` does not say another number.
const ROUNDS: usize = 9;
const WAITING: usize = 64;

/// What is sent.
#[derive(Clone, Copy)]
struct Form {
    name: &'static str,
    workers: usize,
    with_id: bool,
}

const MANY: Form = Form { name: "64 workers", workers: WAITING, with_id: false };
const ONE: Form = Form { name: "one worker", workers: 1, with_id: false };
const MANY_WITH_ID: Form = Form { name: "64 workers, with request_id", workers: WAITING, with_id: true };

/// What was found in each round, by name.
type Ratios = BTreeMap<String, Vec<f64>>;

pub(crate) async fn run(disk: &Path, verdict: &mut Verdict) {
    let mut ratios = Ratios::new();
    let has_etcd = Etcd::is_there();
    let asked = env::var_os("WORKPLANE_STORE_ROUNDS").and_then(|asked| asked.to_str()?.parse().ok());
    let rounds = asked.unwrap_or(ROUNDS);
    for round in 1..=rounds {
        println!("round {round} of {rounds}, in {}", disk.display());
        let dir = tempfile::tempdir_in(disk).unwrap();
        one_at_a_time(dir.path(), &mut ratios).await;
        for form in [MANY, ONE, MANY_WITH_ID] {
            in_process(dir.path(), form, &mut ratios).await;
        }
        let durable = over_grpc(dir.path(), &mut ratios).await;
        if has_etcd {
            let put = Etcd::start(dir.path()).await.put(WAITING).await;
            let put = tell(&mut ratios, "etcd: put, 64 at once", put);
            add(&mut ratios, "gRPC, 64 workers ÷ etcd's put", durable.0.rate / put.rate);
            add(&mut ratios, "gRPC, one worker ÷ etcd's put", durable.1.rate / put.rate);
        }
    }
    for (what, ratios) in &ratios {
        let ratio = median(ratios.clone());
        match what.as_str() {
            what if what.ends_with("one fdatasync") => verdict.at_most(what, ratio, 2.5),
            what if what.ends_with("each write") => verdict.at_most(what, ratio, 1.0),
            what if what.ends_with("etcd's put") => verdict.at_least(what, ratio, 1.5, 2.5),
            what if what.contains("processor time") => verdict.told(what, ratio),
            what if what.starts_with("gRPC") => verdict.at_least(what, ratio, 0.6, 0.8),
            // Without a wire, the store in memory does nothing at all, and a sync is all there is.
            what => verdict.told(what, ratio),
        }
    }
    if !has_etcd {
        verdict.skipped("gRPC ÷ etcd's put", "etcd is not installed here (Debian: etcd-server)");
    }
}

/// Prints what was measured, and keeps the processor time.
fn tell(ratios: &mut Ratios, what: &str, (measured, [server, client]): (Measured, [f64; 2])) -> Measured {
    measured.tell(what);
    add(ratios, format!("{what}: µs of processor time each, server"), server);
    add(ratios, format!("{what}: µs of processor time each, client"), client);
    measured
}

fn add(ratios: &mut Ratios, what: impl Into<String>, ratio: f64) {
    ratios.entry(what.into()).or_default().push(ratio);
}

/// One input after the other, beside one sync after the other.
async fn one_at_a_time(dir: &Path, ratios: &mut Ratios) {
    let raw = bare(dir);
    raw.tell("bare: append 200 bytes, fdatasync");
    let bed = Bed::on_disk(&dir.join("one")).await;
    let (before, measured) = (bed.disk.so_far(), drive(&bed, 1, ONE).await);
    let after = bed.disk.so_far();
    measured.tell("in process, fs_store: 1 at once");
    add(
        ratios,
        "in process, 1 at once: p50 ÷ that of one fdatasync",
        measured.p50.as_secs_f64() / raw.p50.as_secs_f64(),
    );
    add(ratios, "in process, 1 at once: syncs for each write", per(after.1 - before.1, after.0 - before.0));
}

/// The same load on the store in memory and on the one on disk.
async fn in_process(dir: &Path, form: Form, ratios: &mut Ratios) {
    let memory = drive(&Bed::in_memory().await, WAITING, form).await;
    memory.tell(&format!("in process, memory: {}", form.name));
    let bed = Bed::on_disk(&dir.join(form.name)).await;
    let (before, durable) = (bed.disk.so_far(), drive(&bed, WAITING, form).await);
    let after = bed.disk.so_far();
    durable.tell(&format!("in process, fs_store: {}", form.name));
    println!("  {:<44} {:>9.1} inputs for each sync", "", durable.rate * 0.6 / per(after.1 - before.1, 1));
    add(ratios, format!("in process, 64 at once, {}: fs_store ÷ memory", form.name), durable.rate / memory.rate);
    add(ratios, "in process, 64 at once: syncs for each write", per(after.1 - before.1, after.0 - before.0));
}

async fn drive(bed: &Bed, waiting: usize, form: Form) -> Measured {
    let workers = Arc::new(bed.spawn_many(form.workers).await);
    let bed = bed.clone();
    load(waiting, move |n| {
        let (bed, workers) = (bed.clone(), Arc::clone(&workers));
        async move {
            let request_id = form.with_id.then(|| RequestId::new(&Uuid::now_v7().to_string()).unwrap());
            bed.send_as(&workers[n % workers.len()], InputKind::System, request_id).await;
        }
    })
    .await
}

/// The binary without and with a data directory: what the latter does over 64 workers and over one.
async fn over_grpc(dir: &Path, ratios: &mut Ratios) -> (Measured, Measured) {
    let (memory, durable) = (Driven::start(None).await, Driven::start(Some(&dir.join("plane"))).await);
    let mut both = [MANY, ONE].map(|form| (form, None));
    for (form, done) in &mut both {
        let (fast, kept) = (memory.drive(WAITING, form.workers).await, durable.drive(WAITING, form.workers).await);
        let kept = tell(ratios, &format!("gRPC, fs_store: {}", form.name), kept);
        let fast = tell(ratios, &format!("gRPC, memory: {}", form.name), fast);
        add(ratios, format!("gRPC, 64 at once, {}: fs_store ÷ memory", form.name), kept.rate / fast.rate);
        *done = Some(kept);
    }
    let [many, one] = both.map(|(_, done)| done.unwrap());
    (many, one)
}

fn per(count: u64, of: u64) -> f64 {
    let float = |n: u64| u32::try_from(n).map_or(f64::MAX, f64::from);
    float(count) / float(of.max(1))
}
