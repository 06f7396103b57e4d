//! The commands, as a person types them.

use crate::acp::profile;
use crate::support::{Console, EMBEDDED, Host, Plane, Profile, run, run_with_input, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_spawned_spoken_to_and_stopped_from_the_command_line() {
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    let console = Console::of(&plane);

    let runtimes = console.types("runtimes").await;
    assert!(runtimes.contains(EMBEDDED) && runtimes.contains("one"), "{runtimes}");
    let hosts = console.types_json("hosts").await;
    assert_eq!(hosts["hosts"].as_array().unwrap().len(), 2);

    let spawned = console.types_json("spawn --runtime one --ticket T-1 --label team=a --request-id spawn-1").await;
    let worker_id = spawned["worker"]["worker_id"].as_str().unwrap();
    let worker = format!("one/{worker_id}");
    let again = console.types_json("spawn --runtime one --ticket T-1 --label team=a --request-id spawn-1").await;
    assert_eq!(again["worker"]["worker_id"], worker_id);

    console.types(&format!("send {worker} hello")).await;
    // What is typed on standard input is sent without its last newline.
    assert!(console.run(&["send", &worker, "-"], "good night\n").await.status.success());
    let listed = console.types("workers --label team=a").await;
    assert!(listed.contains(worker_id) && listed.contains("running"), "{listed}");

    console.types(&format!("stop {worker}")).await;
    let observed = console.types(&format!("observe {worker} --beginning")).await;
    let transcript = console.types(&format!("transcript {worker} --follow")).await;
    for heard in [&observed, &transcript] {
        assert_eq!(heard.matches("hello").count(), 2, "{heard}");
        assert_eq!(heard.matches("good night").count(), 2, "{heard}");
    }
    let got = console.types_json(&format!("workers get {worker}")).await;
    assert_eq!(got["state"], "WORKER_STATE_STOPPED");
    assert!(console.types(&format!("workers delete {worker}")).await.contains(worker_id));
    assert!(!console.types("workers").await.contains(worker_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_well_elsewhere_is_said_on_standard_error_once_and_labels_say_more_than_ids() {
    let mut dead = Host::named("dead").start().await;
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).host(&dead).start().await;
    dead.process().kill().await;
    let console = Console::of(&plane);
    let worker_id = plane.spawn(EMBEDDED, "builtin:coder").await.worker_id;
    for arguments in [&["workers"][..], &["runtimes"], &["hosts"], &["workers", "get", &worker_id]] {
        let output = console.run(arguments, "").await;
        let (shown, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{arguments:?}: {said}");
        assert!(!shown.contains("remote_runtime_network_error"), "{arguments:?}: {shown}");
        assert_eq!(said.matches("remote_runtime_network_error").count(), 1, "{arguments:?}: {said}");
    }
    let listed = console.types("workers").await;
    assert_eq!(listed.matches(&worker_id).count(), 1, "the label is the id, and is not told again: {listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_fails_and_says_why() {
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    let console = Console::of(&plane);
    let worker_id = plane.spawn("one", "builtin:coder").await.worker_id;
    console.types(&format!("cancel one/{worker_id} --reason enough")).await;
    for (arguments, why) in [
        (vec!["send", &format!("one/{worker_id}"), "too late"], "worker_not_running"),
        (vec!["workers", "get", "one/worker-1"], "UNKNOWN_WORKER"),
        (vec!["spawn", "--runtime", "two"], "UNKNOWN_RUNTIME"),
        (vec!["bundles", "--runtime", "two"], "UNKNOWN_RUNTIME"),
    ] {
        let refused = console.run(&arguments, "").await;
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(why), "{arguments:?}: {said}");
    }
    // Without the token, and where nobody is.
    let endpoint = plane.endpoint();
    let stranger = run(&["runtimes", "--endpoint", &endpoint]).await;
    assert!(!stranger.status.success());
    assert!(String::from_utf8(stranger.stderr).unwrap().contains("UNAUTHENTICATED"));
    let nobody = run(&["runtimes", "--endpoint", "http://127.0.0.1:1"]).await;
    assert!(!nobody.status.success() && !nobody.stderr.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_given_from_a_file_and_a_worker_is_made_with_it() {
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    let console = Console::of(&plane);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples/bundle.toml");
    for runtime_id in [EMBEDDED, "one"] {
        let synced = console.types_json(&format!("bundles sync {file} --runtime {runtime_id}")).await;
        assert_eq!(synced["state"], "OPERATION_STATE_ACCEPTED");
        let digest = synced["availability"]["reference"]["digest"].as_str().unwrap();
        let checked = console.types(&format!("bundles check team {digest} --runtime {runtime_id}")).await;
        assert!(checked.contains(digest), "{checked}");
        let listed = console.types(&format!("bundles --runtime {runtime_id}")).await;
        assert!(listed.contains("team") && listed.contains(digest), "{listed}");
        let spawn = format!("spawn --runtime {runtime_id} --profile builtin:coder --bundle team@{digest}");
        let worker = console.types_json(&spawn).await["worker"].take();
        assert_eq!(worker["config_bundle"]["digest"], digest);
        let remove = ["bundles", "remove", "team", digest, "--runtime", runtime_id];
        let used = console.run(&remove, "").await;
        let said = String::from_utf8(used.stderr).unwrap();
        assert!(!used.status.success() && said.contains("config_bundle_in_use"), "{said}");
        console.types(&format!("stop {runtime_id}/{}", worker["worker_id"].as_str().unwrap())).await;
        assert!(console.types(&remove.join(" ")).await.contains("OPERATION_STATE_ACCEPTED"));
    }

    let directory = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    for (from, to, why) in [
        ("\"capability_grant\"", "\"grant\"", "wrong.toml: declarations[0].kind: must be one of"),
        ("revision = ", "revison = ", "wrong.toml: metadata.revision: is required"),
        ("[metadata]", "[metadata", "wrong.toml:5: not TOML"),
        ("vault:team", "vault:/team", "bundle.declarations[2].reference"),
        (
            "\"team\"",
            "\"team\"\ndigest = \"0000000000000000000000000000000000000000000000000000000000000000\"",
            "config_bundle_digest_mismatch",
        ),
    ] {
        let wrong = directory.path().join("wrong.toml");
        std::fs::write(&wrong, text.replacen(from, to, 1)).unwrap();
        let refused = console.run(&["bundles", "sync", wrong.to_str().unwrap(), "--runtime", "one"], "").await;
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(why), "{why}: {said}");
    }
    let missing = console.run(&["bundles", "sync", "no-such.toml"], "").await;
    assert_eq!(missing.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_says_what_there_is_and_what_helps() {
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    let console = Console::of(&plane);
    let worker = console.types_json("spawn --runtime one --profile builtin:coder").await["worker"].take();
    let worker = worker["worker_id"].as_str().unwrap();
    for (line, told) in [
        ("send worker-0198a000-0000-7000-8000-000000000000 x", "asked were embedded-worker-runtime, one"),
        ("spawn --runtime elsewhere", "known_runtime_ids: embedded-worker-runtime, one"),
        (&format!("workers delete one/{worker}"), "delete it with `force`"),
        ("spawn --runtime one --profile mine", "the profile mine is not builtin"),
    ] {
        let refused = console.run(&line.split(' ').collect::<Vec<_>>(), "").await;
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(1) && said.contains(told), "{line}: {said}");
    }
    // What runs nothing says so when it is made.
    let spawned = console.run(&["spawn", "--runtime", "one", "--profile", "builtin:typo"], "").await;
    let said = String::from_utf8(spawned.stderr).unwrap();
    assert!(spawned.status.success() && said.contains("warning worker_profile_runs_nothing"), "{said}");

    // A host is no control plane.
    let entry = host.entry(host.address());
    let (endpoint, token_file) = (format!("http://{}", host.address()), entry.token_file.to_str().unwrap().to_owned());
    let astray = run(&["workers", "--endpoint", &endpoint, "--token-file", &token_file]).await;
    let said = String::from_utf8(astray.stderr).unwrap();
    assert!(said.contains("this is a worker runtime") && said.contains("ask the control plane"), "{said}");

    console.types(&format!("stop one/{worker}")).await;
    let ended = console.types_json(&format!("workers get one/{worker}")).await;
    assert_eq!(ended["capabilities"]["can_stop"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_what_a_reload_changes_and_that_the_process_has_stopped() {
    let (one, two) = (Host::named("one").start().await, Host::named("two").start().await);
    let mut plane = Plane::new().host(&one).start().await;
    plane.add(&two);
    plane.runtime_is("two", workplane::proto::v1::RuntimeStatus::Running).await;
    plane.remove("one");
    until("one to be gone", async || plane.runtime("one").await.is_none().then_some(())).await;
    plane.process().signal(rustix::process::Signal::TERM);
    assert!(plane.process().ended().await.success());
    let running = plane.process();
    let told = || std::future::ready(Some(running.log()).filter(|log| log.contains("stopped")));
    let log = until("the end of the log", told).await;
    for line in ["added=\"two\" removed=\"\"", "added=\"\" removed=\"one\""] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(log.trim_end().ends_with("stopped"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_answers_what_is_typed_to_it() {
    let output = run_with_input(&["demo"], "echo $((6 * 7))\n", None).await;
    let said = String::from_utf8(output.stdout).unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}\n{log}");
    assert!(said.contains("42"), "{said}\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_asks_is_shown_and_answered_from_the_command_line() {
    let Some(agent) = profile(&[]) else { return };
    let agent = agent.permissions("ask");
    let host = Host::named("one").profile("builtin:coder", agent.clone()).start().await;
    let plane = Plane::new().profile("builtin:coder", agent).host(&host).start().await;
    let console = Console::of(&plane);
    for runtime_id in [EMBEDDED, "one"] {
        let spawned = console.types_json(&format!("spawn --runtime {runtime_id} --ticket T-1")).await;
        let worker = format!("{runtime_id}/{}", spawned["worker"]["worker_id"].as_str().unwrap());
        console.types(&format!("send {worker} ask")).await;
        let asked = until("a question", || async {
            let asked = console.types(&format!("approvals {worker}")).await;
            asked.contains("approval-1").then_some(asked)
        })
        .await;
        assert!(asked.contains("allow_once reject_once") && asked.contains("Write file 1"), "{asked}");
        let listed = console.types_json(&format!("approvals {worker}")).await;
        assert_eq!(listed["approvals"][0]["options"][1]["option_id"], "reject_once");
        assert!(console.types("workers").await.contains("waiting"));
        let wrong = console.run(&["answer", &worker, "approval-1", "perhaps"], "").await;
        let said = String::from_utf8(wrong.stderr).unwrap();
        assert!(!wrong.status.success() && said.contains("decision"), "{said}");
        let answered = console.types(&format!("answer {worker} approval-1 reject_once")).await;
        assert!(answered.contains("approval-1"), "{answered}");
        let late = console.run(&["answer", &worker, "approval-1", "allow_once"], "").await;
        let said = String::from_utf8(late.stderr).unwrap();
        assert!(!late.status.success() && said.contains("approval_settled"), "{said}");
        console.types(&format!("stop {worker}")).await;
        let observed = console.types(&format!("observe {worker} --beginning")).await;
        for told in ["approval_requested  approval-1: Write file 1", "approval_settled    approval-1: reject_once"] {
            assert!(observed.contains(told), "{observed}");
        }
    }
}
