//! A list over many hosts.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tonic::Request;
use workplane::proto::{runtime_v1, v1};

use crate::support::{Answer, Hostile, Plane, Proxy, until, within, worker};

/// A host with one worker.
async fn host(n: usize) -> Hostile {
    let name = format!("host-{n:03}");
    let host = Hostile::named(&name).await;
    let workers = vec![worker(&name, &format!("worker-{n:03}"))];
    host.answers("ListWorkers", Answer::message(&runtime_v1::ListWorkersResponse { workers, ..Default::default() }));
    host
}

async fn list(plane: &Plane, deadline: Duration) -> v1::ListWorkersResponse {
    let mut request = Request::new(v1::ListWorkersRequest { page_size: 1_000, fresh: true, ..Default::default() });
    request.set_timeout(deadline);
    within("a list", plane.client().workers().list_workers(request)).await.expect("a list is answered").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_runtimes_only_the_hanging_and_the_dead_one_are_missing() {
    // acceptance 2, 13, 16, 68, 73
    const HANGING: usize = 70;
    const DEAD: usize = 140;
    let hosts = join_all((0..200).map(host)).await;
    let nowhere = Proxy::to(hosts[DEAD].address()).await;
    let mut building = Plane::new();
    for (n, host) in hosts.iter().enumerate() {
        building = if n == DEAD { building.hostile_via(host, nowhere.address()) } else { building.hostile(host) };
    }
    let plane = building.start().await;
    let whole = until("all hosts to be there", || async {
        Some(list(&plane, Duration::from_secs(20)).await).filter(|listed| listed.diagnostics.is_empty())
    })
    .await;
    assert_eq!(whole.workers.len(), 200);

    hosts[HANGING].answers("ListWorkers", Answer::Nothing);
    nowhere.refuse();
    let (deadline, began) = (Duration::from_secs(5), Instant::now());
    let listed = list(&plane, deadline).await;
    assert!(began.elapsed() < deadline, "{:?}", began.elapsed());
    let said: Vec<_> = listed.diagnostics.iter().map(|it| (it.code.as_str(), it.message.as_str())).collect();
    let [(hangs, which), (dead, what)] = said[..] else { panic!("{said:?}") };
    assert_eq!((hangs, dead), ("remote_runtime_timeout", "remote_runtime_network_error"));
    assert!(which.contains("host-070") && what.contains("host-140"), "{said:?}");
    // In the order of registration; what is missing is told as it was last known, and as stale.
    let ids: Vec<_> = listed.workers.iter().map(|worker| worker.worker_id.clone()).collect();
    assert_eq!(ids, (0..200).map(|n| format!("worker-{n:03}")).collect::<Vec<_>>());
    let stale: Vec<_> = listed.workers.iter().filter(|worker| worker.stale).map(|it| it.worker_id.as_str()).collect();
    assert_eq!(stale, ["worker-070", "worker-140"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_runtimes_the_hanging_one_is_soon_waited_for_no_more() {
    // acceptance 16
    let hosts = join_all((0..200).map(host)).await;
    let mut building = Plane::new();
    for host in &hosts {
        building = building.hostile(host);
    }
    let plane = building.start().await;
    let deadline = Duration::from_secs(20);
    until("all hosts to be there", || async { list(&plane, deadline).await.diagnostics.is_empty().then_some(()) })
        .await;
    let hanging = &hosts[70];
    hanging.answers("ListWorkers", Answer::Nothing);
    let before = hanging.calls("ListWorkers");
    let listed = until("a list that does not ask it", || async {
        let asked = hanging.calls("ListWorkers");
        let listed = list(&plane, deadline).await;
        (hanging.calls("ListWorkers") == asked).then_some(listed)
    })
    .await;
    // Five times in vain; and then perhaps as a probe, where this machine is slow.
    let asked = hanging.calls("ListWorkers") - before;
    assert!((5..=12).contains(&asked), "{asked}");
    let said: Vec<_> = listed.diagnostics.iter().filter(|it| it.message.contains("host-070")).collect();
    assert_eq!((listed.workers.len(), said.len()), (200, 1), "{:?}", listed.diagnostics);
}
