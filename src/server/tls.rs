//! TLS before HTTP/2: connections that were accepted shake hands, each on a task of its own, for a while and so many at
//! once. One that is too many takes the place of the oldest, once that has had its time: a client that means it needs
//! milliseconds, so that those who open connections and say nothing keep nobody out; and many that mean it wait for each other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;

use super::connection::Connection;
use super::edge::Edge;
use super::seldom::Seldom;
use crate::metrics::HandshakeFailure;
use crate::tls::{Refused, ServerTls};

/// How long one that was refused may take to read why.
const PARTING: Duration = Duration::from_secs(1);

/// One that is younger gives way to nobody.
const TIME: Duration = Duration::from_secs(1);

/// A connection that has shaken hands.
type Shaken = (TlsStream<TcpStream>, Connection);

/// Handshakes that are under way, and what is shown in them; its owner may exchange that at any time.
pub(super) struct Handshakes {
    tls: Arc<ArcSwap<ServerTls>>,
    timeout: Duration,
    most: usize,
    tasks: JoinSet<Option<Shaken>>,
    /// The tasks, the oldest first; some of them may have ended.
    order: VecDeque<(AbortHandle, Instant)>,
    failed: Arc<Seldom>,
}

impl Handshakes {
    pub(super) fn new(tls: Arc<ArcSwap<ServerTls>>, edge: &Edge) -> Self {
        Self {
            tls,
            timeout: edge.tls_handshake_timeout,
            most: edge.max_handshakes,
            tasks: JoinSet::new(),
            order: VecDeque::new(),
            failed: Arc::default(),
        }
    }

    /// From when on there is room for another one; `None` where there is now.
    pub(super) fn full_until(&mut self) -> Option<Instant> {
        self.order.retain(|(task, _)| !task.is_finished());
        if self.order.len() < self.most {
            return None;
        }
        self.order.front().map(|(_, began)| *began + TIME).filter(|until| *until > Instant::now())
    }

    /// Begins another one, for which there is room.
    pub(super) fn begin(&mut self, io: TcpStream, connection: Connection) {
        if self.order.len() >= self.most
            && let Some((oldest, _)) = self.order.pop_front()
        {
            oldest.abort();
            say(&self.failed, HandshakeFailure::GaveWay, "it gave way to newer ones");
        }
        // What is in force now, for all of it.
        let (tls, limit, failed) = (self.tls.load_full(), self.timeout, Arc::clone(&self.failed));
        let task = self.tasks.spawn(async move {
            match timeout(limit, tls.accept(io)).await {
                Ok(Ok(io)) => return Some((io, connection)),
                Ok(Err((error, io))) => {
                    let why = Refused::find(&error);
                    let words = why.map_or_else(|| "the connection ended".to_owned(), |why| why.told("us"));
                    say(&failed, failure(why), &words);
                    part(io).await;
                }
                Err(_) => say(&failed, HandshakeFailure::TooLong, "it took too long"),
            }
            None
        });
        self.order.push_back((task, Instant::now()));
    }

    /// The next one that is done, `None` where it failed; never, where none is under way. Nothing is lost where this is
    /// dropped.
    pub(super) async fn next(&mut self) -> Option<Shaken> {
        match self.tasks.join_next().await {
            // It failed, and has said so, or gave way.
            Some(done) => done.ok().flatten(),
            None => std::future::pending().await,
        }
    }
}

/// Ends a connection so that the other side reads what it was told last: were it closed with something of it unread, the
/// system would take that back.
async fn part(mut io: TcpStream) {
    let parting = async {
        io.shutdown().await?;
        tokio::io::copy(&mut io, &mut tokio::io::sink()).await
    };
    // Whatever comes of it, it is over.
    _ = timeout(PARTING, parting).await;
}

fn failure(why: Option<Refused>) -> HandshakeFailure {
    match why {
        None => HandshakeFailure::BrokenOff,
        Some(Refused::InClear | Refused::Secured) => HandshakeFailure::NotTls,
        Some(Refused::NoCertificate) => HandshakeFailure::NoCertificate,
        Some(Refused::Certificate(_) | Refused::OtherName) => HandshakeFailure::Certificate,
        Some(Refused::Ours | Refused::Asked) => HandshakeFailure::RefusedByClient,
        Some(Refused::Because(_)) => HandshakeFailure::Protocol,
    }
}

