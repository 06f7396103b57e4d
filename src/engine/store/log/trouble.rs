//! What is said of commits that find no segment to go to: once that they do not, once that they do again, and not more
//! than one line in a while, however often that changes. What was not said is said by a later commit, while it holds.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::room::Room;
use super::segment::is_full;

/// Less than this does not lie between two lines.
const QUIET: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Trouble {
    /// What was said last, and when.
    said: (Option<io::ErrorKind>, Option<Instant>),
    pub(super) quiet: Duration,
}

impl Default for Trouble {
    fn default() -> Self {
        Self { said: (None, None), quiet: QUIET }
    }
}

impl Trouble {
    /// Such room was looked for in the log of this directory, and not found where there is an error.
    pub(super) fn tell(&mut self, dir: &Path, error: Option<&io::Error>, room: Room) {
        // What is vital finding room says nothing of the others.
        if error.is_none() && room == Room::Vital || !self.is_news(error.map(io::Error::kind)) {
            return;
        }
        let dir = dir.display();
        match error {
            Some(error) if is_full(error) => tracing::error!("{dir}: no room on the disk: {error}"),
            Some(error) => tracing::error!("{dir}: nothing can be written for now: {error}"),
            None => tracing::info!("{dir}: it can be written again"),
        }
    }

    fn is_news(&mut self, trouble: Option<io::ErrorKind>) -> bool {
        let (said, at) = self.said;
        let is_news = trouble != said && at.is_none_or(|at| at.elapsed() >= self.quiet);
        if is_news {
            self.said = (trouble, Some(Instant::now()));
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_changes_with_every_commit_is_a_line_in_a_while_and_what_lasts_is_said_in_the_end() {
        let mut trouble = Trouble::default();
        let full = Some(io::ErrorKind::StorageFull);
        let mut lines = 0;
        for nth in 0..1_000 {
            lines += usize::from(trouble.is_news(if nth % 2 == 0 { full } else { None }));
            tokio::time::advance(QUIET / 100).await;
        }
        assert_eq!(lines, 10);
        let last = trouble.said.0;
        let other = if last.is_none() { full } else { None };
        while !trouble.is_news(other) {
            tokio::time::advance(QUIET / 100).await;
        }
        assert!(!trouble.is_news(other), "it is said once");
    }
}
