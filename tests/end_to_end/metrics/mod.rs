//! What operators see of a running system, and that nobody else can make it more.
#![allow(clippy::float_cmp, reason = "what is compared are counts, which are exact")]

mod promql;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use workplane::metrics::{Kind, families};
use workplane::proto::v1::{StopMode, WorkerState};
use workplane::proto::{FILE_DESCRIPTOR_SET, v1};

use self::promql::Asked;
use crate::support::{Certificates, Client, EMBEDDED, Host, Plane, Profile, Remote, Scrape, Worker, until};

/// A control plane with a host, and another one that is away. All that can happen has happened.
struct Busy {
    plane: Plane,
    host: Host,
    _certificates: Certificates,
}

impl Busy {
    async fn start() -> Self {
        let cat = || Profile::text(["cat"]);
        // It fails at its first input, and goes on with the second.
        let failing = Profile::script("read line && exit 1").restarting();
        let host = Host::named("one").profile("builtin:coder", cat()).profile("builtin:reviewer", failing);
        let certificates = Certificates::new();
        certificates.issue("host", &["localhost", "127.0.0.1"]);
        certificates.issue("plane", &["plane.test"]);
        let host = host.set(certificates.served("host")).durable().metrics().start().await;
        let entry = Remote {
            tls: [certificates.trusted(), certificates.shown("plane")].concat(),
            ..host.entry(host.address())
        };
        let away = Remote { runtime_id: "away".to_owned(), address: "127.0.0.1:1".parse().unwrap(), ..entry.clone() };
        let plane = Plane::new().profile("builtin:coder", cat()).remote(entry).remote(away);
        let busy = Self { plane: plane.durable().metrics().start().await, host, _certificates: certificates };
        busy.happen().await;
        busy
    }

