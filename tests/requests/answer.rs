//! What came back for a request.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::Response;
use http_body::Body as _;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How much of a stream is read.
const MOST: usize = 512 * 1024;
const MOST_FRAMES: usize = 40;
/// How long a stream may be silent before it is left.
const SILENCE: Duration = Duration::from_secs(2);

/// An answer: messages, and how it ended. A stream that goes on was left, as if it had ended well.
pub(crate) struct Answer {
    pub(crate) status: Status,
    pub(crate) messages: Vec<Bytes>,
}

impl Answer {
    /// Reads an answer to its end, or a stream until it is silent.
    pub(crate) async fn read(response: Response<Body>) -> Self {
        let (head, mut body) = response.into_parts();
        assert_eq!(head.status, 200, "every answer is gRPC's");
        if let Some(status) = Status::from_header_map(&head.headers) {
            return Self { status, messages: Vec::new() };
        }
        let mut bytes = BytesMut::new();
        for _ in 0..MOST_FRAMES {
            let next = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            let Ok(next) = tokio::time::timeout(SILENCE, next).await else { break };
            let frame = match next {
                Some(Ok(frame)) => frame,
                Some(Err(status)) => return Self { status, messages: messages(bytes) },
                None => panic!("an answer ended without a status"),
            };
            match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => {
                    let status =
                        frame.trailers_ref().and_then(Status::from_header_map).expect("trailers have a status");
                    return Self { status, messages: messages(bytes) };
                }
            }
            if bytes.len() > MOST {
                break;
            }
        }
        Self { status: Status::new(Code::Ok, ""), messages: messages(bytes) }
    }

    /// The reason in its details; empty where there is none.
    pub(crate) fn reason(&self) -> String {
        self.status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
    }

    /// The path of the field that is to blame; empty where none is.
    pub(crate) fn field(&self) -> String {
        let fields = self.status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
        fields.into_iter().next().map(|violation| violation.field).unwrap_or_default()
    }

    /// The answer in a line.
    pub(crate) fn told(&self) -> String {
        format!("{:?} {} at `{}`: {}", self.status.code(), self.reason(), self.field(), self.status.message())
    }
}

/// The messages in what was read; the last may be cut.
fn messages(mut bytes: BytesMut) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while let Some(head) = bytes.get(..5) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if bytes.len() < 5 + length {
            break;
        }
        bytes.advance(5);
        messages.push(bytes.split_to(length).freeze());
    }
    messages
}
