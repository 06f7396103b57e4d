//! Answers of a host that break off, and what goes on beside them.

use futures_util::future::join_all;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use workplane::proto::{runtime_v1, v1};

use crate::support::{Answer, Hostile, Plane, framed, refusal, until, within, worker};

const WORKER: &str = "worker-1";

async fn plane(host: &Hostile) -> Plane {
    let plane = Plane::new().hostile(host).start().await;
    plane.runtime_is(host.runtime_id(), v1::RuntimeStatus::Running).await;
    plane
}

async fn get_worker(plane: &Plane) -> Result<v1::Worker, Status> {
    let get = v1::GetWorkerRequest { runtime_id: "one".to_owned(), worker_id: WORKER.to_owned() };
    let response = within("a worker", plane.client().workers().get_worker(get)).await?;
    Ok(response.into_inner().worker.expect("the answer has the worker"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_a_network_error_and_the_next_one_is_heard() {
    // acceptance 80
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    let fine = runtime_v1::GetWorkerResponse { worker: Some(worker("one", WORKER)) };
    let half = framed(&fine.encode_to_vec()).slice(..20);
    // A read that broke off is made again, on a new connection where that is gone.
    for broken in [Answer::Reset(half.clone()), Answer::Gone(half.clone())] {
        host.answers_in_turn("GetWorker", vec![broken, Answer::message(&fine)]);
        assert_eq!(get_worker(&plane).await.unwrap().worker_id, WORKER);
    }
    // One that always does says so; so does an input, whose outcome is not known.
    host.answers("SendInput", Answer::Reset(half));
    let (runtime_id, worker_id) = ("one".to_owned(), WORKER.to_owned());
    let send = v1::SendInputRequest { runtime_id, worker_id, content: "hello".to_owned(), ..Default::default() };
    let refused = plane.client().workers().send_input(send).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::Unavailable, "REMOTE_RUNTIME_NETWORK_ERROR"));
    assert!(refused.metadata().contains_key("workplane-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reset_stream_costs_its_own_call_another_try_and_nobody_else_anything() {
    // acceptance 80
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    let fine = runtime_v1::GetWorkerResponse { worker: Some(worker("one", WORKER)) };
    let open = CancellationToken::new();
    let held = || Answer::Once(open.clone(), fine.encode_to_vec().into());
    let reset = Answer::Reset(framed(&fine.encode_to_vec()).slice(..20));
    let answers = (0..10).map(|_| held()).chain([reset]).chain((0..10).map(|_| held())).collect();
    host.answers_in_turn("GetWorker", answers);
    let before = host.connections();
    let calls = join_all((0..20).map(|_| get_worker(&plane)));
    let opening = async {
        // All of them, and the one that was made again.
        until("all calls to be there", || async { (host.calls("GetWorker") == 21).then_some(()) }).await;
        open.cancel();
    };
    let (answers, ()) = tokio::join!(calls, opening);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((host.calls("GetWorker"), host.connections()), (21, before));
    assert_eq!(plane.runtime("one").await.unwrap().status(), v1::RuntimeStatus::Running);
}
