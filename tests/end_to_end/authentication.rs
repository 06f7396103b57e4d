//! Who may call: a token opens everything, and nothing but health is open without one.

use prost_reflect::DescriptorPool;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use workplane::proto::{FILE_DESCRIPTOR_SET, v1};

use crate::support::{Client, Host, Plane, Running, refusal, until, write_secret};

const REFLECTION: [&str; 2] = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// The paths of all methods of a package.
fn methods(package: &str) -> Vec<String> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let services = pool.services().filter(|service| service.package_name() == package);
    let paths = |service: prost_reflect::ServiceDescriptor| {
        let name = service.full_name().to_owned();
        service.methods().map(|method| format!("/{name}/{}", method.name())).collect::<Vec<_>>()
    };
    let methods: Vec<_> = services.flat_map(paths).collect();
    assert!(methods.len() > 10);
    methods
}

/// Calls a method with an empty request.
async fn call(client: &Client, path: &str) -> Result<(), Status> {
    let mut grpc = Grpc::new(client.transport());
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path: PathAndQuery = path.parse().unwrap();
    grpc.unary(Request::new(()), path, ProstCodec::<(), ()>::default()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_no_method_is_served() {
    // acceptance 123
    let host = Host::named("one").start().await;
    let plane = Plane::new().start().await;
    for (address, package) in [(plane.address(), "workplane.v1"), (host.address(), "workplane.runtime.v1")] {
        let mut paths = methods(package);
        paths.extend(REFLECTION.map(|service| format!("/{service}/ServerReflectionInfo")));
        for token in [None, Some("wrong"), Some("token-of-the-test"), Some("token-of-the-tests-"), Some("")] {
            let client = Client::new(address, token);
            for path in &paths {
                let refused = refusal(&call(&client, path).await.unwrap_err());
                assert_eq!(refused.is(), (Code::Unauthenticated, "UNAUTHENTICATED"), "{path} with {token:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_which_token_file_is_in_force_what_named_it_and_that_callers_are_refused() {
    let mut plane = Plane::new().start().await;
    let started = plane.process().log();
    assert!(started.contains("callers must show a token of this file"), "{started}");
    assert!(started.contains("named_by=--token-file"), "{started}");
    let stranger = Client::new(plane.address(), Some("not-a-token-of-ours"));
    call(&stranger, "/workplane.v1.RuntimeService/ListRuntimes").await.unwrap_err();
    let running = plane.process();
    let told = || std::future::ready(Some(running.log()).filter(|log| log.contains("calls were refused")));
    let log = until("the log to say so", told).await;
    assert!(!log.contains("not-a-token-of-ours"), "{log}");

    // One that was meant for a client is seen to be the server's as well.
    let directory = tempfile::tempdir().unwrap();
    let tokens = write_secret(directory.path(), "tokens", "a-token-of-a-client\n");
    let environment = [("WORKPLANE_TOKEN_FILE", tokens.to_str().unwrap())];
    let host = Running::try_start("a host", &["runtime", "--listen", "127.0.0.1:0"], &environment).await.unwrap();
    assert!(host.log().contains("named_by=WORKPLANE_TOKEN_FILE"), "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_token_every_method_is_there() {
    let host = Host::named("one").start().await;
    let plane = Plane::new().start().await;
    for (client, package) in [(plane.client(), "workplane.v1"), (host.client(), "workplane.runtime.v1")] {
        for path in methods(package) {
            let Err(status) = call(&client, &path).await else { continue };
            // An empty request is refused by its fields, or because the method is to come: never for want of it.
            let told = refusal(&status);
            assert!(
                told.reason == "NOT_YET" || matches!(told.code, Code::InvalidArgument | Code::NotFound),
                "{path}: {told:?}"
            );
        }
        let nowhere = call(&client, "/workplane.v1.WorkerService/NoSuchMethod").await.unwrap_err();
        assert_eq!(refusal(&nowhere).is(), (Code::Unimplemented, "NOT_YET"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_in_the_path_leads_nowhere() {
    let plane = Plane::new().start().await;
    let refused = call(&plane.client(), "/workplane.v1.RuntimeService/ListRuntimes?x=1").await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::Unimplemented, "NOT_YET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_open_and_knows_each_service() {
    let host = Host::named("one").start().await;
    let plane = Plane::new().start().await;
    let services = |names: &[&'static str]| [&[""], names].concat();
    for (address, names) in [
        (
            plane.address(),
            services(&[
                "workplane.v1.RuntimeService",
                "workplane.v1.HostService",
                "workplane.v1.WorkerService",
                "workplane.v1.TranscriptService",
                "workplane.v1.ObservationService",
                "workplane.v1.ConfigBundleService",
            ]),
        ),
        (host.address(), services(&["workplane.runtime.v1.WorkerRuntimeService"])),
    ] {
        let mut health = HealthClient::new(Client::new(address, None).channel());
        for name in names {
            let answer = health.check(HealthCheckRequest { service: name.to_owned() }).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{name}");
        }
        let unknown = health.check(HealthCheckRequest { service: "no.such.Service".to_owned() }).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_role_does_not_open_the_other() {
    let host = Host::named("one").start().await;
    let plane = Plane::new().host(&host).start().await;
    let crossed = Client::new(plane.address(), Some("token-of-one"));
    let refused = crossed.runtimes().list_runtimes(v1::ListRuntimesRequest::default()).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::Unauthenticated, "UNAUTHENTICATED"));
}
