//! What a process has had of the processors: a figure in which no neighbour takes part.

use std::fs;

/// This process.
pub(crate) const SELF: &str = "self";

/// What the threads of a process have had of the processors, in nanoseconds.
pub(crate) fn processor_time(process: &str) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let time = |thread: fs::DirEntry| {
        // One that has ended meanwhile counts for nothing.
        let told = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        told.split(' ').next()?.parse::<u64>().ok()
    };
    threads.filter_map(|thread| time(thread.unwrap())).sum()
}

/// What a process and this one have had since this was made.
pub(crate) struct Meter {
    process: String,
    before: [u64; 2],
}

impl Meter {
    pub(crate) fn of(process: Option<u32>) -> Self {
        let process = process.expect("it runs").to_string();
        let before = [processor_time(&process), processor_time(SELF)];
        Self { process, before }
    }

    /// How many microseconds each of so many calls took: the process, and this one.
    pub(crate) fn each(self, calls: u32) -> [f64; 2] {
        let micros = |now: u64, before| f64::from(u32::try_from((now - before) / 1_000).unwrap_or(u32::MAX));
        let now = [processor_time(&self.process), processor_time(SELF)];
        [0, 1].map(|at| micros(now[at], self.before[at]) / f64::from(calls))
    }
}
