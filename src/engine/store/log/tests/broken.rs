//! A writer that breaks down.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bed::{change, dir, options, wait};
use super::odd::OddDisk;
use crate::engine::store::disk::simulated::SimulatedDisk;
use crate::engine::store::log::{Log, Submission};

#[test]
fn a_process_whose_writer_broke_down_ends_at_once_with_a_line_that_says_so() {
    let name = "engine::store::log::tests::broken::a_process_whose_writer_breaks_down";
    let test = std::env::current_exe().unwrap();
    let output = Command::new(test).args([name, "--exact", "--ignored", "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.contains("ERROR") && last.contains("ending at once"), "{said}");
}

#[test]
#[ignore = "it ends its process: the test above runs it in one of its own"]
fn a_process_whose_writer_breaks_down() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let odd = OddDisk::new(&SimulatedDisk::new(1));
    let (log, _) = Log::open(Arc::new(odd.clone()), dir(), options()).unwrap();
    let submit = || wait(log.commit(Submission { changes: vec![change(1).put(1, b"x")], vital: false }));
    submit().unwrap();
    odd.odd().panics.store(true, Ordering::Relaxed);
    let outcome = submit();
    // Waits for the writer's thread, which does not end alone.
    log.close();
    panic!("it goes on: {outcome:?}");
}
