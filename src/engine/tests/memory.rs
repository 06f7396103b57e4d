//! What an ended worker costs in memory, beside what the store itself keeps of it.

use super::*;

const WORKERS: usize = 100_000;
/// At most so much for each, in bytes.
const MOST: usize = 2_048;

/// What this process has in memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1_024
}

#[tokio::test]
#[ignore = "measures, alone: cargo test --lib an_ended_worker_takes -- --ignored --nocapture"]
async fn an_ended_worker_takes_two_kib_at_most() {
    let store = MemoryStore::new();
    let stage = Stage::open(parts(store.clone(), [("it", Profile::catalog())])).await;
    for n in 0..WORKERS {
        let mut create = request(builtin("it"));
        create.labels = Labels::new([("team".to_owned(), format!("{n}"))].into()).unwrap();
        let worker = stage.engine.create_worker(&context(None, 0), create).await.unwrap().worker;
        stage.send(&worker, "hello").await.unwrap();
        stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    }
    // What opening needs for a while is there to be used again when it is opened a second time.
    let mut engines = Vec::new();
    let mut each = 0;
    for _ in 0..3 {
        let before = resident();
        engines.push(Engine::open(stage.parts.clone()).await.unwrap());
        each = resident().saturating_sub(before) / WORKERS;
        println!("{each} bytes for each of {WORKERS} ended workers");
    }
    assert!(each <= MOST, "{each} bytes");
}
