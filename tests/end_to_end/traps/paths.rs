//! Paths that are nearly those of methods: none of them is one, whoever asks.

use tonic::Code;

use super::ask::Asking;
use super::beside::beside;
use super::scene::Scene;
use super::wire::message;
use crate::support::Host;

const TRICKS: [&str; 15] = [
    "//workplane.v1.RuntimeService/ListRuntimes",
    "/workplane.v1.RuntimeService//ListRuntimes",
    "/workplane.v1.RuntimeService/ListRuntimes/",
    "/workplane.v1.RuntimeService/listruntimes",
    "/Workplane.V1.RuntimeService/ListRuntimes",
    "/workplane.v1.RuntimeService%2fListRuntimes",
    "/workplane.v1.RuntimeService/List%52untimes",
    "/workplane.v1.RuntimeService/ListRuntimes?x=1",
    "/workplane.v1.RuntimeService/ListRuntimes?",
    "/workplane.v1.RuntimeService/./ListRuntimes",
    "/grpc.health.v1.Health/../workplane.v1.RuntimeService/ListRuntimes",
    "/grpc.health.v1.Health/Check/workplane.v1.RuntimeService/ListRuntimes",
    "/workplane.v1.RuntimeService/ListRuntimes;v=1",
    "/workplane.v1.RuntimeService",
    "/",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_a_method_or_nothing() {
    let scene = Scene::with(&[]).await;
    let (known, stranger) = (Asking::at(scene.plane.address()).await, Asking::with(scene.plane.address(), None).await);
    for trick in TRICKS.iter().map(|path| (*path).to_owned()).chain(["/x".repeat(4_000)]) {
        let (code, reason) = known.told(&trick, &[], message(0, 0, &[])).await;
        assert_eq!((code, reason.as_str()), (Code::Unimplemented, "NOT_YET"), "{trick}");
        let (code, _) = stranger.told(&trick, &[], message(0, 0, &[])).await;
        // A query is refused before anybody asks who that is.
        let refused = if trick.contains('?') { Code::Unimplemented } else { Code::Unauthenticated };
        assert_eq!(code, refused, "{trick}");
    }
    scene.end("paths").await;
    beside("paths", async |server| {
        let asking = Asking::at(server).await;
        for _ in 0..100 {
            for trick in TRICKS {
                asking.told(trick, &[], message(0, 0, &[])).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_request_takes_us_for_changes_nothing() {
    let scene = Scene::with(&[]).await;
    let (known, stranger) = (Asking::at(scene.plane.address()).await, Asking::with(scene.plane.address(), None).await);
    for authority in ["http://workplane:99999", "https://elsewhere", "http://a@b", "http://[::1]:1", "http://127.0.0.1"]
    {
        let path = format!("{authority}/workplane.v1.RuntimeService/ListRuntimes");
        if path.parse::<http::Uri>().is_err() {
            continue;
        }
        assert_eq!(known.told(&path, &[], message(0, 0, &[])).await.0, Code::Ok, "{path}");
        assert_eq!(stranger.told(&path, &[], message(0, 0, &[])).await.0, Code::Unauthenticated, "{path}");
    }
    scene.end("authorities").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_takes_as_much_as_each_method_needs() {
    let host = Host::named("one").start().await;
    let asking = Asking::with(host.address(), Some("Bearer token-of-one")).await;
    let service = "/workplane.runtime.v1.WorkerRuntimeService";
    for (method, refused) in [("CreateWorker", true), ("SendInput", true), ("SyncConfigBundle", false)] {
        let mut call = asking.begin(&format!("{service}/{method}"), &[]).await;
        // What it says of its length is enough, where that is too much.
        call.say(&message(0, 300 * 1024, &[]));
        if refused {
            assert_eq!(call.told().await, (Code::InvalidArgument, "INVALID_REQUEST".to_owned()), "{method}");
        } else {
            call.body.send_data(vec![0; 300 * 1024].into(), true).unwrap();
            let (code, reason) = call.told().await;
            assert_eq!(
                (code, reason.as_str()),
                (Code::InvalidArgument, "INVALID_REQUEST"),
                "it is read, and no bundle"
            );
        }
    }
}
