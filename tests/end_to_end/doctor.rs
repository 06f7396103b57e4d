//! `workplane doctor` and `workplane health`: what they say of a server that is well, and of all that can be wrong.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime};

use crate::support::{Answer, Certificates, Host, Hostile, Kind, Plane, Profile, Running, hello, run, write_secret};

/// What was said, and what it ended with.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    lines: Vec<String>,
}

impl Said {
    /// The one line that begins so.
    fn line(&self, begins: &str) -> &str {
        let found: Vec<_> = self.lines.iter().filter(|line| line.starts_with(begins)).collect();
        assert_eq!(found.len(), 1, "{begins}: {self:#?}");
        found[0]
    }
}

async fn doctor(role: &str, config: &Path) -> Said {
    let output = run(&["doctor", role, "--config", config.to_str().unwrap()]).await;
    let lines = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    Said { code: output.status.code(), lines }
}

fn write(directory: &Path, text: &str) -> std::path::PathBuf {
    let path = directory.join("config.toml");
    fs::write(&path, text).unwrap();
    path
}

/// An address that nobody has, nor will have: a loopback address of this process's own, and none of the ports that the
/// system gives to those who ask for any.
fn free() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let ours = Ipv4Addr::new(127, a, b, c);
    loop {
        let address = SocketAddr::from((ours, NEXT.fetch_add(1, Ordering::Relaxed)));
        if TcpListener::bind(address).is_ok() {
            return address.to_string();
        }
    }
}

fn remote(id: &str, address: impl std::fmt::Display, token_file: &Path) -> String {
    format!(
        "\n[[remote_runtimes]]\nruntime_id = {id:?}\nendpoint = \"http://{address}\"\ntoken_file = \"{}\"\n",
        token_file.display()
    )
}

/// Values as a configuration has them.
fn lines(values: &[(String, String)]) -> String {
    values.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect::<Vec<_>>().concat()
}

