//! What is typed: the lines of standard input, as they come.

use std::io::{self, BufRead, Read};

use tokio::sync::mpsc;

use crate::model::MAX_INPUT_BYTES;

/// More than an input may have, with the end of its line.
const LONGEST: u64 = MAX_INPUT_BYTES as u64 + 3;

/// The lines of standard input. A thread reads them, which nothing waits for at the end. Of a line that is too long to be an
/// input no more is kept than shows that.
pub(super) fn typed_lines() -> mpsc::Receiver<String> {
    let (lines, typed) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Ok(Some(bytes)) = line(&mut input) {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
            if lines.blocking_send(text).is_err() {
                return;
            }
        }
    });
    typed
}

/// The next line, or the beginning of one that is too long.
fn line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut rest = Vec::new();
    input.take(LONGEST).read_until(b'\n', &mut bytes)?;
    let mut is_whole = bytes.len() as u64 != LONGEST || bytes.ends_with(b"\n");
    while !is_whole {
        rest.clear();
        let read = input.take(LONGEST).read_until(b'\n', &mut rest)?;
        is_whole = read == 0 || rest.ends_with(b"\n");
    }
    Ok((!bytes.is_empty()).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_kept_in_part_and_the_next_one_whole() {
        let long = "x".repeat(3 * MAX_INPUT_BYTES);
        let text = format!("one\n{long}\n\ntwo");
        let mut input = text.as_bytes();
        let lines: Vec<_> = std::iter::from_fn(|| line(&mut input).unwrap()).collect();
        assert_eq!(
            (lines.len(), &lines[0][..], &lines[2][..], &lines[3][..]),
            (4, &b"one\n"[..], &b"\n"[..], &b"two"[..])
        );
        assert!(lines[1].len() > MAX_INPUT_BYTES && lines[1].len() < 2 * MAX_INPUT_BYTES);
    }
}
