//! What becomes of programs and inputs when their runtime is killed: nothing is left running, and what may go on does.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use workplane::proto::v1::observation_frame::Payload;
use workplane::proto::v1::{RuntimeStatus, SendInputRequest, StopMode, TerminationReason, WorkerState};

use crate::processes::{STAY, alive, ids};
use crate::support::{Client, EMBEDDED, Frame, Host, Plane, Profile, Worker, refusal, until, write_secret};

/// Where a worker runs whose runtime is to be killed, with a data directory: in a control plane, or on a host.
pub(crate) struct Place {
    pub(crate) plane: Plane,
    host: Option<Host>,
}

impl Place {
    pub(crate) async fn both(profile: Profile) -> [Self; 2] {
        let embedded = Plane::new().durable().profile("builtin:coder", profile.clone()).start().await;
        [Self { plane: embedded, host: None }, Self::host("one", profile).await]
    }

    async fn host(name: &str, profile: Profile) -> Self {
        let host = Host::named(name).durable().profile("builtin:coder", profile).start().await;
        let plane = Plane::new().host(&host).start().await;
        plane.runtime_is(name, RuntimeStatus::Running).await;
        Self { plane, host: Some(host) }
    }

    pub(crate) fn runtime_id(&self) -> &str {
        self.host.as_ref().map_or(EMBEDDED, Host::runtime_id)
    }

    fn address(&self) -> SocketAddr {
        self.host.as_ref().map_or(self.plane.address(), Host::address)
    }

    pub(crate) async fn spawn(&self) -> Worker {
        self.plane.spawn(self.runtime_id(), "builtin:coder").await
    }

    pub(crate) async fn kill(&mut self) {
        match &mut self.host {
            Some(host) => host.process().kill().await,
            None => self.plane.process().kill().await,
        }
    }

    pub(crate) async fn start_again(&mut self) {
        match &mut self.host {
            Some(host) => host.start_again().await,
            None => self.plane.start_again().await,
        }
        self.plane.runtime_is(self.runtime_id(), RuntimeStatus::Running).await;
    }
}

/// Waits until health is told to be good.
async fn serving(address: SocketAddr) {
    let health = HealthClient::new(Client::new(address, None).channel());
    until("the runtime to be serving", || {
        let mut health = health.clone();
        async move {
            let told = health.check(HealthCheckRequest::default()).await.ok()?.into_inner();
            (told.status() == ServingStatus::Serving).then_some(())
        }
    })
    .await;
}

/// All processes that were started with this in their environment.
fn marked(worker: &Worker) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let bears = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(&worker.worker_id)
    };
    pids.filter(bears).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_runtime_left_running_is_gone_before_the_next_one_is_serving() {
    let neighbour = Place::host("neighbour", Profile::script(STAY)).await;
    let other = neighbour.spawn().await;
    let spared = ids(&other).await;
    for mut place in Place::both(Profile::script(STAY)).await {
        let worker = place.spawn().await;
        let left = ids(&worker).await;
        place.kill().await;
        assert_eq!(alive(&left), left, "they outlive their runtime: else this shows nothing");
        let address = place.address();
        let seen = async {
            serving(address).await;
            (alive(&left), marked(&worker))
        };
        let ((), seen) = tokio::join!(place.start_again(), seen);
        assert_eq!(seen, (vec![], vec![]), "of {left:?}");
        let worker = worker.through(place.plane.client());
        let end = worker.state_is(WorkerState::Failed).await.termination.unwrap();
        assert_eq!((end.reason(), end.run_generation), (TerminationReason::RuntimeLost, 1));
        assert_eq!(alive(&spared), spared, "another runtime's were ended");
    }
    assert_eq!(other.get().await.state(), WorkerState::Running);
}

/// The first run hears one input and never another; later ones hear all that they are given.
const RUNS: &str = "run=${WORKPLANE_WORKER##*/}; \
    while read -r line; do echo $run heard ${line%%x*}; [ $run = 1 ] && exec sleep 1000; done";
/// More than a pipe holds and than are picked up at once.
const INPUTS: usize = 70;

