//! Workers that are deleted, on both kinds of runtime alike.

use tonic::Code;
use workplane::proto::v1::{OperationState, WorkerState};

use crate::support::{EMBEDDED, Host, Plane, Profile, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_deleted_when_it_has_ended_or_by_force_and_is_unknown_from_then_on() {
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).profile("builtin:coder", Profile::text(["cat"])).start().await;
    for runtime_id in [EMBEDDED, "one"] {
        let worker = plane.spawn(runtime_id, "builtin:coder").await;
        worker.send("hello").await;
        let refused = worker.try_delete(false, "").await.unwrap();
        assert_eq!(refused.state(), OperationState::Rejected);
        let codes: Vec<_> = refused.diagnostics.iter().map(|it| it.code.as_str()).collect();
        assert_eq!(codes[1], "worker_running", "{codes:?}");
        assert_eq!(worker.get().await.state(), WorkerState::Running);

        let watching = worker.observe().await;
        let request_id = format!("delete-{runtime_id}");
        for _ in 0..2 {
            let deleted = worker.try_delete(true, &request_id).await.unwrap();
            assert_eq!((deleted.state(), deleted.worker_id), (OperationState::Accepted, worker.worker_id.clone()));
        }
        let frames = watching.rest().await;
        assert!(frames.last().unwrap().termination().is_some(), "its end is told: {frames:?}");
        for refused in [
            worker.try_get().await.map(|_| ()),
            worker.try_send(worker.input("late")).await.map(|_| ()),
            worker.page(0, 0).await.map(|_| ()),
            worker.try_observe(worker.observation()).await.map(|_| ()),
            worker.try_delete(true, "").await.map(|_| ()),
        ] {
            assert_eq!(refusal(&refused.unwrap_err()).is(), (Code::NotFound, "UNKNOWN_WORKER"));
        }
    }
}