fn say(failed: &Seldom, why: HandshakeFailure, last: &str) {
    why.count();
    if let Some(handshakes) = failed.count() {
        tracing::info!(handshakes, last, "TLS handshakes failed");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures_util::{Stream, StreamExt as _};
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::super::connection::Connections;
    use super::super::listen::{Accepted, Io, accept};
    use super::*;
    use crate::tls::test_certificates::Authority;
    use crate::tls::{ClientTls, ServerName, certificates, private_key, roots};

    /// How long a test waits for what must come.
    const PATIENCE: Duration = Duration::from_mins(1);
    /// Longer than any test may wait.
    const LONG: Duration = Duration::from_mins(5);

    struct Bed {
        authority: Authority,
        address: SocketAddr,
        tls: Arc<ArcSwap<ServerTls>>,
    }

    fn certificate(authority: &Authority, name: &str) -> ServerTls {
        let ours = authority.certify(&[name]);
        let identity = (certificates(ours.certificate.as_bytes()).unwrap(), private_key(ours.key.as_bytes()).unwrap());
        ServerTls::new(identity, None).unwrap()
    }

    async fn bed(edge: &Edge) -> (Bed, impl Stream<Item = std::io::Result<Accepted<Box<dyn Io>>>> + use<>) {
        let (authority, listener) = (Authority::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (address, tls) =
            (listener.local_addr().unwrap(), Arc::new(ArcSwap::from_pointee(certificate(&authority, "one.test"))));
        let accepted = accept(listener, Connections::new(edge), Some(Arc::clone(&tls)));
        (Bed { authority, address, tls }, accepted)
    }

    impl Bed {
        /// Whether a client that looks for this name shakes hands.
        async fn shakes(&self, name: &'static str) -> bool {
            let roots = roots(self.authority.pem.as_bytes()).unwrap();
            let client = ClientTls::new(roots, ServerName::try_from(name).unwrap(), None).unwrap();
            let io = TcpStream::connect(self.address).await.unwrap();
            client.connect(io, &Arc::default()).await.is_ok()
        }
    }

    /// The next connection that has shaken hands is this client's.
    async fn is_served<A>(
        accepted: &mut (impl Stream<Item = std::io::Result<A>> + Unpin),
        client: impl Future<Output = bool>,
    ) {
        let both = async { tokio::join!(accepted.next(), client) };
        let (served, shaken) = timeout(PATIENCE, both).await.expect("a client shakes hands");
        assert!(served.unwrap().is_ok() && shaken);
    }

    /// Nothing of a connection is read any more: it was closed.
    async fn is_closed(io: &mut TcpStream) -> bool {
        let mut rest = Vec::new();
        let read = timeout(PATIENCE, io.read_to_end(&mut rest)).await.expect("a connection is closed");
        // Told with an alert of TLS, or cut off.
        read.is_err() || rest.len() <= 7
    }

    #[tokio::test]
    async fn half_a_handshake_is_ended_and_others_are_served_meanwhile() {
        // It is the time of the client that is served, too.
        let edge = Edge { tls_handshake_timeout: Duration::from_secs(5), ..Edge::control_plane() };
        let (bed, accepted) = bed(&edge).await;
        let mut accepted = Box::pin(accepted);
        let mut half = TcpStream::connect(bed.address).await.unwrap();
        // The head of a record, and the beginning of a ClientHello that never goes on.
        half.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
        is_served(&mut accepted, bed.shakes("one.test")).await;
        tokio::select! {
            closed = is_closed(&mut half) => assert!(closed),
            _ = accepted.next() => panic!("it was served"),
        }
    }

    #[tokio::test]
    async fn those_who_say_nothing_keep_nobody_out() {
        let edge = Edge { max_handshakes: 4, tls_handshake_timeout: LONG, ..Edge::control_plane() };
        let (bed, accepted) = bed(&edge).await;
        let mut accepted = Box::pin(accepted);
        let mut silent = Vec::new();
        for _ in 0..9 {
            silent.push(TcpStream::connect(bed.address).await.unwrap());
        }
        is_served(&mut accepted, bed.shakes("one.test")).await;
        // The oldest gave way.
        assert!(is_closed(&mut silent[0]).await);
    }

    #[tokio::test]
    async fn who_does_not_speak_tls_is_told_so_and_connections_in_handshake_count() {
        let edge = Edge { max_connections: 1, tls_handshake_timeout: LONG, ..Edge::control_plane() };
        let (bed, accepted) = bed(&edge).await;
        let mut accepted = Box::pin(accepted);
        let mut plain = TcpStream::connect(bed.address).await.unwrap();
        assert!(futures_util::poll!(accepted.next()).is_pending());
        // There is room for one, which is taken until that one has gone.
        let other = bed.shakes("one.test");
        tokio::pin!(other);
        assert!(futures_util::poll!(&mut other).is_pending());
        assert!(futures_util::poll!(accepted.next()).is_pending());
        plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        is_served(&mut accepted, other).await;
        assert!(is_closed(&mut plain).await);
    }

    #[tokio::test]
    async fn another_certificate_is_shown_from_the_next_connection_on() {
        let (bed, accepted) = bed(&Edge::control_plane()).await;
        let mut accepted = Box::pin(accepted);
        is_served(&mut accepted, bed.shakes("one.test")).await;
        bed.tls.store(Arc::new(certificate(&bed.authority, "two.test")));
        is_served(&mut accepted, bed.shakes("two.test")).await;
        tokio::select! {
            shaken = bed.shakes("one.test") => assert!(!shaken),
            // A client of TLS 1.3 is through before it says that it refuses.
            _ = accepted.next() => {}
        }
    }
}
