//! What is typed: the lines of standard input, as they come.

use std::io::{self, BufRead};

use tokio::sync::mpsc;

/// The lines of standard input. A thread reads them, which nothing waits for at the end.
pub(super) fn typed_lines() -> mpsc::Receiver<String> {
    let (lines, typed) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut bytes = Vec::new();
        while input.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
            bytes.clear();
            if lines.blocking_send(text).is_err() {
                return;
            }
        }
    });
    typed
}
