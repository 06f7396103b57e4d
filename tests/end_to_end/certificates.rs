//! Certificates that run out, and handshakes that fail: what operators see of them.
#![allow(clippy::float_cmp, reason = "what is compared are counts and dates, which are exact")]

use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use workplane::proto::v1;

use crate::support::{Certificates, Client, Host, Plane, Proxy, Running, Scrape, TOKEN, until, within};

/// The beginning of the year 4000, which is the end of certificates that last.
const FAR: f64 = 64_060_588_800.0;
const DAY: Duration = Duration::from_hours(24);

async fn lists(client: &Client) -> bool {
    client.runtimes().list_runtimes(v1::ListRuntimesRequest::default()).await.is_ok()
}

/// Waits for a line of the log that has all of these words; how many there are.
async fn told(log: impl Fn() -> String, words: &[&str]) -> usize {
    until(&format!("a line of the log that says {words:?}"), async || {
        let log = log();
        let lines = log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
        (lines > 0).then_some(lines)
    })
    .await
}

async fn until_watched(server: &Running) {
    told(|| server.log(), &["files are looked after"]).await;
}

fn expiry(scrape: &Scrape, role: &str) -> f64 {
    scrape.sum("workplane_certificate_expiry_timestamp_seconds", &[("role", role)])
}