/// What is in a directory, and when each of it was changed last.
fn contents(directory: &Path) -> BTreeMap<String, SystemTime> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            all.extend(contents(&entry.path()));
        } else {
            all.insert(entry.path().display().to_string(), entry.metadata().unwrap().modified().unwrap());
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_server_that_is_well_nothing_fails_and_nothing_is_changed() {
    let mut host = Host::named("one").durable().profile("builtin:coder", Profile::text(["cat"])).start().await;
    let directory = tempfile::tempdir().unwrap();
    let tokens = write_secret(directory.path(), "tokens", "one aaa\ntwo bbb\n");
    let head = format!("listen = {:?}\ntoken_file = {tokens:?}\ndata_dir = \"data\"\n", free());
    let file =
        write(directory.path(), &(head + &remote("one", host.address(), &host.entry(host.address()).token_file)));
    let before = contents(directory.path());
    let said = doctor("serve", &file).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.line("ok   token_file: ").contains("mode 0600, 2 tokens"));
    assert!(said.line("ok   data_dir: ").ends_with("is not there yet, and is made at the first start"));
    assert!(said.line("ok   listen: ").ends_with(" is free"));
    let version = format!("lets us in: version {}", env!("CARGO_PKG_VERSION"));
    assert!(said.line("ok   host one: ").contains(&version), "{said:#?}");
    for what in ["disk room", "disk sync", "open files", "memory"] {
        assert!(said.lines.iter().any(|line| line[5..].starts_with(what)), "{what}: {said:#?}");
    }
    let json = run(&["doctor", "serve", "--config", file.to_str().unwrap(), "--output", "json"]).await;
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), said.lines.len());
    assert_eq!((&json[0]["verdict"], &json[0]["what"]), (&"ok".into(), &"configuration".into()));

    // One whose server runs, and one whose server does not.
    let data_dir = host.data_dir();
    let file = write(directory.path(), &format!("listen = \"{}\"\ndata_dir = {data_dir:?}\n", host.address()));
    let said = doctor("runtime", &file).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.line("warn data_dir: ").contains("is in use by another process (pid "));
    assert!(said.line("ok   listen: ").ends_with("the server runs"));
    host.process().kill().await;
    let inside = contents(&data_dir);
    // Its own port may be anybody's by now.
    let file = write(directory.path(), &format!("listen = {:?}\ndata_dir = {data_dir:?}\n", free()));
    let said = doctor("runtime", &file).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.line("ok   data_dir: ").ends_with("state of the runtime one, which no process has open"));
    assert_eq!(contents(&data_dir), inside);
    drop(fs::remove_file(&file));
    assert_eq!(contents(directory.path()).len(), before.len() - 1, "something was left");
    host.start_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_here_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    let data = top.join("data");
    let arguments = ["runtime", "--listen", "127.0.0.1:0", "--runtime-id", "one", "--data-dir", data.to_str().unwrap()];
    Running::start("a host", &arguments).await.kill().await;
    let tokens = write_secret(top, "tokens", "aaa\n");
    let open = write_secret(top, "open", "aaa\n");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen = {:?}\n", free());
    let profile = |command: &str| {
        format!("{listen}[profiles.\"builtin:coder\"]\nprotocol = \"lines\"\ncommand = [{command:?}]\n")
    };
    for (role, text, code, begins, told) in [
        ("serve", "password = 1\n".to_owned(), 1, "fail configuration: ", "config.toml:1: password"),
        ("serve", format!("token_file = {open:?}\n"), 1, "fail configuration: ", "make it 0600"),
        ("serve", format!("listen = \"{}\"\n", taken.local_addr().unwrap()), 1, "fail listen: ", "ss -ltnp"),
        (
            "serve",
            format!("{listen}metrics_listen = \"{}\"\n", taken.local_addr().unwrap()),
            1,
            "fail metrics_listen: ",
            "ss -ltnp",
        ),
        ("serve", format!("{listen}data_dir = {data:?}\n"), 1, "fail data_dir: ", "belongs to `workplane runtime`"),
        (
            "runtime",
            format!("{listen}data_dir = {data:?}\nruntime_id = \"two\"\n"),
            1,
            "fail data_dir: ",
            "to the runtime one",
        ),
        (
            "runtime",
            format!("{listen}[limits]\ncgroup = \"/nowhere\"\n"),
            1,
            "fail control groups: ",
            "correct `cgroup`",
        ),
        ("runtime", profile("no-such-program"), 0, "warn profile builtin:coder: ", "install it"),
        ("runtime", profile("sh"), 0, "ok   profile builtin:coder: ", "/sh"),
        ("runtime", listen.clone(), 0, "warn token_file: ", "every caller is let in"),
        ("runtime", format!("{listen}data_dir = \"/dev/shm/workplane\"\n"), 0, "warn disk sync: ", "in memory"),
        (
            "serve",
            format!("{listen}token_file = {tokens:?}\n") + &remote("one", free(), &tokens),
            1,
            "warn token of one: ",
            "of its own",
        ),
    ] {
        let said = doctor(role, &write(top, &text)).await;
        assert_eq!(said.code, Some(code), "{text}\n{said:#?}");
        assert!(said.line(begins).contains(told), "{text}\n{said:#?}");
        assert!(!said.lines.concat().contains("aaa"), "{said:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_host_is_told_with_what_to_do() {
    let host = Host::named("one").start().await;
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    let (right, wrong) = (host.entry(host.address()).token_file, write_secret(top, "wrong", "not-the-token\n"));
    let skewed = Hostile::named("four").await;
    let mut said = hello("four");
    said.now = Some((SystemTime::now() - Duration::from_mins(1)).into());
    skewed.answers("GetRuntime", Answer::message(&said));
    let odd = Hostile::named("five").await;
    odd.answers("GetRuntime", Answer::Bytes(b"nothing of ours"[..].into()));
    let remotes = [
        remote("one", host.address(), &right),
        remote("two", host.address(), &right),
        remote("three", free(), &right),
        remote("four", skewed.address(), &right),
        remote("five", odd.address(), &right),
        remote("one-without", host.address(), &wrong),
    ];
    let said = doctor("serve", &write(top, &(format!("listen = {:?}\n", free()) + &remotes.concat()))).await;
    assert_eq!(said.code, Some(1), "{said:#?}");
    for (begins, told) in [
        ("ok   host one: ", "lets us in"),
        ("fail host two: ", "is the endpoint another host's?"),
        ("fail host three: ", "see whether `workplane runtime` runs there"),
        ("warn host four: the host's clock ", "NTP"),
        ("fail host five: ", "this is no `workplane runtime`"),
        ("fail host one-without: ", "compare the token_file"),
    ] {
        assert!(said.line(begins).contains(told), "{begins}: {said:#?}");
    }
    // It was made by another version.
    assert!(said.lines.iter().any(|line| line.starts_with("warn host four: ") && line.contains("upgrade hosts first")));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_told_with_their_end() {
    let made = Certificates::new();
    made.issue("host", &["localhost"]);
    made.issue("plane", &["localhost"]);
    let host = Host::named("one").set(made.served("host")).start().await;
    let directory = tempfile::tempdir().unwrap();
    let entry = |id: &str, name: &str| {
        let at = host.address().port();
        let (token, ca) = (host.token_file(), made.named("ca.pem"));
        format!(
            "\n[[remote_runtimes]]\nruntime_id = {id:?}\nendpoint = \"https://127.0.0.1:{at}\"\ntoken_file = {token:?}\n\
             ca_file = {ca:?}\nserver_name = {name:?}\n"
        )
    };
    let served = lines(&made.served("plane"));
    let head = format!("listen = {:?}\n{served}", free());
    let file = write(directory.path(), &(head.clone() + &entry("one", "localhost") + &entry("two", "elsewhere")));
    let said = doctor("serve", &file).await;
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.line("ok   tls_cert: ").ends_with("plane.pem: valid until 4000-01-01T00:00:00Z"));
    assert!(said.line("ok   certificate of one: ").ends_with("valid until 4000-01-01T00:00:00Z"));
    assert!(said.line("ok   host one: ").contains("lets us in"));
    assert!(said.line("fail host two: ").contains("certificate is not valid for elsewhere"));
    made.issue_expired("plane", &["localhost"]);
    let said = doctor("serve", &write(directory.path(), &head)).await;
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.line("fail tls_cert: ").contains("valid until 2001-01-01T00:00:00Z; it has expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_fit_is_told_with_what_to_do() {
    let made = Certificates::new();
    made.issue("plain", &["plane.test"]);
    made.issue_for("client", Kind::Client, &["localhost"]);
    made.issue_for("server", Kind::Server, &["localhost"]);
    made.issue_for("authority", Kind::Authority, &["localhost"]);
    made.issue("nameless", &[]);
    made.issue_alone("alone", "localhost");
    made.issue("elsewhere", &["192.0.2.1"]);
    let now = SystemTime::now();
    let day = Duration::from_hours(24);
    made.issue_within("soon", &(now - day..now + day), &["localhost"]);
    made.issue_within("early", &(now + day..now + 2 * day), &["localhost"]);
    let directory = tempfile::tempdir().unwrap();
    let tokens = write_secret(directory.path(), "tokens", "aaa\n");
    let serves = |file: &str| lines(&made.served(file));
    let (here, nowhere) = (free(), free());
    let on = |listen: &str, text: String| format!("listen = {listen:?}\ntoken_file = {tokens:?}\n{text}");
    let ca = |file: &str| format!("tls_client_ca = {:?}\n", made.named(file));
    let shows = |file: &str| {
        let shown = lines(&made.shown(file));
        let ca = made.named("ca.pem");
        format!(
            "[[remote_runtimes]]\nruntime_id = \"one\"\nendpoint = \"https://{nowhere}\"\nca_file = {ca:?}\n{shown}"
        )
    };
    // What is looked at before a host is.
    for (text, verdict, what, told) in [
        (serves("server"), "ok  ", "tls_cert", "valid until 4000"),
        (serves("soon"), "warn", "tls_cert", "in time"),
        (serves("early"), "fail", "tls_cert", "not valid before"),
        (
            serves("client"),
            "fail",
            "tls_cert",
            "no serverAuth: the other side refuses it; make it with extendedKeyUsage",
        ),
        (serves("authority"), "fail", "tls_cert", "(CA:TRUE)"),
        (serves("nameless"), "fail", "tls_cert", "it has no subjectAltName"),
        (serves("plain"), "warn", "tls_cert", "it is for plane.test, and clients that dial 127."),
        (serves("server") + &ca("ca.pem"), "ok  ", "tls_client_ca", "valid until 4096"),
        (serves("alone") + &ca("alone.pem"), "ok  ", "tls_client_ca", "alone.pem: valid until"),
        (
            serves("server") + &ca("plain.pem"),
            "fail",
            "tls_client_ca",
            "no authority's (CA:TRUE); name the certificate of",
        ),
        (shows("server"), "fail", "client_cert of one", "no clientAuth: the other side refuses it"),
        (shows("client"), "ok  ", "client_cert of one", "valid until 4000"),
        (shows("client").replace("ca.pem", "plain.pem"), "fail", "ca_file of one", "no authority's"),
    ] {
        let said = doctor("serve", &write(directory.path(), &on(&here, text.clone()))).await;
        let found =
            said.lines.iter().any(|line| line.starts_with(&format!("{verdict} {what}: ")) && line.contains(told));
        assert!(found, "{text}{told}\n{said:#?}");
    }
    // Which addresses a name leads to is not known here; an address is one or is not.
    for (listen, file, is_warned) in
        [("0.0.0.0:9", "elsewhere", false), ("192.0.2.2:9", "plain", false), ("192.0.2.2:9", "elsewhere", true)]
    {
        let said = doctor("serve", &write(directory.path(), &on(listen, serves(file)))).await;
        assert_eq!(said.lines.iter().any(|line| line.starts_with("warn tls_cert: ")), is_warned, "{listen} {said:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tls_is_not_meant_alike_the_key_to_set_is_told() {
    let (made, other) = (Certificates::new(), Certificates::new());
    made.issue("host", &["localhost"]);
    made.issue("plane", &["plane.test"]);
    other.issue("plane", &["plane.test"]);
    let clear = Host::named("clear").start().await;
    let secure = Host::named("secure").set(made.served("host")).start().await;
    let asks = ("tls_client_ca".to_owned(), made.named("ca.pem"));
    let asking = Host::named("asking").set(made.served("host")).set([asks]).start().await;
    let entry = |host: &Host, id: &str, scheme: &str, more: &[(String, String)]| {
        let (port, token) = (host.address().port(), host.token_file());
        let more = lines(more);
        format!(
            "\n[[remote_runtimes]]\nruntime_id = {id:?}\nendpoint = \"{scheme}://localhost:{port}\"\ntoken_file = {token:?}\n{more}"
        )
    };
    let trusted = made.trusted();
    let with = |of: &Certificates| [trusted.clone(), of.shown("plane")].concat();
    let name = [trusted.clone(), vec![("server_name".to_owned(), "other.test".to_owned())]].concat();
    let remotes = [
        entry(&secure, "one", "http", &[]),
        entry(&clear, "two", "https", &trusted),
        entry(&secure, "three", "https", &other.trusted()),
        entry(&secure, "four", "https", &name),
        entry(&asking, "five", "https", &trusted),
        entry(&asking, "six", "https", &with(&other)),
        entry(&asking, "asking", "https", &with(&made)),
        entry(&secure, "secure", "https", &trusted),
        entry(&clear, "clear", "http", &[]),
    ];
    let directory = tempfile::tempdir().unwrap();
    let said =
        doctor("serve", &write(directory.path(), &(format!("listen = {:?}\n", free()) + &remotes.concat()))).await;
    let secured = format!("set `endpoint = \"https://localhost:{}\"` in its entry", secure.address().port());
    let in_clear = format!("set `endpoint = \"http://localhost:{}\"` in its entry", clear.address().port());
    for (begins, seen, told) in [
        ("fail host one: ", "speaks TLS", secured.as_str()),
        ("fail host two: ", "does not speak TLS", &in_clear),
        ("fail host three: ", "of no authority that is trusted here", "set `ca_file`"),
        ("fail host four: ", "not valid for other.test", "set `server_name`"),
        ("fail host five: ", "asks for a client certificate", "set `client_cert` and `client_key`"),
        ("fail host six: ", "refused the certificate that it was shown", "tls_client_ca"),
        ("ok   host asking: ", "lets us in", ""),
        ("ok   host secure: ", "lets us in", ""),
        ("ok   host clear: ", "lets us in", ""),
    ] {
        let line = said.line(begins);
        assert!(line.contains(seen) && line.contains(told), "{begins}: {said:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_by_an_exit_code() {
    let plane = Plane::new().start().await;
    let made = Certificates::new();
    made.issue("host", &["localhost"]);
    let host = Host::named("one").start().await;
    let secure = Host::named("two").set(made.served("host")).start().await;
    let health = async |endpoint: &str, more: &[&str]| {
        let output = run(&[&["health", "--endpoint", endpoint, "--timeout", "5s"], more].concat()).await;
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (plane_at, host_at) = (plane.endpoint(), format!("http://{}", host.address()));
    // It asks for no token.
    for endpoint in [&plane_at, &host_at] {
        assert_eq!(health(endpoint, &[]).await, (Some(0), "SERVING\n".to_owned()));
    }
    assert_eq!(health(&plane_at, &["workplane.v1.WorkerService"]).await.0, Some(0));
    let json = health(&host_at, &["--output", "json"]).await;
    assert_eq!(json, (Some(0), "{\n  \"status\": \"SERVING\"\n}\n".to_owned()));
    // It may be a host that is asked: nothing is said of control planes.
    let at = format!("localhost:{}", secure.address().port());
    let ca = made.named("ca.pem");
    assert_eq!(health(&format!("https://{at}"), &["--ca-file", &ca]).await, (Some(0), "SERVING\n".to_owned()));
    for (endpoint, more, told) in [
        (&plane_at, &["no.such.Service"][..], "the server has no service no.such.Service".to_owned()),
        (&format!("http://{at}"), &[], format!("use --endpoint https://{at}")),
        (&format!("https://{at}"), &[], "is --ca-file the authority that signed it".to_owned()),
        (&format!("http://{}", free()), &[], "is `workplane serve` or `workplane runtime` running there?".to_owned()),
    ] {
        let (code, said) = health(endpoint, more).await;
        assert!(code == Some(1) && said.contains(&told) && !said.contains("control plane"), "{endpoint}: {said}");
    }
}
