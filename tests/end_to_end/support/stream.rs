//! An observation as a client reads it.

use std::ops::Deref;

use bytes::Bytes;
use prost::Message as _;
use tonic::{Status, Streaming};
use workplane::proto::raw::ObserveWorkerResponse;
use workplane::proto::v1::observation_frame::Payload;
use workplane::proto::v1::{ObservationFrame, Termination, TranscriptItem};

use super::within;

/// A frame: its message, and the bytes that it came as.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    message: ObservationFrame,
    pub(crate) bytes: Bytes,
}

impl Deref for Frame {
    type Target = ObservationFrame;

    fn deref(&self) -> &ObservationFrame {
        &self.message
    }
}

impl Frame {
    fn new(response: ObserveWorkerResponse) -> Self {
        let bytes = response.frame.expect("a response has a frame");
        let message = ObservationFrame::decode(bytes.clone()).expect("a frame is a frame");
        assert!(message.payload.is_some(), "a frame without a payload, or with one that is not in the protos");
        Self { message, bytes }
    }

    pub(crate) fn payload(&self) -> &Payload {
        self.message.payload.as_ref().expect("checked when it came")
    }

    /// Whether it counts in the worker's sequence.
    pub(crate) fn is_durable(&self) -> bool {
        !matches!(
            self.payload(),
            Payload::Snapshot(_)
                | Payload::OutputDelta(_)
                | Payload::ActivityChanged(_)
                | Payload::Diagnostic(_)
                | Payload::Heartbeat(_)
                | Payload::Gap(_)
        )
    }

    /// The transcript item that it appends.
    pub(crate) fn item(&self) -> Option<&TranscriptItem> {
        match self.payload() {
            Payload::ItemAppended(appended) => appended.item.as_ref(),
            _ => None,
        }
    }

    /// The code of the diagnostic that it is.
    pub(crate) fn diagnostic(&self) -> Option<&str> {
        match self.payload() {
            Payload::Diagnostic(diagnostic) => Some(&diagnostic.code),
            _ => None,
        }
    }

    /// The end that it tells.
    pub(crate) fn termination(&self) -> Option<&Termination> {
        match self.payload() {
            Payload::End(end) => end.termination.as_ref(),
            _ => None,
        }
    }
}

/// A stream of frames.
#[derive(Debug)]
pub(crate) struct Stream(Streaming<ObserveWorkerResponse>);

impl Stream {
    pub(crate) fn new(frames: Streaming<ObserveWorkerResponse>) -> Self {
        Self(frames)
    }

    /// The next frame; `None` at the end of a stream that ended well.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, Status> {
        let next = within("a frame", self.0.message()).await?;
        Ok(next.map(Frame::new))
    }

    /// The next frame, which there must be.
    pub(crate) async fn frame(&mut self) -> Frame {
        self.next().await.expect("the stream goes on").expect("the stream has not ended")
    }

    /// The frames up to and with the first that is `wanted`.
    pub(crate) async fn up_to(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        within(what, async {
            let mut frames = Vec::new();
            loop {
                let frame = self.frame().await;
                let found = wanted(&frame);
                frames.push(frame);
                if found {
                    return frames;
                }
            }
        })
        .await
    }

    /// The first frame that is `wanted`; those before it are dropped.
    pub(crate) async fn first(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) -> Frame {
        self.up_to(what, wanted).await.pop().expect("it ends with what was wanted")
    }

    /// All frames until the stream ends well.
    pub(crate) async fn rest(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await.expect("the stream ends well") {
            frames.push(frame);
        }
        frames
    }

    /// The value of a trailer, once the stream has ended.
    pub(crate) async fn trailer(&mut self, name: &str) -> Option<String> {
        let trailers = self.0.trailers().await.ok().flatten()?;
        Some(trailers.get(name)?.to_str().ok()?.to_owned())
    }
}
