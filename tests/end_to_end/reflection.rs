//! What a server tells of its own API, and of what it does not serve yet.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::FileDescriptorProto;
use prost_types::source_code_info::Location;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_reflection::pb::{v1 as stable, v1alpha as alpha};
use workplane::proto::v1;

use crate::support::{Client, EMBEDDED, Host, Plane, refusal, within};

/// Asks for a list of services and for the file with a symbol, in the one version or the other of the protocol.
macro_rules! reflect {
    ($name:ident, $version:ident) => {
        async fn $name(client: &Client, symbol: &str) -> (BTreeSet<String>, Vec<FileDescriptorProto>) {
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            let ask =
                |request| $version::ServerReflectionRequest { host: String::new(), message_request: Some(request) };
            let requests = [
                ask(MessageRequest::ListServices(String::new())),
                ask(MessageRequest::FileContainingSymbol(symbol.to_owned())),
            ];
            let mut reflection = $version::server_reflection_client::ServerReflectionClient::new(client.transport());
            let answers = within("reflection", reflection.server_reflection_info(tokio_stream::iter(requests))).await;
            let answers: Vec<_> = answers.unwrap().into_inner().collect().await;
            let (mut services, mut files) = (BTreeSet::new(), Vec::new());
            for answer in answers {
                match answer.unwrap().message_response.unwrap() {
                    MessageResponse::ListServicesResponse(list) => {
                        services.extend(list.service.into_iter().map(|service| service.name));
                    }
                    MessageResponse::FileDescriptorResponse(found) => {
                        let decode = |bytes: Vec<u8>| FileDescriptorProto::decode(bytes.as_slice()).unwrap();
                        files.extend(found.file_descriptor_proto.into_iter().map(decode));
                    }
                    other => panic!("{other:?}"),
                }
            }
            (services, files)
        }
    };
}

reflect!(by_v1, stable);
reflect!(by_v1alpha, alpha);

/// All comments in the files.
fn comments(files: &[FileDescriptorProto]) -> String {
    let info = files.iter().filter_map(|file| file.source_code_info.as_ref());
    info.flat_map(|info| &info.location).map(Location::leading_comments).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_reflection_list_the_services_and_their_comments() {
    let host = Host::named("one").start().await;
    let plane = Plane::new().start().await;
    for (client, symbol, services, words) in [
        (
            plane.client(),
            "workplane.v1.WorkerService",
            vec!["RuntimeService", "HostService", "WorkerService", "TranscriptService", "ObservationService"],
            "Spawns a worker.",
        ),
        (host.client(), "workplane.runtime.v1.WorkerRuntimeService", vec!["WorkerRuntimeService"], "Creates a worker."),
    ] {
        let package = symbol.rsplit_once('.').unwrap().0;
        for (listed, files) in [by_v1(&client, symbol).await, by_v1alpha(&client, symbol).await] {
            for service in &services {
                assert!(listed.contains(&format!("{package}.{service}")), "{service} is not in {listed:?}");
            }
            assert!(listed.contains("grpc.health.v1.Health"), "{listed:?}");
            assert!(comments(&files).contains(words), "{symbol} comes without its comments");
        }
        // So that a tool can print the details of an error.
        let (_, files) = by_v1(&client, "google.rpc.ErrorInfo").await;
        assert!(!files.is_empty());
    }
}

/// Asserts that a method says that it is to come.
macro_rules! not_yet {
    ($client:expr, $method:ident, $request:expr) => {{
        let refused = $client.$method($request).await.map(drop).unwrap_err();
        assert_eq!(refusal(&refused).is(), (Code::Unimplemented, "NOT_YET"), stringify!($method));
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_are_to_come_say_so() {
    let plane = Plane::new().start().await;
    let client = plane.client();
    let (runtime_id, _) = plane.spawn(EMBEDDED, "builtin:coder").await.ids();
    let (mut runtimes, mut workers) = (client.runtimes(), client.workers());
    let mut observations = client.observations();
    let registration = || {
        let labels = std::collections::BTreeMap::new();
        let (runtime_id, endpoint) = ("two".to_owned(), "http://127.0.0.1:1".to_owned());
        Some(v1::RuntimeRegistration { runtime_id, display_name: "Two".to_owned(), endpoint, labels })
    };
    not_yet!(
        runtimes,
        register_runtime,
        v1::RegisterRuntimeRequest { registration: registration(), ..Default::default() }
    );
    not_yet!(runtimes, update_runtime, v1::UpdateRuntimeRequest { registration: registration(), ..Default::default() });
    not_yet!(
        runtimes,
        remove_runtime,
        v1::RemoveRuntimeRequest { runtime_id: runtime_id.clone(), ..Default::default() }
    );
    not_yet!(
        runtimes,
        set_runtime_cordon,
        v1::SetRuntimeCordonRequest { runtime_id: runtime_id.clone(), ..Default::default() }
    );
    not_yet!(runtimes, watch_runtimes, v1::WatchRuntimesRequest::default());
    not_yet!(workers, watch_workers, v1::WatchWorkersRequest::default());
    not_yet!(observations, observe_workers, v1::ObserveWorkersRequest::default());
}
