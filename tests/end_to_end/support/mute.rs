//! Clients on bare sockets: one that opens streams, hears that they are open, and from then on neither reads nor answers;
//! and one that goes away with words of its own.

use std::net::SocketAddr;

use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::within;

/// What a connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frames of HTTP/2 (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The setting that says how much may be sent on a stream, and the most that it may say.
const INITIAL_WINDOW_SIZE: u16 = 4;
const MOST: u32 = (1 << 31) - 1;

/// The client. Its connection stays until it is dropped.
pub(crate) struct Mute(#[allow(dead_code, reason = "it is held open")] TcpStream);

impl Mute {
    /// Opens `streams` of them with the same request, and lets as much be sent on each as there can be.
    pub(crate) async fn open(
        address: SocketAddr,
        path: &str,
        token: &str,
        request: &impl Message,
        streams: u32,
    ) -> Self {
        let mut wire = TcpStream::connect(address).await.expect("it listens");
        let mut said = PREFACE.to_vec();
        let window = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &MOST.to_be_bytes()].concat();
        put(&mut said, SETTINGS, 0, 0, &window);
        put(&mut said, WINDOW_UPDATE, 0, 0, &(MOST - 65_535).to_be_bytes());
        let (head, body) = (head(path, token), super::framed(&request.encode_to_vec()));
        for stream in 0..streams {
            put(&mut said, HEADERS, END_HEADERS, 2 * stream + 1, &head);
            put(&mut said, DATA, END_STREAM, 2 * stream + 1, &body);
        }
        wire.write_all(&said).await.expect("it is taken");
        let mut open = 0;
        while open < streams {
            let (kind, flags) = within("a stream to be opened", next(&mut wire)).await;
            assert!(kind != HEADERS || flags & END_STREAM == 0, "a stream is refused");
            open += u32::from(kind == HEADERS);
        }
        Self(wire)
    }
}

/// Connects, and goes away with these words (RFC 9113, 6.8).
pub(crate) async fn leave(address: SocketAddr, words: &str) {
    let mut wire = TcpStream::connect(address).await.expect("it listens");
    let mut said = PREFACE.to_vec();
    put(&mut said, SETTINGS, 0, 0, &[]);
    put(&mut said, GOAWAY, 0, 0, &[&[0; 8], words.as_bytes()].concat());
    wire.write_all(&said).await.expect("it is taken");
    // Until it has read that, and goes, too.
    while within("the server to close", wire.read(&mut [0; 1024])).await.is_ok_and(|length| length > 0) {}
}

/// Kind and flags of the next frame.
async fn next(wire: &mut TcpStream) -> (u8, u8) {
    let mut head = [0; 9];
    wire.read_exact(&mut head).await.expect("the connection goes on");
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut body = vec![0; length as usize];
    wire.read_exact(&mut body).await.expect("the connection goes on");
    (head[3], head[4])
}

fn put(said: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a frame of a test is small").to_be_bytes();
    said.extend([&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat());
}

/// The headers of a call, each a literal that is not indexed (RFC 7541, 6.2.2).
fn head(path: &str, token: &str) -> Vec<u8> {
    let authorization = format!("Bearer {token}");
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", &authorization),
    ];
    let mut head = Vec::new();
    for (name, value) in fields {
        let short = |text: &str| {
            u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a field of a test is short")
        };
        head.extend([&[0, short(name)], name.as_bytes(), &[short(value)], value.as_bytes()].concat());
    }
    head
}
