//! From a message to a request that is not quite one: changed bytes, broken frames, odd headers and paths.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request};
use prost::Message as _;
use prost_reflect::MethodDescriptor;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use tonic::body::Body;

use crate::bed::{self, body, framed, is_host, path};
use crate::chance::Chance;
use crate::sample::Maker;

const TIMEOUTS: &[&str] =
    &["", "S", "1", "-1S", "1.5S", "99999999H", "0n", "1n", "5m", "123456789S", "1s", "\u{7f}", "10S"];
const HEADERS: &[&str] = &[
    "authorization",
    "traceparent",
    "tracestate",
    "content-type",
    "te",
    "grpc-encoding",
    "grpc-accept-encoding",
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "workplane-request-id",
    "user-agent",
    "x-bin",
];
const VALUES: &[&str] =
    &["", "gzip", "identity", "Bearer x", "text/html", "0", "-1", "\u{7f}", "AAAA", "%zz", "00-x-y-01"];
const QUERIES: &[&str] = &["?", "?x=1", "/", "//", "/../x", "%00", "?grpc-timeout=1S", ";"];

/// A request, and what of it must be known to judge the answer.
pub(crate) struct Sent {
    pub(crate) request: Request<Body>,
    /// It has a deadline of its own.
    pub(crate) hurried: bool,
    /// In words, for a report.
    pub(crate) told: String,
}

impl Chance {
    /// A request for this method, or nearly.
    pub(crate) fn request(&mut self, method: &MethodDescriptor) -> Sent {
        let message = self.encoded(method);
        let mut told = format!("{} {}", method.full_name(), hex(&message));
        let bytes = if self.once_in(20) { self.broken_frame(&message) } else { framed(&message) };
        let mut path = path(method);
        if self.once_in(40) {
            path.push_str(QUERIES.choose(&mut self.rng).expect("there is one"));
        }
        let mut request = bed::request(&path);
        let hurried = self.once_in(15);
        if hurried {
            let value = *TIMEOUTS.choose(&mut self.rng).expect("there is one");
            _ = write!(told, " grpc-timeout={value:?}");
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                request = request.header("grpc-timeout", value);
            }
        }
        while self.once_in(8) {
            let name = HeaderName::from_static(HEADERS.choose(&mut self.rng).expect("there is one"));
            let value = if self.once_in(2) { self.bytes(60) } else { self.header().as_bytes().to_vec() };
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                _ = write!(told, " {name}={value:?}");
                request = request.header(name, value);
            }
        }
        if self.once_in(100) {
            request = request.method(Method::GET);
        }
        // Paths from the lists above are paths.
        let mut request = request.body(body(bytes)).expect("a request");
        if self.once_in(60) {
            told.push_str(" without its token");
            request.headers_mut().remove("authorization");
        }
        Sent { request, hurried, told: format!("{told} {path}") }
    }

    fn header(&mut self) -> &'static str {
        VALUES.choose(&mut self.rng).expect("there is one")
    }

    /// The bytes of a message: right, of the right shape, changed, or anything.
    fn encoded(&mut self, method: &MethodDescriptor) -> Vec<u8> {
        let is_host = is_host(method);
        let worker = self.worker();
        let maker = Maker { worker: &worker, is_host };
        let mut bytes = match self.below(8) {
            0 => return self.bytes(200),
            1..3 => maker.good(&method.input()).encode_to_vec(),
            _ => self.message(&method.input(), is_host, 0).encode_to_vec(),
        };
        if self.once_in(3) {
            for _ in 0..=self.below(4) {
                self.change(&mut bytes);
            }
        }
        bytes
    }

    /// One small change.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        let place = self.below(bytes.len() + 1);
        let byte: u8 = self.rng.random();
        match self.below(6) {
            0 => bytes.truncate(place),
            1 => bytes.insert(place, byte),
            2 if place < bytes.len() => _ = bytes.remove(place),
            3 if place < bytes.len() => {
                let piece = bytes[place..].to_vec();
                bytes.extend(piece.into_iter().take(64));
            }
            4 if place < bytes.len() => bytes[place] ^= 1 << (byte & 7),
            _ if place < bytes.len() => bytes[place] = byte,
            _ => bytes.push(byte),
        }
    }

    /// A message in a frame that is not right.
    fn broken_frame(&mut self, message: &[u8]) -> Bytes {
        let mut bytes = framed(message).to_vec();
        match self.below(6) {
            0 => bytes.clear(),
            1 => bytes[0] = self.rng.random(),
            2 => bytes[1 + self.below(4)] = self.rng.random(),
            3 => bytes.truncate(self.below(bytes.len())),
            4 => bytes.extend(framed(message)),
            _ => bytes = self.bytes(60),
        }
        bytes.into()
    }
}

/// The start of it in hex, for a report.
fn hex(bytes: &[u8]) -> String {
    let mut shown = format!("{} bytes ", bytes.len());
    for byte in bytes.iter().take(400) {
        _ = write!(shown, "{byte:02x}");
    }
    shown
}
