//! A trace goes from a client through the control plane to a host, whoever of them sends it to a collector.

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rustix::process::Signal;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use workplane::model::TraceParent;
use workplane::proto::v1;

use crate::support::{Client, Collector, EMBEDDED, Host, Plane, Profile, Remote, Worker, attribute, within};

const SEND: &str = "workplane.v1.WorkerService/SendInput";
const HOSTS_SEND: &str = "workplane.runtime.v1.WorkerRuntimeService/SendInput";
/// Where nobody listens.
const NOWHERE: &str = "127.0.0.1:1";
/// What is said, and must be in no trace.
const CONTENT: &str = "content-that-is-nobodys-business";

fn parent(n: u8, is_sampled: bool) -> TraceParent {
    TraceParent { trace_id: [n; 16], span_id: [n; 8], is_sampled }
}

async fn send(worker: &Worker, traceparent: &str, request_id: &str) -> Result<(), Status> {
    let request_id = request_id.to_owned();
    let mut request = Request::new(v1::SendInputRequest { request_id, ..worker.input(CONTENT) });
    request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    within("an input", worker.client().workers().send_input(request)).await.map(|_| ())
}

fn has(span: &Span, attributes: &[(&str, &str)]) {
    for (name, value) in attributes {
        assert_eq!(attribute(span, name).as_deref(), Some(*value), "{name} of {span:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_client_to_host_and_its_flag_decides() {
    let collector = Collector::start().await;
    let cat = Profile::text(["cat"]);
    let host = Host::named("one").profile("builtin:coder", cat).traces(collector.address(), 1.0).start().await;
    let plane = Plane::new().host(&host).traces(collector.address(), 0.0).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;
    // Not to be kept, malformed, and to be kept: in this order they are sent to the collector, too.
    send(&worker, &parent(1, false).to_string(), "r-1").await.unwrap();
    send(&worker, "00-malformed", "r-2").await.unwrap();
    send(&worker, &parent(3, true).to_string(), "r-3").await.unwrap();

    let trace_id = [3; 16];
    let server = collector.span(&trace_id, SpanKind::Server.into(), SEND).await;
    assert_eq!(server.parent_span_id, [3; 8]);
    has(&server, &[("rpc.method", "SendInput"), ("workplane.caller", "tests"), ("workplane.request_id", "r-3")]);
    has(&server, &[("rpc.grpc.status", "OK")]);
    let client = collector.span(&trace_id, SpanKind::Client.into(), HOSTS_SEND).await;
    assert_eq!(client.parent_span_id, server.span_id);
    has(&client, &[("workplane.runtime_id", "one"), ("workplane.outcome", "ok"), ("workplane.attempts", "1")]);
    let hosts = collector.span(&trace_id, SpanKind::Server.into(), HOSTS_SEND).await;
    assert_eq!(hosts.parent_span_id, client.span_id);
    has(&hosts, &[("workplane.request_id", "r-3"), ("rpc.grpc.status", "OK")]);

    let others = collector.spans().into_iter().filter(|span| span.trace_id != trace_id);
    // What the control plane asks for itself begins a trace at the host, which keeps all; nothing else was kept.
    let others: Vec<_> = others.filter(|span| !span.name.ends_with("/GetRuntime")).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(!format!("{:?}", collector.spans()).contains(CONTENT));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_decides_nothing() {
    let collector = Collector::start().await;
    let cat = Profile::text(["cat"]);
    let plane = Plane::new().profile("builtin:coder", cat).traces(collector.address(), 0.0).start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    let stranger = Client::new(plane.address(), Some("not-a-token"));
    let refused = send(&worker.through(stranger), &parent(1, true).to_string(), "r-1").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut check = Request::new(HealthCheckRequest::default());
    check.metadata_mut().insert("traceparent", parent(2, true).to_string().parse().unwrap());
    let mut health = HealthClient::new(Client::new(plane.address(), None).channel());
    within("health", health.check(check)).await.unwrap();
    // In this order they would have been sent to the collector.
    send(&worker, &parent(3, true).to_string(), "r-3").await.unwrap();
    collector.span(&[3; 16], SpanKind::Server.into(), SEND).await;
    let others: Vec<_> = collector.spans().into_iter().filter(|span| span.trace_id != [3; 16]).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_sends_no_traces_hands_them_on() {
    let collector = Collector::start().await;
    let cat = Profile::text(["cat"]);
    let host = Host::named("one").profile("builtin:coder", cat).traces(collector.address(), 0.0).start().await;
    let plane = Plane::new().host(&host).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;
    send(&worker, &parent(7, true).to_string(), "r-1").await.unwrap();
    let hosts = collector.span(&[7; 16], SpanKind::Server.into(), HOSTS_SEND).await;
    assert_eq!(hosts.parent_span_id, [7; 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_no_fault_of_the_caller_is_an_error_of_the_span() {
    const ERROR: i32 = 2;
    let collector = Collector::start().await;
    let host = Host::named("one").start().await;
    let away =
        Remote { runtime_id: "away".to_owned(), address: NOWHERE.parse().unwrap(), ..host.entry(host.address()) };
    let plane = Plane::new().remote(away).traces(collector.address(), 0.0).start().await;
    for (n, runtime_id, code, told, status) in
        [(1, EMBEDDED, Code::NotFound, "NOT_FOUND", 0), (2, "away", Code::Unavailable, "UNAVAILABLE", ERROR)]
    {
        let worker =
            v1::Worker { worker_id: "worker-1".to_owned(), runtime_id: runtime_id.to_owned(), ..Default::default() };
        let worker = Worker::of(plane.client(), &worker);
        let refused = send(&worker, &parent(n, true).to_string(), "r-1").await.unwrap_err();
        assert_eq!(refused.code(), code);
        let span = collector.span(&[n; 16], SpanKind::Server.into(), SEND).await;
        has(&span, &[("rpc.grpc.status", told)]);
        assert_eq!(span.status.unwrap_or_default().code, status);
    }
    let call = collector.span(&[2; 16], SpanKind::Client.into(), HOSTS_SEND).await;
    has(&call, &[("workplane.outcome", "unreached")]);
    assert_eq!(call.status.unwrap_or_default().code, ERROR);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_no_call_and_no_end() {
    let nowhere = NOWHERE.parse().unwrap();
    let cat = Profile::text(["cat"]);
    let mut plane = Plane::new().profile("builtin:coder", cat).traces(nowhere, 1.0).start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    for n in 0..100 {
        worker.send(&format!("input {n}")).await;
    }
    plane.process().signal(Signal::TERM);
    assert!(plane.process().ended().await.success());
    assert!(plane.log().contains("the collector"), "{}", plane.log());
}
