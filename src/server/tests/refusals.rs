//! What the transport would tell by itself, we tell with a reason.

use tokio::net::TcpStream;

use super::*;

/// The path of a method of the control plane that changes nothing.
const LIST: &str = "/workplane.v1.RuntimeService/ListRuntimes";

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_is_ours_to_tell_and_not_the_transports() {
    let plane = Plane::control().await;
    let socket = TcpStream::connect(plane.address).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    // A client that does not watch its deadline itself, and whose message never comes.
    let mut bodies = Vec::new();
    let mut answers = Vec::new();
    for n in 0..60 {
        let request = http::Request::post(format!("http://{}{LIST}", plane.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", "Bearer s3cret")
            .header("grpc-timeout", format!("{}m", 1 + n % 60));
        requests = requests.ready().await.unwrap();
        let (answer, body) = requests.send_request(request.body(()).unwrap(), false).unwrap();
        answers.push(answer);
        bodies.push(body);
    }
    for answer in answers {
        let answer = answer.await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "DEADLINE_EXCEEDED");
    }
}

#[tokio::test]
async fn what_is_not_a_call_of_grpc_is_told_so_by_http_whoever_asks() {
    let plane = Plane::control().await;
    let socket = TcpStream::connect(plane.address).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    for (method, kind, told) in [("GET", "application/grpc", 405), ("POST", "application/json", 415)] {
        let request = http::Request::builder().method(method).uri(format!("http://{}{LIST}", plane.address));
        let request = request.header("content-type", kind).body(()).unwrap();
        requests = requests.ready().await.unwrap();
        let (answer, _) = requests.send_request(request, true).unwrap();
        let mut answer = answer.await.unwrap();
        assert_eq!(answer.status(), told);
        let words = answer.body_mut().data().await.unwrap().unwrap();
        assert!(words.starts_with(b"this is a gRPC server"), "{words:?}");
    }
}

#[tokio::test]
async fn what_the_transport_refuses_has_a_reason_too() {
    let plane = Plane::control().await;
    let refused = async |path: String, message: bytes::Bytes| {
        let mut grpc = tonic::client::Grpc::new(InterceptedService::new(plane.channel.clone(), Bearer));
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<Raw, Raw>::default();
        let status = grpc.unary(Request::new(Raw(message)), path.parse().unwrap(), codec).await.unwrap_err();
        let info = status.get_details_error_info().unwrap_or_else(|| panic!("{path}: {status:?}"));
        assert_eq!(info.domain, "workplane");
        (status.code(), info.reason)
    };
    let large = bytes::Bytes::from(vec![0; 256 * 1024 + 1]);
    let no_message = bytes::Bytes::from_static(b"\xff\xff");
    for (path, message, code, reason) in [
        (LIST.to_owned(), large, Code::InvalidArgument, "INVALID_REQUEST"),
        (LIST.to_owned(), no_message, Code::InvalidArgument, "INVALID_REQUEST"),
        (LIST.to_owned() + "?x=1", bytes::Bytes::new(), Code::Unimplemented, "NOT_YET"),
        (LIST.to_owned() + "2", bytes::Bytes::new(), Code::Unimplemented, "NOT_YET"),
        ("/no.such.Service/Method".to_owned(), bytes::Bytes::new(), Code::Unimplemented, "NOT_YET"),
    ] {
        assert_eq!(refused(path.clone(), message).await, (code, reason.to_owned()), "{path}");
    }
}

/// A message that is what its bytes are.
#[derive(Debug, Default, Clone, PartialEq)]
struct Raw(bytes::Bytes);

impl prost::Message for Raw {
    fn encode_raw(&self, buf: &mut impl bytes::BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: prost::encoding::WireType,
        _: &mut impl bytes::Buf,
        _: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {}
}