/// What was told of each turn, by the place of its input: in which run it began, and how it ended.
fn turns(frames: &[Frame]) -> Vec<(u64, String)> {
    let (mut run, mut begun, mut ended) = (0, Vec::new(), BTreeMap::new());
    for frame in frames {
        match frame.payload() {
            Payload::StateChanged(change) => run += u64::from(change.state() == WorkerState::Starting),
            Payload::TurnStarted(turn) => begun.push((run, turn.turn_id.clone())),
            Payload::TurnEnded(turn) => {
                let before = ended.insert(turn.turn_id.clone(), turn.reason.clone());
                assert_eq!(before, None, "{} ended twice", turn.turn_id);
            }
            _ => {}
        }
    }
    assert_eq!(begun.len(), ended.len());
    begun.into_iter().map(|(run, turn)| (run, ended.remove(&turn).expect("what began once ends"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_picked_up_goes_to_the_next_run_and_what_was_is_never_given_again() {
    for mut place in Place::both(Profile::script(RUNS).restarting()).await {
        let worker = place.spawn().await;
        let request = |n| SendInputRequest {
            request_id: format!("input-{n}"),
            ..worker.input(&format!("{n} {}", "x".repeat(100_000)))
        };
        let mut newest = None;
        for n in 1..=INPUTS {
            newest = Some(worker.try_send(request(n)).await.unwrap());
        }
        let mut stream = worker.observe().await;
        let heard = |what: &str| {
            let what = what.to_owned();
            move |frame: &Frame| frame.item().is_some_and(|item| item.content == what)
        };
        let seen = stream.up_to("the first to be heard", heard("1 heard 1")).await;
        let cursor = seen.last().unwrap().cursor.clone();
        place.kill().await;
        place.start_again().await;

        let worker = worker.through(place.plane.client());
        // The one that asks again gets the first answer, and nothing is given for it.
        let again = worker.try_send(request(INPUTS)).await.unwrap();
        assert_eq!(Some(again.event_id), newest.map(|ack| ack.event_id));
        let mut stream = worker.try_resume(&cursor).await.unwrap();
        stream.first("the last to be heard", heard(&format!("2 heard {INPUTS}"))).await;
        let now = worker.get().await;
        assert_eq!((now.state(), now.run_generation), (WorkerState::Running, 2));
        worker.stop(StopMode::Graceful).await;

        let frames: Vec<_> = worker.observe().await.rest().await.into_iter().filter(Frame::is_durable).collect();
        assert!(frames.iter().map(|frame| frame.sequence).eq(1..=frames.len() as u64), "a gap or a repeat");
        let states = frames.iter().filter_map(|frame| match frame.payload() {
            Payload::StateChanged(change) => Some(change.state()),
            _ => None,
        });
        let (starting, running) = (WorkerState::Starting, WorkerState::Running);
        let ending = [WorkerState::Stopping, WorkerState::Stopped];
        assert_eq!(states.collect::<Vec<_>>(), [&[starting, running, starting, running][..], &ending].concat());
        assert_eq!(frames.last().unwrap().termination().unwrap().run_generation, 2);

        let turns = turns(&frames);
        assert_eq!(turns.len(), INPUTS);
        let picked_up = turns.iter().take_while(|(run, _)| *run == 1).count();
        assert!(picked_up < INPUTS, "all were picked up: this shows nothing");
        let lost = turns[..picked_up].iter().filter(|(_, reason)| reason == "RUNTIME_LOST").count();
        let written = turns[..picked_up].iter().filter(|(_, reason)| reason == "written").count();
        assert!(lost > 0 && lost + written == picked_up, "{turns:?}");
        assert!(turns[picked_up..].iter().all(|(run, reason)| (*run, reason.as_str()) == (2, "written")), "{turns:?}");
        let said = frames.iter().filter_map(Frame::item).map(|item| item.content.as_str());
        let said: Vec<_> = said.filter(|content| content.contains(" heard ")).map(str::to_owned).collect();
        let next = (picked_up + 1..=INPUTS).map(|n| format!("2 heard {n}"));
        assert_eq!(said, ["1 heard 1".to_owned()].into_iter().chain(next).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credential_after_restore() {
    // A restored worker looked healthy, and whoever spoke to it was not let in.
    let mut place = Place::host("one", Profile::text(["cat"]).restarting()).await;
    // The control plane has a file of its own.
    let directory = tempfile::tempdir().unwrap();
    let shown = write_secret(directory.path(), "token", "token-of-one\n");
    place.plane.change("one", |entry| entry.token_file = shown);
    let running = place.plane.process();
    until("it to be read", async || running.log().contains("the configuration was read again").then_some(())).await;
    let worker = place.spawn().await;
    place.kill().await;
    let host = place.host.as_mut().unwrap();
    host.exchange_token("another-token");
    host.start_again().await;
    let is_refused = async || {
        let refused = worker.try_send(worker.input("too early")).await.err()?;
        (refusal(&refused).reason == "REMOTE_RUNTIME_AUTH_FAILED").then_some(())
    };
    until("an input to be refused for the token", is_refused).await;
    let runtime = place.plane.runtime("one").await.unwrap();
    assert_eq!(runtime.status(), RuntimeStatus::Unavailable);
    assert_eq!(runtime.diagnostics[0].code, "remote_runtime_auth_failed");
    assert_eq!(refusal(&worker.try_get().await.unwrap_err()).reason, "REMOTE_RUNTIME_AUTH_FAILED");

    write_secret(directory.path(), "token", "another-token\n");
    place.plane.runtime_is("one", RuntimeStatus::Running).await;
    let now = worker.state_is(WorkerState::Running).await;
    assert!(!now.stale, "{now:?}");
    worker.try_send(worker.input("let in")).await.unwrap();
    let answered = |frame: &Frame| frame.item().is_some_and(|item| item.content == "let in");
    worker.observe().await.up_to("an answer", answered).await;
}
