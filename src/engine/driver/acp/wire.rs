//! An agent's lines, looked at before the protocol's library sees them. What the library keeps between its parts has no
//! bound, and it answers garbage instead of ending: so what comes this far is little, whole and called for.
//!
//! What the agent tells of its work (`session/update`) goes past the library to the talk, a few at a time: where the talk
//! does not take them, nothing is read, and the agent waits at its pipe.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use futures_util::{Sink, Stream, sink, stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::super::pipe::Output;
use super::pace::Pace;
use super::update::{self, Update};
use crate::model::Approval;

/// The longest line, in bytes. An update may hold a whole file, or two for a change of one; beyond this, nobody could read it.
/// Of what is in it, only what is told on is copied.
const MAX_LINE: usize = 8 * 1024 * 1024;
/// The longest question or answer of an agent, in bytes: the library takes several times as much to read it.
const MAX_CALL: usize = 1024 * 1024;
/// How many updates may wait to be told on, and how much of them in bytes; then nothing more is read. One alone may be larger.
const UPDATES: usize = 16;
const UPDATE_BYTES: usize = 1024 * 1024;
/// How many questions of an agent may wait to be taken up, or for an answer that is ours alone; then nothing more is read.
pub(super) const MAX_ASKED: usize = 4;
/// The longest id of a question that may wait for somebody else, in bytes.
const MAX_KEPT_ID: usize = 256;
/// How much is read at once.
const READ: usize = 64 * 1024;

/// An update, with its place among those that wait.
pub(super) type Waiting = (Update, OwnedSemaphorePermit);

/// Where updates wait.
pub(super) fn updates() -> (mpsc::Sender<Waiting>, mpsc::Receiver<Waiting>) {
    mpsc::channel(UPDATES)
}

/// What both directions of a wire know.
#[derive(Debug)]
pub(super) struct Wire {
    /// What we asked and was not answered.
    asked: Mutex<Vec<Value>>,
    /// Places for questions of the agent.
    places: Semaphore,
    /// Questions that gave their places back, since somebody else has to answer them first.
    kept: Mutex<Vec<Value>>,
    fault: Mutex<Option<&'static str>>,
    closed: AtomicBool,
}

impl Default for Wire {
    fn default() -> Self {
        let (asked, kept, fault) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { asked, places: Semaphore::new(MAX_ASKED), kept, fault, closed: AtomicBool::new(false) }
    }
}

impl Wire {
    /// How the agent broke the protocol, if it did.
    pub(super) fn fault(&self) -> Option<&'static str> {
        *self.fault.lock()
    }

    /// Lets a question wait for somebody else's answer, so that the agent is read on; whether there is room for it, until its
    /// answer is written.
    pub(super) fn keep(&self, id: &impl Serialize) -> bool {
        let Ok(id) = serde_json::to_value(id) else { return false };
        let is_short = id.as_str().is_none_or(|text| text.len() <= MAX_KEPT_ID);
        let mut kept = self.kept.lock();
        let fits = is_short && kept.len() < Approval::MAX_OPEN;
        if fits {
            kept.push(id);
            self.places.add_permits(1);
        }
        fits
    }

    /// An answer was written to the agent, or can't be.
    fn answered(&self, id: Option<&Value>) {
        let mut kept = self.kept.lock();
        match kept.iter().position(|its| Some(its) == id) {
            Some(at) => _ = kept.swap_remove(at),
            None => self.places.add_permits(1),
        }
    }

    /// Whether nothing more comes from the agent.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// The shape of any message.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// What is to be done with a line.
enum Judged {
    /// The library gets it.
    Answer,
    /// The library gets it, and will answer it.
    Question,
    /// The talk gets it.
    Update(Update),
    /// Nobody does.
    Nothing,
}

/// The agent's lines, as far as the library is to see them. It ends where the agent closes its output or breaks the protocol.
pub(super) fn incoming<R: AsyncRead + Unpin + Send + 'static>(
    stdout: Output<R>,
    wire: Arc<Wire>,
    updates: mpsc::Sender<Waiting>,
    closing: CancellationToken,
) -> impl Stream<Item = io::Result<String>> + Send + 'static {
    let room = Arc::new(Semaphore::new(UPDATE_BYTES));
    let (buffer, chunk) = (BytesMut::new(), vec![0; READ]);
    let pace = Pace::new();
    let reader = Reader { stdout, pace, buffer, searched: 0, chunk, wire, updates, room, closing };
    stream::unfold(reader, |mut reader| async move {
        match reader.next().await {
            Ok(Some(line)) => return Some((Ok(line), reader)),
            Ok(None) => {}
            Err(fault) => *reader.wire.fault.lock() = Some(fault),
        }
        reader.wire.closed.store(true, Ordering::Release);
        None
    })
}

