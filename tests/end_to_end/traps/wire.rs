//! HTTP/2 by hand: what no library would send. It writes frames, and listens for how the server ends the connection.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use crate::support::within;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame of a test is small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A list of headers, each spelt out.
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A number in HPACK's seven bits, and as many more as it takes.
fn length(length: usize, block: &mut Vec<u8>) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(u8::try_from(length).expect("less than 127"));
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128 + 128).expect("a byte"));
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("less than 128"));
}

/// The headers of a call with the token.
pub(crate) fn call<'h>(path: &'h str, token: &'h str, more: &[(&'h str, &'h str)]) -> Vec<u8> {
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "workplane"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", token),
    ];
    block(&[&usual[..], more].concat())
}

/// A message as it stands in a body, whatever it says of itself.
pub(crate) fn message(compressed: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[compressed], &length.to_be_bytes()[..], bytes].concat()
}

/// A connection that is written by hand.
#[derive(Debug)]
pub(crate) struct Wire {
    write: OwnedWriteHalf,
    heard: watch::Receiver<Heard>,
}

/// What came over a connection.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard {
    /// The error code of the last GOAWAY.
    pub(crate) goaway: Option<u32>,
    pub(crate) answers: usize,
    pub(crate) resets: usize,
    pub(crate) closed: bool,
}

impl Wire {
    /// A TCP connection on which nothing has been said.
    pub(crate) async fn silent(address: SocketAddr) -> Self {
        let (read, write) = connect(address).await;
        let (tell, heard) = watch::channel(Heard::default());
        tokio::spawn(listen(read, tell));
        Self { write, heard }
    }

    /// A connection that speaks HTTP/2.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::silent(address).await.greet().await
    }

    async fn greet(mut self) -> Self {
        assert!(self.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(SETTINGS, ACK, 0, &[])].concat()).await);
        self
    }

    /// Writes these bytes; whether there is anybody left to.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        within("something to be written", self.write.write_all(bytes)).await.is_ok() && !self.is_closed()
    }

    /// Writes so many pieces; how many there were somebody for.
    pub(crate) async fn flood(&mut self, times: usize, mut piece: impl FnMut(usize) -> Vec<u8>) -> usize {
        for at in 0..times {
            if !self.send(&piece(at)).await {
                return at;
            }
        }
        times
    }

    /// Whether it is closed by now.
    pub(crate) fn is_closed(&self) -> bool {
        self.heard.borrow().closed
    }

    /// Waits until the server has closed it.
    pub(crate) async fn closed(mut self) -> Heard {
        self.until("a connection to be closed", |_| false).await
    }

    /// Waits until so much has come, or it is closed.
    pub(crate) async fn until(&mut self, what: &str, mut come: impl FnMut(&Heard) -> bool) -> Heard {
        within(what, self.heard.wait_for(|heard| heard.closed || come(heard))).await.expect("it is listened to").clone()
    }
}

async fn connect(address: SocketAddr) -> (OwnedReadHalf, OwnedWriteHalf) {
    let io = within("a connection", TcpStream::connect(address)).await.expect("it is listened to");
    _ = io.set_nodelay(true);
    io.into_split()
}

/// Reads to the end.
async fn listen(mut from: OwnedReadHalf, heard: watch::Sender<Heard>) {
    let mut payload = Vec::new();
    loop {
        let mut start = [0; 9];
        let whole = match from.read_exact(&mut start).await {
            Ok(_) => {
                payload.resize(u32::from_be_bytes([0, start[0], start[1], start[2]]) as usize, 0);
                from.read_exact(&mut payload).await.is_ok()
            }
            Err(_) => false,
        };
        if !whole {
            heard.send_modify(|heard| heard.closed = true);
            return;
        }
        let code = payload.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
        match start[3] {
            HEADERS => heard.send_modify(|heard| heard.answers += 1),
            GOAWAY => heard.send_modify(|heard| heard.goaway = code),
            RESET => heard.send_modify(|heard| heard.resets += 1),
            _ => {}
        }
    }
}
