//! What became of a call that ended in an error of the connection, and not in a status of the host's.

use std::error::Error as StdError;

use tonic::TimeoutExpired;

use crate::model::{Fault, Reason};

/// The reason behind an error that was made here, and whether it is that of one call alone. What cannot be told counts as
/// the connection's.
pub(super) fn broken(source: &(dyn StdError + 'static)) -> (Reason, Option<Fault>) {
    let chain = || std::iter::successors(Some(source), |&error| error.source());
    if chain().any(<dyn StdError>::is::<TimeoutExpired>) {
        return (Reason::RemoteRuntimeTimeout, None);
    }
    let reset = chain().filter_map(|error| error.downcast_ref::<h2::Error>()).find(|error| error.is_reset());
    let fault = reset.map(|reset| {
        // Neither the host's nor the protocol's: our own request could not be written.
        let is_ours = !reset.is_remote() && !reset.is_library();
        if is_ours { Fault::Client } else { Fault::BrokenOff }
    });
    (Reason::RemoteRuntimeNetworkError, fault)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use h2::Reason as Code;
    use hyper_util::rt::TokioIo;
    use tokio::io::{DuplexStream, duplex};
    use tonic::Status;
    use tonic::transport::Endpoint;

    use super::*;
    use crate::proto::runtime_v1::GetWorkerRequest;
    use crate::proto::runtime_v1::worker_runtime_service_client::WorkerRuntimeServiceClient;

    /// How a host ends a call.
    #[derive(Debug, Clone, Copy)]
    enum End {
        Reset(Code),
        ResetAfterHead(Code),
        GoAway(Code),
        Cut,
        Never,
    }

    async fn host(far: DuplexStream, end: End) {
        let mut connection = h2::server::handshake(far).await.unwrap();
        let mut kept = Vec::new();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            match end {
                End::Reset(code) => respond.send_reset(code),
                End::ResetAfterHead(code) => {
                    let head = http::Response::builder().header("content-type", "application/grpc").body(());
                    let mut stream = respond.send_response(head.unwrap(), false).unwrap();
                    stream.send_data(Bytes::from_static(b"\0\0\0\0\x20half"), false).unwrap();
                    stream.send_reset(code);
                }
                End::GoAway(code) => connection.abrupt_shutdown(code),
                End::Cut => return,
                End::Never => kept.push(respond),
            }
        }
    }

    /// What becomes of a call, and of the one after it, whose requests may be this large.
    async fn called(end: End, most: usize) -> [(Reason, Option<Fault>); 2] {
        let (near, far) = duplex(1 << 16);
        tokio::spawn(host(far, end));
        let mut near = Some(near);
        let connector = tower::service_fn(move |_: http::Uri| {
            let io = near.take();
            async move { io.map(TokioIo::new).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)) }
        });
        let channel = Endpoint::from_static("http://h:1").connect_with_connector(connector).await.unwrap();
        let mut client = WorkerRuntimeServiceClient::new(channel).max_encoding_message_size(most);
        let mut call = async || {
            let status: Status = client.get_worker(GetWorkerRequest { worker_id: "w".repeat(99) }).await.unwrap_err();
            broken(status.source().unwrap_or_else(|| panic!("{status:?}")))
        };
        [call().await, call().await]
    }

    #[tokio::test]
    async fn a_reset_is_one_calls_own_and_anything_else_the_connections() {
        // acceptance 80
        let own = (Reason::RemoteRuntimeNetworkError, Some(Fault::BrokenOff));
        let connections = (Reason::RemoteRuntimeNetworkError, None);
        for code in [Code::INTERNAL_ERROR, Code::CANCEL, Code::REFUSED_STREAM, Code::NO_ERROR] {
            assert_eq!(called(End::Reset(code), 1_000).await, [own; 2], "{code:?}");
        }
        assert_eq!(called(End::ResetAfterHead(Code::INTERNAL_ERROR), 1_000).await, [own; 2]);
        for end in [End::GoAway(Code::INTERNAL_ERROR), End::GoAway(Code::NO_ERROR), End::Cut] {
            assert_eq!(called(end, 1_000).await, [connections; 2], "{end:?}");
        }
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_written_is_a_failure_of_this_side() {
        // acceptance 80
        let own = (Reason::RemoteRuntimeNetworkError, Some(Fault::Client));
        assert_eq!(called(End::Never, 1).await, [own; 2]);
    }
}