fn refused(scrape: &Scrape, kind: &str) -> f64 {
    scrape.sum("workplane_files_refused_total", &[("kind", kind)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_whose_time_is_over_or_has_not_come_takes_no_other_ones_place() {
    let ours = Certificates::new();
    ours.issue("plane", &["plane.test"]);
    let mut plane = Plane::new().set(ours.served("plane")).metrics().start().await;
    until_watched(plane.process()).await;
    let address = plane.address();
    let shows = async |name: &str| lists(&Client::over(ours.channel(address, name, None), Some(TOKEN))).await;
    assert!(shows("plane.test").await);

    let tomorrow = SystemTime::now() + DAY;
    let from = humantime::format_rfc3339_seconds(tomorrow).to_string();
    let before = format!("plane.pem has a certificate in it that is not valid before {from}");
    let expired = "plane.pem has a certificate in it that expired at 2001-01-01T00:00:00Z";
    ours.issue_expired("plane", &["other.test"]);
    assert_eq!(told(|| plane.log(), &["a file cannot be used", expired]).await, 1);
    assert!(shows("plane.test").await && !shows("other.test").await, "what was in force stays");
    ours.issue_within("plane", &(tomorrow..tomorrow + DAY), &["other.test"]);
    assert_eq!(told(|| plane.log(), &["a file cannot be used", &before]).await, 1);
    assert!(shows("plane.test").await && !shows("other.test").await, "what was in force stays");
    let seen = plane.scrape().await;
    assert!(refused(&seen, "certificate") >= 2.0, "{seen:?}");
    assert_eq!((refused(&seen, "tokens"), refused(&seen, "authority")), (0.0, 0.0));
    assert_eq!(expiry(&seen, "server"), FAR);

    // Nor by the file being read again.
    plane.process().signal(Signal::HUP);
    assert_eq!(told(|| plane.log(), &["the configuration is refused: nothing was changed", &before]).await, 1);
    assert!(shows("plane.test").await && !shows("other.test").await, "what was in force stays");
    let log = plane.log();
    let lines =
        |words: &str| log.lines().filter(|line| line.contains("a file cannot be used") && line.contains(words)).count();
    assert_eq!((lines(expired), lines(&before)), (1, 1), "{log}");

    ours.issue("plane", &["other.test"]);
    until("a good one to be shown", async || shows("other.test").await.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_to_a_host_is_not_exchanged_for_what_it_would_refuse() {
    let ours = Certificates::new();
    ours.issue("host", &["host.test"]);
    ours.issue("plane", &["plane.test"]);
    let asks = ("tls_client_ca".to_owned(), ours.named("ca.pem"));
    let host = Host::named("one").set(ours.served("host")).set([asks]).start().await;
    let wire = Proxy::to(host.address()).await;
    let mut entry = host.entry(wire.address());
    entry.tls =
        [ours.trusted(), ours.shown("plane"), vec![("server_name".to_owned(), "host.test".to_owned())]].concat();
    let mut plane = Plane::new().remote(entry).metrics().start().await;
    plane.runtime_is("one", v1::RuntimeStatus::Running).await;
    until_watched(plane.process()).await;
    ours.issue_expired("plane", &["plane.test"]);
    told(|| plane.log(), &["a file cannot be used", "remote runtime one", "expired at 2001-01-01T00:00:00Z"]).await;
    let before = wire.connections();
    wire.cut();
    until("another connection", async || (wire.connections() > before).then_some(())).await;
    plane.runtime_is("one", v1::RuntimeStatus::Running).await;
    let seen = plane.scrape().await;
    assert_eq!((expiry(&seen, "client"), expiry(&seen, "server")), (FAR, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_runs_out_is_told_when_it_comes_in_force() {
    let ours = Certificates::new();
    ours.issue_expired("plane", &["plane.test"]);
    let plane = Plane::new().set(ours.served("plane")).metrics().start().await;
    // It serves: whoever looks at no dates is served, and another one is taken without a restart.
    told(|| plane.log(), &["ERROR", "a certificate has expired", "plane.pem", "2001-01-01T00:00:00Z"]).await;
    assert_eq!(expiry(&plane.scrape().await, "server"), 978_307_200.0);
    let now = SystemTime::now();
    ours.issue_within("plane", &(now - DAY..now + 20 * DAY), &["plane.test"]);
    told(|| plane.log(), &["WARN", "a certificate expires soon", "plane.pem", "days=19"]).await;
    let client = Client::over(ours.channel(plane.address(), "plane.test", None), Some(TOKEN));
    assert!(lists(&client).await);
    ours.issue("plane", &["later.test"]);
    until("another one", async || (expiry(&plane.scrape().await, "server") == FAR).then_some(())).await;
    let log = plane.log();
    for once in ["a certificate has expired", "a certificate expires soon"] {
        assert_eq!(log.matches(once).count(), 1, "{once}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_fail_are_counted_by_why() {
    let (ours, other) = (Certificates::new(), Certificates::new());
    ours.issue("plane", &["plane.test"]);
    other.issue("me", &["me.test"]);
    let asks = ("tls_client_ca".to_owned(), ours.named("ca.pem"));
    let plane = Plane::new().set(ours.served("plane")).set([asks]).metrics().start().await;
    let whys = [
        "not_tls",
        "no_certificate",
        "certificate",
        "refused_by_client",
        "protocol",
        "too_long",
        "gave_way",
        "broken_off",
    ];
    let count = async |why: &str| {
        let seen = plane.scrape().await;
        let series = "workplane_tls_handshakes_failed_total";
        assert_eq!(seen.named(series).count(), whys.len(), "they are there before anything happens");
        seen.sum(series, &[("why", why)])
    };
    for why in whys {
        assert_eq!(count(why).await, 0.0, "{why}");
    }
    let counted = async |why: &str| {
        until(&format!("{why} to be counted"), async || (count(why).await >= 1.0).then_some(())).await;
    };
    let mut clear = TcpStream::connect(plane.address()).await.unwrap();
    clear.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    _ = within("its end", clear.read_to_end(&mut Vec::new())).await;
    counted("not_tls").await;
    drop(TcpStream::connect(plane.address()).await.unwrap());
    counted("broken_off").await;
    let fails = async |channel| assert!(!lists(&Client::over(channel, Some(TOKEN))).await);
    fails(ours.channel(plane.address(), "plane.test", None)).await;
    counted("no_certificate").await;
    fails(other.channel(plane.address(), "plane.test", None)).await;
    counted("refused_by_client").await;
    let stranger = ours.channel_showing(plane.address(), "plane.test", Some((&other, "me")));
    fails(stranger).await;
    counted("certificate").await;
}