    async fn happen(&self) {
        for runtime_id in [EMBEDDED, "one"] {
            let worker = self.plane.spawn(runtime_id, "builtin:coder").await;
            worker.send("hello").await;
            let mut stream = worker.observe().await;
            stream.first("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;
            worker.stop(StopMode::Graceful).await;
            stream.rest().await;
            worker.page(0, 10).await.unwrap();
        }
        let failing = self.plane.spawn("one", "builtin:reviewer").await;
        failing.send("fail").await;
        until("the program to be started anew", || async {
            let worker = failing.get().await;
            (worker.run_generation > 1 && worker.state() == WorkerState::Running).then_some(())
        })
        .await;
        self.plane.runtime_is("one", v1::RuntimeStatus::Running).await;
        let nobody = Worker::of(
            self.plane.client(),
            &v1::Worker { runtime_id: "away".to_owned(), worker_id: "worker-1".to_owned(), ..Default::default() },
        );
        assert_eq!(nobody.try_get().await.unwrap_err().code(), Code::Unavailable);
        self.past_its_deadline().await;
        let stranger = Client::new(self.plane.address(), Some("not-a-token"));
        let refused = stranger.runtimes().list_runtimes(v1::ListRuntimesRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }

    /// A stream that ends by its deadline, as it is meant to.
    async fn past_its_deadline(&self) {
        let worker = self.plane.spawn(EMBEDDED, "builtin:coder").await;
        // Where it is not even open by then, it is the client that gives up.
        until("a stream to end by its deadline", || async {
            let mut request = Request::new(worker.observation());
            request.set_timeout(Duration::from_millis(500));
            let mut stream = self.plane.client().observations().observe_worker(request).await.ok()?.into_inner();
            loop {
                match stream.message().await {
                    Ok(frame) => drop(frame.expect("it does not end well")),
                    Err(ended) => return (ended.code() == Code::DeadlineExceeded).then_some(()),
                }
            }
        })
        .await;
    }

    async fn scrapes(&self) -> [Scrape; 2] {
        [self.plane.scrape().await, self.host.scrape().await]
    }
}

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// The expressions of the dashboard, each by the title of its panel.
fn of_the_dashboard() -> Vec<(String, String)> {
    let text = fs::read_to_string(deployed("deploy/grafana/workplane.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(panel["type"] == "row" || !targets.is_empty(), "{panel}");
        let title = panel["title"].as_str().unwrap();
        found.extend(targets.iter().map(|target| (title.to_owned(), target["expr"].as_str().unwrap().to_owned())));
    }
    found
}

/// The alerts: each is written with one key a line.
fn alerts() -> Vec<Vec<(String, String)>> {
    let text = fs::read_to_string(deployed("deploy/prometheus/alerts.yaml")).unwrap();
    let alert = |text: &str| {
        let lines = text.lines().filter_map(|line| line.trim().split_once(": "));
        lines.map(|(key, value)| (key.to_owned(), value.trim_matches('\'').to_owned())).collect()
    };
    text.split("- alert: ").skip(1).map(|text| alert(&format!("alert: {text}"))).collect()
}

/// The headings of a document, as links name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect()
    };
    headings.map(anchor).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_series_of_the_dashboard_and_of_the_alerts_is_there() {
    let busy = Busy::start().await;
    let scrapes = busy.scrapes().await;
    let dashboard = of_the_dashboard();
    let of_alert = |alert: &Vec<(String, String)>| {
        let value = |key: &str| alert.iter().find(|(is, _)| is == key).map(|(_, value)| value.clone());
        (value("alert").unwrap(), value("expr").unwrap())
    };
    let alerts: Vec<_> = alerts().iter().map(of_alert).collect();
    assert!(dashboard.len() > 20 && alerts.len() > 8, "{} {}", dashboard.len(), alerts.len());
    for (title, expression) in dashboard.iter().chain(&alerts) {
        let asked = Asked::by(expression);
        let lacks = asked.lacks(&scrapes);
        assert!(lacks.is_empty(), "{title}: {expression}\nlacks {lacks:?}");
        assert!(asked.is_ours() || expression.starts_with("up{"), "{title}: {expression}");
    }
}

#[test]
fn every_alert_says_what_happened_and_where_it_stands_what_to_do() {
    let operations = anchors(&fs::read_to_string(deployed("docs/operations.md")).unwrap());
    for alert in alerts() {
        let value = |key: &str| {
            let found = alert.iter().find(|(is, _)| is == key).map(|(_, value)| value.as_str());
            found.filter(|value| !value.is_empty()).unwrap_or_else(|| panic!("{key} is not in {alert:?}"))
        };
        for key in ["alert", "expr", "for", "severity", "summary", "description"] {
            value(key);
        }
        let anchor = value("runbook").strip_prefix("docs/operations.md#").expect("it is a heading of operations.md");
        assert!(operations.contains(anchor), "{anchor} is none of {operations:?}");
    }
}

#[test]
fn streams_that_end_as_they_are_meant_to_raise_no_alert() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let ours = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let mut streams: BTreeSet<_> =
        ours.filter(MethodDescriptor::is_server_streaming).map(|method| method.name().to_owned()).collect();
    streams.insert("ServerReflectionInfo".to_owned());
    let alerts = alerts();
    let fails = alerts.iter().find(|alert| alert.iter().any(|(_, value)| value == "WorkplaneCallsFail")).unwrap();
    let (_, expression) = fails.iter().find(|(key, _)| key == "expr").unwrap();
    let (_, spared) =
        expression.split_once(" unless rate(workplane_calls_total{method=~\"").expect("it spares streams");
    let (methods, codes) = spared.split_once('"').unwrap();
    assert_eq!(methods.split('|').map(str::to_owned).collect::<BTreeSet<_>>(), streams);
    assert!(codes.starts_with(",code=~\"UNAVAILABLE|DEADLINE_EXCEEDED\"}"), "{codes}");
    // Nor do health checks thin it.
    assert_eq!(expression.matches("service!=\"grpc.health.v1.Health\"").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_family_is_there_with_its_meaning_and_no_other_is() {
    let busy = Busy::start().await;
    let scrapes = busy.scrapes().await;
    for family in families::ALL {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let said = scrapes.iter().find_map(|scrape| scrape.said.get(family.name));
        assert_eq!(said, Some(&(family.help.to_owned(), kind.to_owned())), "{}", family.name);
    }
    let documented = fs::read_to_string(deployed("docs/operations.md")).unwrap();
    for name in scrapes.iter().flat_map(|scrape| scrape.said.keys()) {
        assert!(families::ALL.iter().any(|family| family.name == name), "{name} is nowhere described");
        assert!(documented.contains(&format!("`{name}`")), "{name} is not in operations.md");
    }
    let [plane, host] = &scrapes;
    let sent = [("service", "workplane.v1.WorkerService"), ("method", "SendInput"), ("code", "OK")];
    assert_eq!(plane.sum("workplane_calls_total", &sent), 3.0);
    assert_eq!(plane.sum("workplane_call_seconds_count", &sent[..2]), 3.0);
    assert_eq!(plane.sum("workplane_host_calls_total", &[("method", "SendInput"), ("outcome", "ok")]), 2.0);
    assert_eq!(plane.sum("workplane_host_reachable", &[("runtime_id", "one")]), 1.0);
    assert_eq!(plane.sum("workplane_host_reachable", &[("runtime_id", "away")]), 0.0);
    assert_eq!(plane.sum("workplane_tokens_refused_total", &[]), 1.0);
    assert_eq!(plane.sum("workplane_workers", &[("state", "stopped")]), 1.0);
    assert!(plane.sum("workplane_frames_sent_total", &[]) >= 10.0);
    assert_eq!(host.sum("workplane_workers", &[("state", "running")]), 1.0);
    assert_eq!(host.sum("workplane_worker_restarts_total", &[]), 1.0);
    assert!(host.sum("workplane_store_sync_seconds_count", &[("store", "workers")]) >= 3.0);
    assert!(host.sum("workplane_store_group_batches_sum", &[("store", "workers")]) >= 3.0);
    assert!(host.sum("workplane_resident_memory_bytes", &[]) > 1e6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_makes_up_makes_no_series() {
    let busy = Busy::start().await;
    let client = busy.plane.client();
    let made_up = async |n: usize| {
        let mut channel = Grpc::new(client.transport());
        channel.ready().await.unwrap();
        let path = PathAndQuery::try_from(format!("/made.up.V{n}/Method{n}")).unwrap();
        let codec = ProstCodec::<v1::ListRuntimesRequest, v1::ListRuntimesResponse>::default();
        let refused = channel.unary(Request::new(v1::ListRuntimesRequest::default()), path, codec).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        for runtime_id in [EMBEDDED.to_owned(), "one".to_owned(), format!("nowhere-{n}")] {
            let request = v1::GetWorkerRequest { runtime_id, worker_id: format!("made-up-{n}") };
            assert_eq!(client.workers().get_worker(request).await.unwrap_err().code(), Code::NotFound);
        }
    };
    made_up(0).await;
    let before = busy.scrapes().await;
    for n in 1..=1_000 {
        made_up(n).await;
    }
    let after = busy.scrapes().await;
    for (before, after) in before.iter().zip(&after) {
        let new: Vec<_> = after.keys().difference(&before.keys()).copied().cloned().collect();
        assert!(new.is_empty(), "{new:?}");
    }
    let other = [("service", "other"), ("method", "other"), ("code", "UNIMPLEMENTED")];
    assert_eq!(after[0].sum("workplane_calls_total", &other), 1_001.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_removed_leaves_nothing_that_stands() {
    let host = Host::named("one").start().await;
    let mut plane = Plane::new().host(&host).metrics().start().await;
    plane.runtime_is("one", v1::RuntimeStatus::Running).await;
    let standing = async |plane: &Plane| plane.scrape().await.named("workplane_host_reachable").count();
    assert_eq!(standing(&plane).await, 1);
    plane.remove("one");
    until("the host to be gone", || async { (standing(&plane).await == 0).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_reach_is_warned_of() {
    for (address, is_warned) in [("127.0.0.1:0", false), ("0.0.0.0:0", true)] {
        let plane = Plane::new().metrics_on(address).start().await;
        plane.scrape().await;
        let warned = || async { plane.log().contains("metrics_listen is not a loopback address").then_some(()) };
        if is_warned {
            until("the warning", warned).await;
        } else {
            assert_eq!(warned().await, None);
        }
    }
}
