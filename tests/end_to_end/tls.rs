//! TLS: who is served, who is not, and what is told to those who are not.

use std::process::Output;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use workplane::proto::v1;

use crate::support::{Certificates, Client, Host, Plane, Profile, TOKEN, refusal, run, until, within};

/// A control plane that serves TLS under this name and on this machine's address.
async fn plane(certificates: &Certificates) -> Plane {
    certificates.issue("plane", &["plane.test", "127.0.0.1"]);
    Plane::new().set(certificates.served("plane")).start().await
}

/// What the command line says of a control plane.
async fn runtimes(plane: &Plane, scheme: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let (endpoint, tokens) = (format!("{scheme}://{}", plane.address()), plane.token_file());
    let common = ["runtimes", "--endpoint", &endpoint, "--token-file", tokens.to_str().unwrap()];
    let Output { status, stdout, stderr } = run(&[&common[..], arguments].concat()).await;
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_trusts_the_authority_is_served_and_all_others_are_told_why_not() {
    let (ours, other) = (Certificates::new(), Certificates::new());
    let plane = plane(&ours).await;
    let (ca, other_ca) = (ours.named("ca.pem"), other.named("ca.pem"));
    for arguments in [&["--ca-file", &*ca][..], &["--ca-file", &*ca, "--server-name", "plane.test"]] {
        let (code, said) = runtimes(&plane, "https", arguments).await;
        assert!(code == Some(0) && said.contains("embedded-worker-runtime"), "{said}");
    }
    for (scheme, arguments, code, words) in [
        ("https", &["--ca-file", &*other_ca][..], 1, "certificate is of no authority that is trusted here"),
        ("https", &["--ca-file", &*ca, "--server-name", "other.test"], 1, "certificate is not valid for other.test"),
        ("https", &["--ca-file", &*ca, "--server-name", "a b"], 2, "--server-name: must be a DNS name"),
        ("https", &["--ca-file", "absent"], 2, "absent cannot be read"),
        ("https", &["--ca-file", &*ca, "--client-cert", "x"], 2, "--client-cert: needs --client-key"),
        ("http", &[], 1, "the other side speaks TLS, and was spoken to in clear: use --endpoint https://127.0.0.1:"),
    ] {
        let (ended, said) = runtimes(&plane, scheme, arguments).await;
        assert!(ended == Some(code) && said.contains(words), "{arguments:?}: {ended:?} {said}");
    }
    ours.issue_expired("old", &["127.0.0.1"]);
    let old = Plane::new().set(ours.served("old")).start().await;
    let (code, said) = runtimes(&old, "https", &["--ca-file", &ca]).await;
    assert!(code == Some(1) && said.contains("certificate has expired"), "{said}");
    let clear = Plane::new().start().await;
    let (code, said) = runtimes(&clear, "https", &["--ca-file", &ca]).await;
    let words = "the other side does not speak TLS: use --endpoint http://127.0.0.1:";
    assert!(code == Some(1) && said.contains(words) && said.lines().count() == 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_clients_must_show_certificates_a_token_alone_opens_nothing() {
    let (ours, clients) = (Certificates::new(), Certificates::new());
    ours.issue("plane", &["127.0.0.1"]);
    clients.issue("me", &["me.test"]);
    let asks = ("tls_client_ca".to_owned(), clients.named("ca.pem"));
    let plane = Plane::new().set(ours.served("plane")).set([asks]).start().await;
    let (ca, certificate, key) = (ours.named("ca.pem"), clients.named("me.pem"), clients.named("me.key"));
    let shown = ["--ca-file", &ca, "--client-cert", &certificate, "--client-key", &key];
    let (code, said) = runtimes(&plane, "https", &shown).await;
    assert!(code == Some(0) && said.contains("embedded-worker-runtime"), "{said}");
    let (code, said) = runtimes(&plane, "https", &["--ca-file", &ca]).await;
    let words = "the other side asks for a client certificate: show one with --client-cert and --client-key";
    assert!(code == Some(1) && said.contains(words) && said.lines().count() == 1, "{said}");
    let (certificate, key) = (ours.named("plane.pem"), ours.named("plane.key"));
    let wrong = ["--ca-file", &ca, "--client-cert", &certificate, "--client-key", &key];
    let (code, said) = runtimes(&plane, "https", &wrong).await;
    let words = "refused the certificate that it was shown: is --client-cert one for clients";
    assert!(code == Some(1) && said.contains(words) && said.lines().count() == 1, "{said}");
    // A certificate opens nothing without a token.
    let nobody = Client::over(ours.channel(plane.address(), "127.0.0.1", None), Some(TOKEN));
    nobody.runtimes().list_runtimes(v1::ListRuntimesRequest::default()).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_connections_and_says_nothing_keeps_nobody_out() {
    let ours = Certificates::new();
    let plane = plane(&ours).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(plane.address()).await.unwrap());
    }
    let client = Client::over(ours.channel(plane.address(), "plane.test", None), Some(TOKEN));
    let answer = within("an answer", client.runtimes().list_runtimes(v1::ListRuntimesRequest::default())).await;
    answer.unwrap();
    // The first of them gave way at once, and all others have had their time some seconds later.
    for mut silent in silent {
        assert!(matches!(within("the end of a silent one", silent.read(&mut [0])).await, Ok(0) | Err(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_handshake_is_ended_and_others_are_served_meanwhile() {
    let ours = Certificates::new();
    ours.issue("plane", &["plane.test"]);
    let plane = Plane::new().set(ours.served("plane")).limit("tls_handshake_timeout", "\"6s\"").start().await;
    let mut half = TcpStream::connect(plane.address()).await.unwrap();
    // The head of a record, and the beginning of a ClientHello that does not go on.
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
    let client = Client::over(ours.channel(plane.address(), "plane.test", None), Some(TOKEN));
    client.runtimes().list_runtimes(v1::ListRuntimesRequest::default()).await.unwrap();
    assert!(matches!(within("its end", half.read(&mut [0])).await, Ok(0) | Err(_)));
    let words = ["TLS handshakes failed", "it took too long"];
    until("the line of the log", async || {
        plane.log().lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_reached_over_tls_with_a_certificate_of_the_control_plane() {
    let (hosts, planes) = (Certificates::new(), Certificates::new());
    hosts.issue("host", &["host.test"]);
    planes.issue("plane", &["plane.test"]);
    let asks = ("tls_client_ca".to_owned(), planes.named("ca.pem"));
    let host =
        Host::named("one").profile("builtin:coder", Profile::text(["cat"])).set(hosts.served("host")).set([asks]);
    let host = host.start().await;
    let shown = [("client_cert", "plane.pem"), ("client_key", "plane.key")];
    let shown = shown.map(|(key, file)| (key.to_owned(), planes.named(file)));
    let mut entry = host.entry(host.address());
    let name = ("server_name".to_owned(), "host.test".to_owned());
    entry.tls = [hosts.trusted(), vec![name], shown.to_vec()].concat();
    let mut plane = Plane::new().remote(entry.clone()).start().await;
    plane.runtime_is("one", v1::RuntimeStatus::Running).await;
    let worker = plane.spawn("one", "builtin:coder").await;
    worker.send("hello").await;
    worker.observe().await.first("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;

    // What is wrong with a host's certificate, or with ours, is told in words of ours.
    for (change, code, why) in [
        (Some(("server_name", "other.test".to_owned())), "remote_runtime_wrong_identity", "not valid for other.test"),
        (Some(("ca_file", planes.named("ca.pem"))), "remote_runtime_network_error", "of no authority"),
        (None, "remote_runtime_network_error", "asks for a client certificate"),
    ] {
        let mut wrong = plane.entry_of("one");
        wrong.tls = entry.tls.clone();
        match change {
            Some((key, value)) => wrong.tls.iter_mut().find(|(name, _)| name == key).unwrap().1 = value,
            None => wrong.tls.retain(|(key, _)| !key.starts_with("client_")),
        }
        // Another id of the same host, so that a connection is made anew.
        wrong.runtime_id = format!("wrong-{}", why.len());
        plane.add_entry(wrong.clone());
        until(&format!("{code} of {}", wrong.runtime_id), async || {
            let runtime = plane.runtime(&wrong.runtime_id).await?;
            runtime.diagnostics.iter().any(|diagnostic| diagnostic.code == code).then_some(())
        })
        .await;
        let (told, log) = until(&format!("a line of the log that says {why}"), async || {
            let log = plane.log();
            let told = log.lines().filter(|line| line.contains("TLS with a host failed") && line.contains(why)).count();
            (told > 0).then_some((told, log))
        })
        .await;
        assert_eq!(told, 1, "{log}");
        plane.remove(&wrong.runtime_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_host_speaks_tls_is_told_where_it_was_spoken_to_in_clear() {
    let ours = Certificates::new();
    ours.issue("host", &["127.0.0.1"]);
    let host = Host::named("one").set(ours.served("host")).start().await;
    let plane = Plane::new().host(&host).start().await;
    until("the line of the log", async || {
        let log = plane.log();
        let line = log.lines().find(|line| line.contains("TLS with a host failed"))?;
        line.contains("the other side speaks TLS, and was spoken to in clear").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_in_clear_is_not_taken_for_one_of_tls() {
    let (ours, host) = (Certificates::new(), Host::named("one").start().await);
    let mut entry = host.entry(host.address());
    entry.tls = ours.trusted();
    let plane = Plane::new().remote(entry).start().await;
    until("the failure", async || {
        let runtime = plane.runtime("one").await?;
        runtime.diagnostics.iter().any(|it| it.code == "remote_runtime_network_error").then_some(())
    })
    .await;
    let nobody = v1::GetWorkerRequest { runtime_id: "one".to_owned(), worker_id: "worker-1".to_owned() };
    let refused = refusal(&plane.client().workers().get_worker(nobody).await.unwrap_err());
    assert_eq!(refused.is(), (Code::Unavailable, "REMOTE_RUNTIME_NETWORK_ERROR"));
}
