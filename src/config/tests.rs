//! What is refused and where it is said to stand; which layer wins; what is never printed.

mod certificates;
mod profiles;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::engine::{InputForm, Protocol, Retention};
use crate::model::ProfileSelector;
use crate::server::Edge;

/// A directory with a configuration and files of tokens in it.
struct Files(tempfile::TempDir);

impl Files {
    fn new(config: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files
            .put("w.toml", config, 0o644)
            .put("tokens", "ops s3cret\n", 0o600)
            .put("bad", "ops s3cret\na s3cret c\n", 0o600)
            .put("open", "s3cret\n", 0o644)
            .put("empty", "", 0o600);
        files
    }

    fn put(&self, name: &str, text: &str, mode: u32) -> &Self {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn flags(&self) -> ServerFlags {
        ServerFlags { config: Some(self.path("w.toml")), ..ServerFlags::default() }
    }

    fn serve(&self) -> Result<ServeConfig, String> {
        self.serve_with(&ServeFlags { server: self.flags(), ..ServeFlags::default() }, &[])
    }

    fn serve_with(&self, flags: &ServeFlags, environment: &[(&str, &str)]) -> Result<ServeConfig, String> {
        let environment = variables(environment);
        ServeConfig::load(flags, &|name| environment.get(name).cloned()).map_err(|error| self.strip(&error))
    }

    fn runtime(&self) -> Result<RuntimeConfig, String> {
        let flags = RuntimeFlags { server: self.flags(), ..RuntimeFlags::default() };
        RuntimeConfig::load(&flags, &|_| None).map_err(|error| self.strip(&error))
    }

    /// An error without the directory that only this test has.
    fn strip(&self, error: &ConfigError) -> String {
        error.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn variables(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn without_anything_the_defaults_hold() {
    let config = ServeConfig::load(&ServeFlags::default(), &|_| None).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:7400");
    assert_eq!(config.workspace_id.as_str(), "local:default");
    // acceptance 43
    assert_eq!(config.embedded.unwrap().runtime_id.as_str(), "embedded-worker-runtime");
    assert!(config.remotes.is_empty() && config.server.tokens.is_none());
    assert_eq!(config.server.log, LogConfig { format: LogFormat::Text, filter: "info".to_owned() });
    let config = RuntimeConfig::load(&RuntimeFlags::default(), &|_| None).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:7500");
    assert!(config.runtime_id.is_none());
    assert_eq!(config.server.drain_pause, Duration::from_secs(2));
    assert_eq!(config.limits.stop_grace, Duration::from_secs(10));
}

#[test]
fn a_flag_beats_the_environment_beats_the_file() {
    let files = Files::new("listen = '127.0.0.1:1'\nworkspace_id = 'file'\nlog_level = 'warn'\n");
    let environment = [("WORKPLANE_LISTEN", "127.0.0.1:2"), ("WORKPLANE_WORKSPACE_ID", "environment")];
    let flags = ServerFlags { listen: Some("127.0.0.1:3".to_owned()), ..files.flags() };
    let config = files.serve_with(&ServeFlags { server: flags, workspace_id: None }, &environment).unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.workspace_id.as_str(), "environment");
    assert_eq!(config.server.log.filter, "warn");
}

#[test]
fn the_environment_names_the_file_and_an_empty_variable_is_no_variable() {
    let files = Files::new("listen = '127.0.0.1:1'\n");
    let path = files.path("w.toml").display().to_string();
    let environment = [("WORKPLANE_CONFIG", path.as_str()), ("WORKPLANE_LISTEN", "")];
    assert_eq!(files.serve_with(&ServeFlags::default(), &environment).unwrap().server.listen.port(), 1);
}

#[test]
fn rust_log_beats_the_level() {
    let files = Files::new("log_level = 'warn'\nlog_format = 'json'\n");
    let flags = ServeFlags { server: files.flags(), workspace_id: None };
    let log = files.serve_with(&flags, &[("RUST_LOG", "workplane=debug")]).unwrap().server.log;
    assert_eq!(log, LogConfig { format: LogFormat::Json, filter: "workplane=debug".to_owned() });
}

#[test]
fn what_a_flag_or_a_variable_says_wrong_is_refused_by_its_name() {
    let files = Files::new("");
    let flags = |listen: &str| ServeFlags {
        server: ServerFlags { listen: Some(listen.to_owned()), ..ServerFlags::default() },
        workspace_id: None,
    };
    for listen in ["7400", "", "0.0.0.0:7400"] {
        assert!(files.serve_with(&flags(listen), &[]).unwrap_err().starts_with("--listen: "), "{listen}");
    }
    let error = files.serve_with(&ServeFlags::default(), &[("WORKPLANE_ALLOW_PLAINTEXT", "yes")]).unwrap_err();
    assert_eq!(error, "WORKPLANE_ALLOW_PLAINTEXT: must be true or false");
    let error = files.serve_with(&ServeFlags::default(), &[("RUST_LOG", "a=b=c")]).unwrap_err();
    assert_eq!(error, "RUST_LOG: is not a log filter");
}

#[test]
fn every_refusal_names_file_line_and_field() {
    // acceptance 12, 125
    let remote = "[[remote_runtimes]]\nruntime_id = 'a'\nendpoint = 'http://127.0.0.1:1'\n";
    for (config, error) in [
        ("listen = '127.0.0.1:1'\nlisten 2", "w.toml:2: "),
        ("\nlisen = ''", "w.toml:2: lisen: is not known here"),
        ("listen = 7400", "w.toml:1: listen: must be a text in quotes"),
        ("listen = 'there'", "w.toml:1: listen: must be an address and a port"),
        ("listen = '0.0.0.0:1'", "w.toml:1: listen: only loopback"),
        ("token_file = 'tokens'\nlisten = '[::]:1'", "w.toml:2: listen: tokens would cross the network in clear"),
        ("drain_pause = '11s'", "w.toml:1: drain_pause: must be 0s to 10s"),
        ("drain_pause = 2", "w.toml:1: drain_pause: must be a text in quotes"),
        ("token_file = 'open'", "w.toml:1: token_file: open is open to others than its owner (mode 0644)"),
        ("token_file = 'empty'", "w.toml:1: token_file: empty has no token in it"),
        ("token_file = 'bad'", "w.toml:1: token_file: bad: line 2: must be `name token` or `token`"),
        ("token_file = 'absent'", "w.toml:1: token_file: absent cannot be read"),
        ("data_dir = ''", "w.toml:1: data_dir: must not be empty"),
        ("metrics_listen = 'here'", "w.toml:1: metrics_listen: must be an address and a port"),
        ("metrics_listen = '127.0.0.1:7400'", "w.toml:1: metrics_listen: is the address of `listen` (127.0.0.1:7400)"),
        ("metrics_listen = '[::]:7400'", "w.toml:1: metrics_listen: is the address of `listen`"),
        (
            "listen = '127.0.0.2:9'\nmetrics_listen = '127.0.0.2:9'",
            "w.toml:2: metrics_listen: is the address of `listen`",
        ),
        ("[traces]\nsample = 0.5", "w.toml:1: traces.endpoint: is required"),
        ("[traces]\nendpoint = 'here:4317'", "w.toml:2: traces.endpoint: must be http"),
        ("[traces]\nendpoint = 'http://c:4317'\nsample = 1.5", "w.toml:3: traces.sample: must be a number from 0 to 1"),
        ("[traces]\nendpoint = 'http://c:4317'\nsample = nan", "w.toml:3: traces.sample: must be a number from 0 to 1"),
        ("[traces]\nendpoint = 'http://c:4317'\nheaders = 1", "w.toml:3: traces.headers: is not known here"),
        ("log_format = 'xml'", "w.toml:1: log_format: must be text or json"),
        ("log_level = 'loud'", "w.toml:1: log_level: must be error, warn"),
        ("workspace_id = 'a/b'", "w.toml:1: workspace_id: must be 1 to 120 characters"),
        ("embedded = 1", "w.toml:1: embedded: must be a table"),
        ("[embedded]\nenabled = 'no'", "w.toml:2: embedded.enabled: must be true or false"),
        ("[embedded]\nid = 'x'", "w.toml:2: embedded.id: is not known here; known are: enabled, runtime_id"),
        ("[limits]\nmax_workers = 0", "w.toml:2: limits.max_workers: must be 1 to 1000000"),
        ("[limits]\ninput_queue = -1", "w.toml:2: limits.input_queue: must be a whole number"),
        ("[limits]\nstop_grace = '10'", "w.toml:2: limits.stop_grace: must be a duration with its unit"),
        ("[limits]\ncgroup = 'workers'", "w.toml:2: limits.cgroup: must be auto, off or the directory"),
        ("[limits]\nstop_grace = '1day'", "w.toml:2: limits.stop_grace: must be 1ms to 10m"),
        ("[limits]\nmax_connections = 0", "w.toml:2: limits.max_connections: must be 1 to 1000000"),
        ("[limits]\npreface_timeout = '1ms'", "w.toml:2: limits.preface_timeout: must be 10ms to 1h"),
        ("[limits]\nmax_frame_size = '15KiB'", "w.toml:2: limits.max_frame_size: must be 16 KiB or more"),
        ("[limits]\nstream_window = '2GiB'", "w.toml:2: limits.stream_window: must be 2097151 KiB or less"),
        ("[limits]\nrequest_memory = 67108864", "w.toml:2: limits.request_memory: must be a text in quotes"),
        ("[limits]\nmax_requests = 1", "w.toml:2: limits.max_requests: is not known here"),
        ("[retention]\nmax_age = '30'", "w.toml:2: retention.max_age: must be a duration with its unit"),
        ("[retention]\nmax_bytes = '10GB'", "w.toml:2: retention.max_bytes: must be a size with its unit"),
        ("[retention]\nmax_bytes = '1KiB'", "w.toml:2: retention.max_bytes: must be 1024 KiB or more"),
        ("[retention]\nmax_worker_bytes = '99999999999TiB'", "w.toml:2: retention.max_worker_bytes: is too much"),
        (
            "[retention]\nmax_worker_bytes = '99999999999999999999999GiB'",
            "w.toml:2: retention.max_worker_bytes: is too much",
        ),
        ("[retention]\nmax_worker_bytes = '63KiB'", "w.toml:2: retention.max_worker_bytes: must be 64 KiB or more"),
        (
            "[retention]\nmax_worker_bytes = 'MiB'",
            "w.toml:2: retention.max_worker_bytes: must be a size with its unit, KiB, MiB",
        ),
        (
            "[retention]\nmax_age = '3 fortnights'",
            "w.toml:2: retention.max_age: must be a duration with its unit, ms, s, m, h or days",
        ),
        ("[retention]\nended_workers_max_age = '1h'", "w.toml:2: retention.ended_workers_max_age: must be 1day to"),
        ("[retention]\nage = '1h'", "w.toml:2: retention.age: is not known here"),
        ("remote_runtimes = 1", "w.toml:1: remote_runtimes: must be a list of tables"),
        ("\n[[remote_runtimes]]\nruntime_id = 'a'", "w.toml:2: remote_runtimes[0].endpoint: is required"),
        (&format!("{remote}{remote}"), "w.toml:5: remote_runtimes[1].runtime_id: another runtime has this id"),
        (
            &remote.replace("'a'", "'embedded-worker-runtime'"),
            "w.toml:2: remote_runtimes[0].runtime_id: another runtime has this id",
        ),
        (&remote.replace("'a'", "'a b'"), "w.toml:2: remote_runtimes[0].runtime_id: must be 1 to 120"),
        (&remote.replace("http:", "ftp:"), "w.toml:3: remote_runtimes[0].endpoint: must be http://HOST:PORT or https"),
        (&remote.replace("//", "//me:pass@"), "w.toml:3: remote_runtimes[0].endpoint: must be http://HOST:PORT"),
        (&remote.replace(":1'", ":1/x'"), "w.toml:3: remote_runtimes[0].endpoint: must be http://HOST:PORT"),
        (&format!("{remote}timeout = '0s'"), "w.toml:4: remote_runtimes[0].timeout: must be 100ms to 5m"),
        (
            &format!("{remote}ca_file = 'ca'"),
            "w.toml:4: remote_runtimes[0].ca_file: is of TLS: the endpoint must be https",
        ),
        (&format!("{remote}server_name = 'x'"), "w.toml:4: remote_runtimes[0].server_name: is of TLS"),
        (&format!("{remote}token_file = 'open'"), "w.toml:4: remote_runtimes[0].token_file: open is open"),
        (
            &format!("{remote}token_file = 'tokens'").replace("127.0.0.1", "10.0.0.1"),
            "w.toml:3: remote_runtimes[0].endpoint: the token would cross the network in clear",
        ),
    ] {
        let refused = Files::new(config).serve().map(|_| ()).unwrap_err();
        assert!(refused.starts_with(error), "{config}\n  {refused}\n  {error}");
        assert!(!refused.contains("s3cret") && !refused.contains("pass"), "{refused}");
        assert!(!refused.contains('\n'), "{refused}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let files = Files::new("");
    let server = ServerFlags { config: Some(files.path("other.toml")), ..ServerFlags::default() };
    let refused = files.serve_with(&ServeFlags { server, workspace_id: None }, &[]).map(|_| ()).unwrap_err();
    assert!(refused.starts_with("other.toml: the file cannot be read"), "{refused}");
}

#[test]
fn tokens_may_cross_a_network_in_clear_only_where_that_was_asked_for() {
    let config = "allow_plaintext = true\ntoken_file = 'tokens'\nlisten = '0.0.0.0:1'\n[[remote_runtimes]]\nruntime_id = 'a'\n\
                  endpoint = 'http://10.0.0.1:1'\ntoken_file = 'tokens'\n";
    assert!(Files::new(config).serve().is_ok());
    for loopback in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1"] {
        assert!(Files::new(&format!("listen = '{loopback}'")).serve().is_ok(), "{loopback}");
    }
    for endpoint in ["http://localhost:1", "http://[::1]:1", "http://127.0.0.1:1/"] {
        let config = format!("[[remote_runtimes]]\nruntime_id = 'a'\nendpoint = '{endpoint}'\ntoken_file = 'tokens'\n");
        assert!(Files::new(&config).serve().is_ok(), "{endpoint}");
    }
}

#[test]
fn profiles_limits_and_remotes_come_out_as_they_were_written() {
    // acceptance 63
    let files = Files::new(
        "drain_pause = '0s'\n[embedded]\nruntime_id = 'here'\n[limits]\nmax_workers = 7\ninput_queue = 8\nstop_grace = '2s'\n\
         [retention]\nmax_age = '30d'\nmax_worker_bytes = '64KiB'\nmax_bytes = '2 GiB'\nended_workers_max_age = '90days'\n\
         [profiles.runtime_default]\nprotocol = 'catalog'\n\
         [profiles.'builtin:coder']\nprotocol = 'lines'\ncommand = ['sh', '-c', 'x']\ninput = 'text'\ncwd = 'work'\nenv = { A = 'b' }\n\
         [profiles.mine]\nprotocol = 'lines'\ncommand = ['cat']\n\
         [[remote_runtimes]]\nruntime_id = 'a'\nendpoint = 'http://127.0.0.1:1/'\n\
         [[remote_runtimes]]\nruntime_id = 'b'\ndisplay_name = 'Bee'\nendpoint = 'http://h:2'\ntimeout = '1500ms'\n",
    );
    let config = files.serve().unwrap();
    assert_eq!(config.server.drain_pause, Duration::ZERO);
    let embedded = config.embedded.unwrap();
    assert_eq!(embedded.runtime_id.as_str(), "here");
    assert_eq!((embedded.limits.max_workers, embedded.limits.input_queue), (7, 8));
    assert_eq!(embedded.limits.stop_grace, Duration::from_secs(2));
    let day = Duration::from_hours(24);
    let retention = Retention {
        max_age: Some(30 * day),
        max_worker_bytes: Some(65_536),
        max_bytes: Some(2 << 30),
        ended_workers_max_age: Some(90 * day),
    };
    assert_eq!(embedded.limits.retention, retention);
    let coder = embedded.profiles.get(&ProfileSelector::Builtin("builtin:coder".to_owned()));
    assert_eq!((coder.protocol, coder.input), (Protocol::Lines, InputForm::Text));
    assert_eq!((coder.command.len(), coder.cwd.clone(), coder.env["A"].as_str()), (3, Some(files.path("work")), "b"));
    assert!(embedded.profiles.contains(&ProfileSelector::RuntimeDefault));
    assert!(embedded.profiles.contains(&ProfileSelector::Named("mine".to_owned())));
    let [a, b] = &config.remotes[..] else { panic!("two remote runtimes") };
    assert_eq!((a.display_name.as_str(), a.timeout), ("a", Duration::from_secs(10)));
    assert_eq!((b.display_name.as_str(), b.timeout), ("Bee", Duration::from_millis(1500)));
}

#[test]
fn what_is_printed_has_no_secret_in_it() {
    // acceptance 64, 125, 136
    let files = Files::new(
        "token_file = 'tokens'\n[profiles.mine]\nprotocol = 'lines'\ncommand = ['hush']\nenv = { K = 'hush' }\n\
         [[remote_runtimes]]\nruntime_id = 'a'\nendpoint = 'http://127.0.0.1:4711'\ntoken_file = 'tokens'\n\
         [[remote_runtimes]]\nruntime_id = 'b'\nendpoint = 'http://127.0.0.1:4711'\n",
    );
    let printed = format!("{:?}", files.serve().unwrap());
    for secret in ["s3cret", "4711", "hush"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    assert!(printed.contains("endpoint: \"<backend-private>\", token: Some(\"<redacted>\")"), "{printed}");
    assert!(printed.contains("endpoint: \"<backend-private>\", token: None"), "{printed}");
}

#[test]
fn the_samples_load() {
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/samples");
    let server = |name: &str| ServerFlags { config: Some(samples.join(name)), ..ServerFlags::default() };
    let serve = ServeFlags { server: server("serve.toml"), workspace_id: None };
    let config = ServeConfig::load(&serve, &|_| None).unwrap();
    assert_eq!(config.remotes.len(), 1);
    assert!(config.embedded.is_some());
    let runtime = RuntimeFlags { server: server("runtime.toml"), ..RuntimeFlags::default() };
    let config = RuntimeConfig::load(&runtime, &|_| None).unwrap();
    assert_eq!(config.runtime_id.unwrap().as_str(), "host-a");
    assert!(config.profiles.contains(&ProfileSelector::Builtin("builtin:coder".to_owned())));
}

#[test]
fn the_limits_that_the_samples_show_are_all_there_are_and_the_defaults() {
    let shown = |name: &str| {
        let sample = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/samples").join(name));
        let sample = sample.unwrap();
        let limits = sample.split("[limits]\n").nth(1).unwrap().split("\n# [").next().unwrap().to_owned();
        let lines = limits.lines().map(|line| line.strip_prefix("# ").filter(|it| it.contains(" = ")).unwrap_or(line));
        Files::new(&format!("[limits]\n{}\n", lines.collect::<Vec<_>>().join("\n")))
    };
    let age = Some(Duration::from_hours(1));
    let (serve, runtime) = (shown("serve.toml"), shown("runtime.toml"));
    assert_eq!(serve.serve().unwrap().edge, Edge { max_connection_age: age, ..Edge::control_plane() });
    assert_eq!(runtime.runtime().unwrap().edge, Edge { max_connection_age: age, ..Edge::host() });
    let fields = format!("{:?}", Edge::host());
    for field in fields.split(['{', ',']).filter_map(|field| Some(field.split_once(": ")?.0.trim())) {
        for files in [&serve, &runtime] {
            let text = fs::read_to_string(files.path("w.toml")).unwrap();
            assert!(text.lines().any(|line| line.starts_with(&format!("{field} = "))), "{field} is not shown");
        }
    }
}

#[test]
fn what_has_changed_and_needs_a_restart_is_named() {
    let files = Files::new("listen = '127.0.0.1:1'\n[profiles.runtime_default]\nprotocol = 'catalog'\n");
    let changed = |text: &str| {
        let started = Fixed::from(&files.serve().unwrap());
        Fixed::changed(&started, &Fixed::from(&Files::new(text).serve().unwrap()))
    };
    let same = "listen = '127.0.0.1:1'\ntoken_file = 'tokens'\n[profiles.runtime_default]\nprotocol = 'catalog'\n";
    let remote = "[[remote_runtimes]]\nruntime_id = 'a'\nendpoint = 'http://127.0.0.1:1'\n";
    assert!(changed(&format!("{same}{remote}")).is_empty());
    let log = "metrics_listen = '[::]:9400'\nlog_format = 'json'\nlog_level = 'debug'\ndata_dir = 'x'\nworkspace_id = 'local:other'\n";
    assert_eq!(
        changed(&format!("{log}{same}")),
        ["metrics_listen", "log_format", "log_level", "data_dir", "workspace_id"]
    );
    assert_eq!(changed(&format!("{same}[traces]\nendpoint = 'http://c:1'\n")), ["traces"]);
    assert_eq!(changed(&format!("{same}[embedded]\nruntime_id = 'b'\n")), ["runtime_id"]);
    assert_eq!(changed(&format!("{same}[embedded]\nenabled = false\n")), ["embedded"]);
    assert_eq!(changed("[limits]\nmax_workers = 2\n"), ["listen", "profiles", "limits"]);
    assert_eq!(changed("[limits]\nmax_streams = 2\n"), ["listen", "profiles", "limits"]);
    assert_eq!(changed(&format!("{same}[retention]\nmax_age = '30d'\n")), ["retention"]);

    let runtime = |text: &str| Fixed::from(&Files::new(text).runtime().unwrap());
    let later = runtime("runtime_id = 'a'\ndisplay_name = 'A'\n");
    assert_eq!(runtime("").changed(&later), ["display_name", "runtime_id"]);
    assert!(runtime("").changed(&runtime("token_file = 'tokens'\n")).is_empty());
}
