//! A control plane and a host, each on its data directory, and workers on both.

use std::fs;
use std::time::Duration;

use uuid::Uuid;
use workplane::proto::v1;

use crate::book::Book;
use crate::load::asked;
use crate::server::{Role, Server};
use crate::stock;
use crate::support::configuration::Configuration;
use crate::support::{Client, EMBEDDED, Profile, Worker, until};

/// The host's runtime.
pub(crate) const HOST: &str = "host";
/// Both runtimes.
pub(crate) const RUNTIMES: [&str; 2] = [EMBEDDED, HOST];
/// The profile that runs nothing.
pub(crate) const CATALOG: &str = "builtin:catalog";
/// What they run, and whether it says what it is told.
const PROFILES: [(&str, bool); 2] = [(CATALOG, false), ("builtin:coder", true)];
/// The profile whose program heeds neither a TERM nor that its input is closed.
pub(crate) const STUBBORN: &str = "builtin:stubborn";
/// Workers of each profile on each runtime.
const WORKERS: usize = 2;

/// Two servers.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) plane: Server,
    pub(crate) host: Server,
}

/// Which of them are killed, in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    Plane,
    Host,
    PlaneThenHost,
    HostThenPlane,
}

impl Kill {
    /// Whether it takes this runtime.
    pub(crate) fn takes(self, runtime_id: &str) -> bool {
        self != if runtime_id == HOST { Self::Plane } else { Self::Host }
    }
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let configuration = Configuration { profiles: profiles(), ..Configuration::default() };
        let mut host = Server::new(Role::Host(HOST.to_owned()), &configuration);
        host.start().await;
        let configuration =
            Configuration { profiles: profiles(), remotes: vec![host.entry()], ..Configuration::default() };
        let mut plane = Server::new(Role::Plane, &configuration);
        plane.start().await;
        let fleet = Self { plane, host };
        fleet.all_run().await;
        fleet
    }

    pub(crate) fn client(&self) -> Client {
        self.plane.client()
    }

    /// Waits until the control plane has reached the host.
    pub(crate) async fn all_run(&self) {
        let runtimes = self.client().runtimes();
        for runtime_id in RUNTIMES {
            let request = v1::GetRuntimeRequest { runtime_id: runtime_id.to_owned() };
            until("a runtime to run", || {
                let (mut runtimes, request) = (runtimes.clone(), request.clone());
                async move {
                    let answer = runtimes.get_runtime(request).await.ok()?.into_inner();
                    answer.runtime.filter(|runtime| runtime.status() == v1::RuntimeStatus::Running)
                }
            })
            .await;
        }
    }

    /// Kills, in order, and starts again in the same order. How long each took until it was SERVING.
    pub(crate) async fn crash(&mut self, kill: Kill, pause: Duration) -> Vec<(&'static str, Duration)> {
        let Self { plane, host } = self;
        let mut order: Vec<(_, &mut Server)> = match kill {
            Kill::Plane => vec![("plane", plane)],
            Kill::Host => vec![("host", host)],
            Kill::PlaneThenHost => vec![("plane", plane), ("host", host)],
            Kill::HostThenPlane => vec![("host", host), ("plane", plane)],
        };
        for (at, (_, server)) in order.iter_mut().enumerate() {
            if at > 0 {
                tokio::time::sleep(pause).await;
            }
            server.kill().await;
        }
        let mut took = Vec::new();
        for (name, server) in order {
            took.push((name, server.start().await));
        }
        took
    }
}

/// What a runtime is told that it runs.
pub(crate) fn profiles() -> Vec<(String, Profile)> {
    let profile =
        |(name, echoes)| (String::from(name), if echoes { Profile::text(["cat"]) } else { Profile::catalog() });
    let stock = (stock::PROFILE.to_owned(), Profile::text(stock::PROGRAM));
    let stubborn = (STUBBORN.to_owned(), Profile::script("trap '' TERM HUP INT; echo deaf; exec sleep 1000000"));
    PROFILES.map(profile).into_iter().chain([stock, stubborn]).collect()
}

/// How many processes of a worker run, by the marker that it handed down.
pub(crate) fn programs_of(worker: &Worker) -> usize {
    let id = format!("/{}/", worker.worker_id);
    let bears = |entry: &fs::DirEntry| {
        // A process may have gone meanwhile.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        variables.any(|variable| variable.starts_with("WORKPLANE_WORKER=") && variable.contains(&id))
    };
    fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(bears).count()
}

/// Sees to it that there are workers of every kind on each of these runtimes.
pub(crate) async fn man(client: &Client, runtimes: &[&str], books: &mut Vec<Book>) {
    for runtime_id in runtimes {
        for (profile, echoes) in PROFILES {
            let is_one = |book: &&Book| book.is_of(runtime_id, echoes);
            for _ in books.iter().filter(is_one).count()..WORKERS {
                let worker = spawned(client, runtime_id, profile, Uuid::now_v7().to_string()).await;
                books.push(Book::open(worker, echoes));
            }
        }
    }
}

/// A worker, asked for until somebody answers.
pub(crate) async fn spawned(client: &Client, runtime_id: &str, profile: &str, request_id: String) -> Worker {
    let spawn = v1::SpawnWorkerRequest { request_id, ..Worker::request(runtime_id, profile) };
    let answer = asked("a spawn", || {
        let (mut workers, spawn) = (client.workers(), spawn.clone());
        async move { workers.spawn_worker(spawn).await }
    });
    let answer = answer.await.into_inner();
    Worker::of(client.clone(), &answer.worker.expect("an accepted spawn has a worker"))
}
