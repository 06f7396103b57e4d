//! What a host does not keep any more: readers that are behind are told of the gap, also where the relay itself missed it.

use std::time::Duration;

use super::super::test_host::{TestHost, ctx};
use super::super::test_wire::Mode;
use super::super::tests::{say, spawned, stop};
use super::tests::{diagnostics, observe, refused, rest};
use crate::engine::{ObserveFrom, Retention};
use crate::model::{Cursor, Reason, TerminalIntent, WorkerId};
use crate::proto::v1::observation_frame::Payload;
use crate::proto::v1::{Gap, ObservationFrame};
use crate::runtime::WorkerRuntime as _;

async fn small() -> TestHost {
    TestHost::keeping(Retention { max_worker_bytes: Some(20_000), ..Retention::default() }).await
}

/// The gap of a stream, which has one, and that what comes behind it has none.
fn one_gap(frames: &[ObservationFrame]) -> Gap {
    let gaps: Vec<_> = frames
        .iter()
        .filter_map(|frame| match &frame.payload {
            Some(Payload::Gap(gap)) => Some(gap.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let mut last = None;
    for frame in frames.iter().filter(|it| !matches!(it.payload, Some(Payload::Diagnostic(_)))) {
        let before = match &frame.payload {
            Some(Payload::Gap(gap)) => gap.from_sequence - 1,
            _ => frame.sequence - 1,
        };
        assert!(last.is_none_or(|last| last == before), "{last:?} and then {frame:?}");
        last = Some(frame.sequence);
    }
    gaps[0].clone()
}

/// The oldest cursor that the host knows.
async fn kept_from(host: &TestHost, worker_id: &WorkerId) -> u64 {
    host.engine.retain().await;
    host.engine.get_worker(worker_id).unwrap().first_sequence
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_behind_what_its_host_keeps_is_told_of_the_gap_and_a_new_one_is_refused() {
    // acceptance 112
    let host = small().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    let mut slow = observe(&runtime, &worker_id, ObserveFrom::Now).await;
    let old = Cursor::new(slow.incarnation(), &worker_id, slow.sequence());
    for n in 0..400 {
        say(&runtime, &worker_id, &format!("input {n}")).await;
    }
    let first = kept_from(&host, &worker_id).await;
    runtime.stop_worker(&ctx(), stop(&worker_id, TerminalIntent::Stop)).await.unwrap();
    let (frames, end) = rest(&mut slow).await;
    let gap = one_gap(&frames);
    assert_eq!((gap.from_sequence, gap.to_sequence, gap.reason.as_str()), (old.sequence + 1, first - 1, "retention"));
    assert!(end.is_none() && matches!(frames.last().unwrap().payload, Some(Payload::End(_))));

    let error = refused(&runtime, &worker_id, ObserveFrom::After(old)).await;
    assert_eq!(error.reason(), Reason::CursorExpired);
    let oldest = &error.metadata().iter().find(|(key, _)| *key == "oldest_cursor").unwrap().1;
    let oldest = Cursor::decode(oldest, &worker_id).unwrap();
    assert_eq!(oldest.sequence, first - 1);
    let mut again = observe(&runtime, &worker_id, ObserveFrom::After(oldest)).await;
    let mut beginning = observe(&runtime, &worker_id, ObserveFrom::Beginning).await;
    let kept = frames.iter().position(|frame| frame.sequence == first).unwrap();
    for reader in [&mut again, &mut beginning] {
        assert_eq!(rest(reader).await.0, frames[kept..]);
    }
    let items = runtime.get_worker(&ctx(), &worker_id).await.unwrap().first_item_sequence;
    assert!(items > 1 && runtime.get_transcript(&ctx(), &worker_id, items - 1, 256).await.is_ok());
    let error = runtime.get_transcript(&ctx(), &worker_id, items - 2, 256).await.unwrap_err();
    assert_eq!(error.reason(), Reason::CursorExpired);
    assert!(error.metadata().contains(&("oldest_start", (items - 1).to_string())), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_went_while_the_host_was_away_is_told_to_all_who_waited_for_it() {
    let host = small().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    let mut readers = [
        observe(&runtime, &worker_id, ObserveFrom::Now).await,
        observe(&runtime, &worker_id, ObserveFrom::Beginning).await,
    ];
    host.wire.set(Mode::Refuse);
    host.wire.cut();
    for n in 0..400 {
        let input = crate::model::WorkerInput::new(crate::model::InputKind::User, format!("input {n}")).unwrap();
        let delivery = crate::model::InputDelivery::Queue;
        let send = crate::model::SendInput { worker_id: worker_id.clone(), input, delivery };
        host.engine.send_input(&ctx(), send).await.unwrap();
    }
    let first = kept_from(&host, &worker_id).await;
    host.wire.set(Mode::Connect);
    tokio::time::sleep(Duration::from_secs(20)).await;
    host.engine.stop_worker(&ctx(), stop(&worker_id, TerminalIntent::Stop)).await.unwrap();
    for reader in &mut readers {
        let (frames, end) = rest(reader).await;
        let gap = one_gap(&frames);
        assert_eq!(gap.to_sequence, first - 1);
        assert_eq!(diagnostics(&frames), ["upstream_disconnect", "upstream_reconnected"]);
        assert!(end.is_none() && matches!(frames.last().unwrap().payload, Some(Payload::End(_))));
    }
    assert_eq!(readers[0].view().last_event_id, readers[1].view().last_event_id);
}
