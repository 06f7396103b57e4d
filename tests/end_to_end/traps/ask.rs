//! Calls in pieces: the heads and bodies that a client of gRPC would not send, and the status that comes back.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::scene::TOKEN;
use crate::support::{refusal, within};

/// A connection, and whose calls go over it.
pub(crate) struct Asking {
    requests: SendRequest<Bytes>,
    token: Option<&'static str>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A call whose body goes on.
pub(crate) struct Call {
    answer: ResponseFuture,
    pub(crate) body: SendStream<Bytes>,
}

impl Asking {
    /// With the token.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        Self::with(address, Some(TOKEN)).await
    }

    pub(crate) async fn with(address: SocketAddr, token: Option<&'static str>) -> Self {
        let socket = within("a connection", TcpStream::connect(address)).await.unwrap();
        let (requests, connection) = within("a handshake", h2::client::handshake(socket)).await.unwrap();
        Self { requests, token, connection: tokio::spawn(connection) }
    }

    /// Waits until the server has ended the connection.
    pub(crate) async fn ended(self) {
        _ = within("the end of a connection", self.connection).await;
    }

    /// Begins a call. The path is one of this server's, or a whole URI.
    pub(crate) async fn begin(&self, path: &str, headers: &[(&str, &str)]) -> Call {
        let uri = if path.contains("://") { path.to_owned() } else { format!("http://workplane{path}") };
        let mut request = http::Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
        if let Some(token) = self.token {
            request = request.header("authorization", token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let requests = within("room for a call", self.requests.clone().ready()).await;
        let (answer, body) = requests.unwrap().send_request(request.body(()).unwrap(), false).unwrap();
        Call { answer, body }
    }

    /// A whole call with this body; the code and reason of its refusal.
    pub(crate) async fn told(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (Code, String) {
        let mut call = self.begin(path, headers).await;
        // Who is refused by its head alone may be told so before.
        _ = call.body.send_data(body.into(), true);
        call.told().await
    }
}

impl Call {
    /// Sends these bytes, as the server makes room for them, and goes on.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.body.send_data(Bytes::copy_from_slice(bytes), false).unwrap();
    }

    /// The code and reason of its refusal; OK where there is none.
    pub(crate) async fn told(self) -> (Code, String) {
        let status = self.status().await;
        if status.code() == Code::Ok { (Code::Ok, String::new()) } else { refused(&status) }
    }

    /// The same, where the answer has come and is nothing but that; else the call itself.
    pub(crate) fn told_already(mut self) -> Result<(Code, String), Self> {
        match (&mut self.answer).now_or_never() {
            None => Err(self),
            Some(answer) => {
                let answer = answer.expect("it is answered in gRPC");
                Ok(refused(&Status::from_header_map(answer.headers()).expect("a refusal is all there is")))
            }
        }
    }

    async fn status(self) -> Status {
        let answer = within("an answer", self.answer).await.expect("it is answered in gRPC");
        if let Some(status) = Status::from_header_map(answer.headers()) {
            return status;
        }
        let mut body: RecvStream = answer.into_body();
        while let Some(data) = within("the rest of an answer", body.data()).await {
            let length = data.expect("it comes whole").len();
            _ = body.flow_control().release_capacity(length);
        }
        let trailers = within("trailers", body.trailers()).await.expect("they come").expect("there are some");
        Status::from_header_map(&trailers).expect("they have a status")
    }
}

fn refused(status: &Status) -> (Code, String) {
    let refusal = refusal(status);
    (refusal.code, refusal.reason)
}
