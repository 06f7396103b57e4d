//! The driver `lines`: an input is a line on a program's standard input, a line of its output is an item.
//!
//! Four tasks, each with one thing to wait for: the writer, the reader of standard output, the reader of standard error,
//! and the supervisor, which reports the exit when the readers are done.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::child::{Launched, Supervised, supervise};
use super::output::{Line, Lines, Meter, may_be_json, utterances};
use super::pipe::{Output, keep_end};
use super::{DELIVERY_WINDOW, Delivery, Fact, Link, REPORTS, Report, Start, StartFault};
use crate::engine::profile::InputForm;
use crate::model::{DeltaChannel, InputKind, OutputDelta, StopMode, TurnEndReason, TurnId};

/// How much is read at once.
const READ: usize = 64 * 1024;
/// How long a piece of a line waits for more before it is told.
const COALESCE: Duration = Duration::from_millis(20);
/// How much of a piece is told at once without waiting.
const COALESCE_BYTES: usize = 4 * 1024;
/// Executes the profile's program and starts to speak with it.
pub(super) async fn start(start: Start<'_>) -> Result<Link, StartFault> {
    Ok(speak(start.launch().await?, start.profile.input, start.grace, start.handle))
}

fn speak(launched: Launched, form: InputForm, grace: Duration, handle: &tokio::runtime::Handle) -> Link {
    let Launched { stdin, stdout, stderr, process, belongings, child, ended } = launched;
    let supervised = Supervised { child, process, belongings, ended, grace };
    let (deliveries, inputs) = mpsc::channel(DELIVERY_WINDOW);
    let (end, orders) = mpsc::channel(4);
    let (report, reports) = mpsc::channel(REPORTS);
    let (give_up, ended) = (CancellationToken::new(), CancellationToken::new());

    let writer = handle.spawn(write(stdin, inputs, form, give_up.clone(), report.clone()));
    let reader = handle.spawn(read(Output::new(stdout, ended.clone()), report.clone()));
    let kill = end.clone();
    let said = handle.spawn(async move {
        let heard = reader.await.is_ok();
        if !heard {
            // Nobody hears it any more: it is not to go on unheard. A supervisor that is gone needs no order.
            let _ = kill.try_send(StopMode::Force);
        }
        heard
    });
    let errors = handle.spawn(keep_end(Output::new(stderr, ended.clone())));
    let blocking = handle.clone();
    handle.spawn(async move {
        let mut exit = supervise(supervised, orders, &blocking, || give_up.cancel()).await;
        ended.cancel();
        // All that the program said is reported, however long the reports are held back. A reader that broke is told.
        exit.unheard = !said.await.unwrap_or(false);
        exit.stderr = errors.await.unwrap_or_default();
        // The writer only waits for its queue or the reports, and was told to give up; a panic in it changes nothing.
        let _ = writer.await;
        // The worker's task is gone only if the whole runtime is.
        let _ = report.send(Report::Exited(exit)).await;
    });
    Link { deliveries: Some(deliveries), answers: None, interrupt: None, end, reports, process }
}

/// Writes inputs in order, and reports each. Once told to give up, or when the program no longer reads, what is left is
/// reported as not delivered.
async fn write(
    stdin: impl AsyncWrite + Unpin,
    mut inputs: mpsc::Receiver<Delivery>,
    form: InputForm,
    give_up: CancellationToken,
    report: mpsc::Sender<Report>,
) {
    let mut stdin = Some(stdin);
    loop {
        let input = tokio::select! {
            biased;
            input = inputs.recv() => input,
            () = give_up.cancelled() => None,
        };
        let Some(input) = input else { return };
        let turn_id = input.turn_id.clone();
        let written = match &mut stdin {
            Some(pipe) => {
                let line = encode(input, form);
                tokio::select! {
                    biased;
                    () = give_up.cancelled() => false,
                    written = pipe.write_all(&line) => written.is_ok(),
                }
            }
            None => false,
        };
        if !written {
            stdin = None;
        }
        let reason = if written { TurnEndReason::Written } else { TurnEndReason::NotDelivered };
        if report.send(Report::TurnEnded(turn_id, reason)).await.is_err() {
            return;
        }
    }
}