struct Reader<R> {
    stdout: Output<R>,
    pace: Pace,
    buffer: BytesMut,
    /// How much of the buffer has no newline.
    searched: usize,
    chunk: Vec<u8>,
    wire: Arc<Wire>,
    updates: mpsc::Sender<Waiting>,
    /// In bytes.
    room: Arc<Semaphore>,
    closing: CancellationToken,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// The next line for the library; `None` at the end.
    async fn next(&mut self) -> Result<Option<String>, &'static str> {
        while let Some(line) = self.line().await? {
            match self.judge(&line)? {
                Judged::Answer => {}
                Judged::Question => tokio::select! {
                    place = self.wire.places.acquire() => place.map_err(|_| "the wire is gone")?.forget(),
                    // Nothing is answered any more.
                    () = self.closing.cancelled() => return Ok(None),
                },
                Judged::Update(update) => {
                    let bytes = u32::try_from(line.len().min(UPDATE_BYTES)).unwrap_or(u32::MAX);
                    drop(line);
                    let place =
                        Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| "the wire is gone")?;
                    if self.updates.send((update, place)).await.is_err() {
                        return Ok(None);
                    }
                    continue;
                }
                Judged::Nothing => continue,
            }
            return String::from_utf8(line.into()).map(Some).map_err(|_| NO_MESSAGE);
        }
        Ok(None)
    }

    async fn line(&mut self) -> Result<Option<BytesMut>, &'static str> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                return if line.len() > MAX_LINE { Err(TOO_LONG) } else { Ok(Some(line)) };
            }
            self.searched = self.buffer.len();
            // A broken pipe is its end, and what stands before it without a newline is no line.
            let Ok(count @ 1..) = self.stdout.read(&mut self.chunk).await else { return Ok(None) };
            let read = &self.chunk[..count];
            // Before the buffer doubles for it.
            if self.searched + count > MAX_LINE && !read.contains(&b'\n') {
                return Err(TOO_LONG);
            }
            self.buffer.extend_from_slice(read);
            self.pace.keep(count).await;
        }
    }

    fn judge(&self, line: &[u8]) -> Result<Judged, &'static str> {
        let first = line.iter().find(|byte| !byte.is_ascii_whitespace());
        let message = match first {
            None => return Ok(Judged::Nothing),
            Some(b'{') => serde_json::from_slice::<Message<'_>>(line).map_err(|_| NO_MESSAGE)?,
            Some(_) => return Err(NO_MESSAGE),
        };
        match message {
            Message { method: Some(method), id: None, params, .. } => {
                let is_update = method == "session/update";
                let update = params.filter(|_| is_update).and_then(|params| update::read(params.get()));
                Ok(update.map_or(Judged::Nothing, Judged::Update))
            }
            _ if line.len() > MAX_CALL => Err("the agent sent a question or an answer of more than 1 MiB"),
            Message { method: Some(_), id: Some(_), .. } => Ok(Judged::Question),
            Message { method: None, id: Some(id), .. } => self.answered(id),
            // So it says that it could not read something; what that was is not told.
            Message { method: None, id: None, error: Some(_), .. } => Ok(Judged::Nothing),
            Message { method: None, id: None, error: None, .. } => Err(NO_MESSAGE),
        }
    }

    fn answered(&self, id: &RawValue) -> Result<Judged, &'static str> {
        let id: Value = serde_json::from_str(id.get()).map_err(|_| NO_MESSAGE)?;
        let mut asked = self.wire.asked.lock();
        let at = asked.iter().position(|its| *its == id);
        let at = at.ok_or("the agent answered what it was not asked, or answered twice")?;
        asked.swap_remove(at);
        Ok(Judged::Answer)
    }
}

const NO_MESSAGE: &str = "the agent wrote a line that is no message of JSON-RPC";
const TOO_LONG: &str = "the agent wrote a line of more than 8 MiB";

/// Where the library writes its lines. It never fails: what is read from the agent says that it is gone.
pub(super) fn outgoing<W: AsyncWrite + Unpin + Send + 'static>(
    stdin: W,
    wire: Arc<Wire>,
    closing: CancellationToken,
) -> impl Sink<String, Error = io::Error> + Send + 'static {
    let writer = Writer { stdin: Some(stdin), wire, closing };
    sink::unfold(writer, |mut writer, line: String| async move {
        writer.write(line).await;
        Ok(writer)
    })
}

struct Writer<W> {
    /// None once it can't be written to.
    stdin: Option<W>,
    wire: Arc<Wire>,
    closing: CancellationToken,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn write(&mut self, line: String) {
        let Ok(message) = serde_json::from_str::<Message<'_>>(&line) else { return };
        let asks = message.method.is_some();
        let id: Option<Value> = message.id.and_then(|id| serde_json::from_str(id.get()).ok());
        if asks {
            self.wire.asked.lock().extend(id.clone());
        }
        let mut bytes = line.into_bytes();
        bytes.push(b'\n');
        if let Some(stdin) = &mut self.stdin {
            let written = tokio::select! {
                biased;
                () = self.closing.cancelled() => false,
                written = async { stdin.write_all(&bytes).await?; stdin.flush().await } => written.is_ok(),
            };
            if !written {
                self.stdin = None;
            }
        }
        if !asks {
            self.wire.answered(id.as_ref());
        }
    }
}
