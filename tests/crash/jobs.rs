//! What is asked beside inputs while servers are killed: spawns, stops, bundles. Each is asked again under its id until
//! somebody answers, and must have happened once.

use futures_util::future::join_all;
use workplane::proto::v1;
use workplane::proto::v1::OperationState;

use crate::load::{Load, asked};
use crate::support::bundle::bundle;
use crate::support::{Client, Worker};

/// The label that says by which request a worker was made.
const LABEL: &str = "made-by";

/// Jobs of one round, and what was answered.
#[derive(Debug)]
pub(crate) struct Jobs {
    client: Client,
    name: String,
    done: Vec<Job>,
}

/// A worker that was made and ended again, and a bundle that was stored.
#[derive(Debug)]
struct Job {
    request_id: String,
    worker: Worker,
    /// The sequence of its `end`, where the answer to the stop said it.
    end: Option<u64>,
    bundle: v1::ConfigBundleRef,
}

impl Jobs {
    pub(crate) fn new(client: Client, name: &str) -> Self {
        Self { client, name: name.to_owned(), done: Vec::new() }
    }

    /// Does one job after the other on each runtime until the load is over.
    pub(crate) async fn run(&mut self, load: &Load, runtimes: &[&str]) {
        let this = &*self;
        let lanes = runtimes.iter().map(|runtime_id| async move {
            let mut done = Vec::new();
            while !load.is_over() {
                done.push(this.job(runtime_id, done.len()).await);
            }
            done
        });
        let done = join_all(lanes).await;
        self.done.extend(done.into_iter().flatten());
    }

    async fn job(&self, runtime_id: &str, n: usize) -> Job {
        let request_id = format!("{}-job-{n}", self.name);
        let spawn = v1::SpawnWorkerRequest {
            request_id: request_id.clone(),
            labels: [(LABEL.to_owned(), request_id.clone())].into(),
            ..Worker::request(runtime_id, ["builtin:catalog", "builtin:coder"][n % 2])
        };
        let workers = self.client.workers();
        let spawned = asked("a job", || {
            let (mut workers, spawn) = (workers.clone(), spawn.clone());
            async move { workers.spawn_worker(spawn).await }
        });
        let worker = Worker::of(
            self.client.clone(),
            &spawned.await.into_inner().worker.expect("an accepted spawn has a worker"),
        );
        let mut bundle = bundle();
        let metadata = bundle.metadata.as_mut().unwrap();
        metadata.id.clone_from(&request_id);
        let runtime_id = runtime_id.to_owned();
        let sync = v1::SyncConfigBundleRequest { runtime_id, bundle: Some(bundle), request_id: request_id.clone() };
        let bundles = self.client.bundles();
        let synced = asked("a job", || {
            let (mut bundles, sync) = (bundles.clone(), sync.clone());
            async move { bundles.sync_config_bundle(sync).await }
        });
        let bundle = synced.await.into_inner().availability.and_then(|there| there.reference).expect("it is there");
        let (runtime_id, worker_id) = worker.ids();
        let stop = v1::StopWorkerRequest {
            runtime_id,
            worker_id,
            mode: v1::StopMode::Force.into(),
            request_id: request_id.clone(),
            ..Default::default()
        };
        let stopped = asked("a job", || {
            let (mut workers, stop) = (workers.clone(), stop.clone());
            async move { workers.stop_worker(stop).await }
        });
        let end = stopped.await.into_inner().event_id;
        Job { request_id, worker, end, bundle }
    }

    /// Each has happened, once.
    pub(crate) async fn check(&self) {
        for Job { request_id, worker, end, bundle } in &self.done {
            let labels = [(LABEL.to_owned(), request_id.clone())].into();
            let runtime_id = worker.runtime_id.clone();
            let list = v1::ListWorkersRequest {
                labels,
                fresh: true,
                runtime_id: Some(runtime_id.clone()),
                ..Default::default()
            };
            let listed = asked("a list", || {
                let (mut workers, list) = (self.client.workers(), list.clone());
                async move { workers.list_workers(list).await }
            });
            let listed = listed.await.into_inner().workers;
            assert_eq!(listed.len(), 1, "{request_id} made {} workers", listed.len());
            assert_eq!(listed[0].worker_id, worker.worker_id);
            assert!(listed[0].termination.is_some(), "{request_id}: it was stopped and runs");
            if let Some(end) = *end {
                assert_eq!(
                    (listed[0].last_event_id, listed[0].termination.as_ref().unwrap().last_sequence),
                    (end, end)
                );
            }
            let check = v1::CheckConfigBundleRequest { runtime_id, reference: Some(bundle.clone()) };
            let checked = asked("a check", || {
                let (mut bundles, check) = (self.client.bundles(), check.clone());
                async move { bundles.check_config_bundle(check).await }
            });
            let checked = checked.await;
            assert_eq!(checked.get_ref().state(), OperationState::Accepted, "{request_id}: its bundle is lost");
        }
    }
}