fn encode(input: Delivery, form: InputForm) -> Vec<u8> {
    let mut line = match form {
        InputForm::Text => input.content.into_bytes(),
        InputForm::Json => {
            let kind = match input.kind {
                InputKind::User => "user",
                InputKind::System => "system",
            };
            serde_json::json!({ "kind": kind, "content": input.content, "sequence": input.sequence })
                .to_string()
                .into_bytes()
        }
    };
    line.push(b'\n');
    line
}

/// Reads what the program says, line by line, and tells of a line in the making.
async fn read<R: AsyncRead + Unpin>(mut stdout: Output<R>, report: mpsc::Sender<Report>) {
    let mut lines = Lines::default();
    let mut meter = Meter::new(Instant::now());
    let mut piece = Piece::default();
    let mut buffer = vec![0; READ];
    let mut complete = Vec::new();
    loop {
        let read = tokio::select! {
            read = stdout.read(&mut buffer) => read,
            () = sleep_until(piece.due.unwrap_or_else(Instant::now)), if piece.due.is_some() => {
                if piece.tell(lines.partial(), &report).await.is_err() { return }
                continue;
            }
        };
        // A broken pipe is its end.
        let Ok(count @ 1..) = read else { break };
        let now = Instant::now();
        lines.push(&buffer[..count], |line| {
            piece = Piece::default();
            complete.extend(meter.pass(line, now));
        });
        for line in complete.drain(..) {
            if say(line, &report).await.is_err() {
                return;
            }
        }
        piece.grown(lines.partial(), now);
        if piece.is_large(lines.partial()) && piece.tell(lines.partial(), &report).await.is_err() {
            return;
        }
    }
    let last = lines.finish().and_then(|line| meter.pass(line, Instant::now()));
    for line in last.into_iter().chain(meter.finish()) {
        if say(line, &report).await.is_err() {
            return;
        }
    }
}

async fn say(line: Line, report: &mpsc::Sender<Report>) -> Result<(), mpsc::error::SendError<Report>> {
    for utterance in utterances(line) {
        report.send(Report::Told(Fact::Said(utterance))).await?;
    }
    Ok(())
}

/// How much of the line in the making has been told, and when the rest is due.
#[derive(Debug, Default)]
struct Piece {
    told: usize,
    /// Bytes of text told: other than `told` where the bytes were not UTF-8.
    offset: u64,
    due: Option<Instant>,
}

impl Piece {
    fn grown(&mut self, line: &[u8], now: Instant) {
        if line.len() > self.told && !may_be_json(line) {
            self.due.get_or_insert(now + COALESCE);
        }
    }

    fn is_large(&self, line: &[u8]) -> bool {
        self.due.is_some() && line.len() - self.told >= COALESCE_BYTES
    }

    async fn tell(&mut self, line: &[u8], report: &mpsc::Sender<Report>) -> Result<(), mpsc::error::SendError<Report>> {
        self.due = None;
        let new = &line[self.told..];
        let whole = whole_characters(new);
        if whole == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&new[..whole]).into_owned();
        self.told += whole;
        let delta = OutputDelta { turn_id: TurnId::from(""), channel: DeltaChannel::Output, offset: self.offset, text };
        self.offset += delta.text.len() as u64;
        report.send(Report::Delta(delta)).await
    }
}

/// How many of `bytes` do not belong to a character whose end has not come yet.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        // Without a length the error is an unfinished end; with one, the bytes are not UTF-8 and will not be.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Ok(_) | Err(_) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_character_waits_for_its_end() {
        assert_eq!(whole_characters("aé".as_bytes()), 3);
        assert_eq!(whole_characters(&"aé".as_bytes()[..2]), 1);
        assert_eq!(whole_characters(b"a\xff"), 2);
    }

    #[test]
    fn inputs_are_one_line_each() {
        let delivery = |content: &str| Delivery {
            turn_id: TurnId::from("turn-1"),
            kind: InputKind::User,
            content: content.to_owned(),
            sequence: 7,
        };
        let json = String::from_utf8(encode(delivery("a\"b\nc"), InputForm::Json)).unwrap();
        assert_eq!(json.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value, serde_json::json!({"kind": "user", "content": "a\"b\nc", "sequence": 7}));
        assert_eq!(encode(delivery("1+1"), InputForm::Text), b"1+1\n");
    }
}
