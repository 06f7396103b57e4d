//! Holds the walls between the rooms of `src/`: who may use whom, which rooms know no wire format, and how large a
//! file may be. It reads the source as tokens, so that words in comments and texts are not mistaken for uses.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// What a room may use. The longest prefix of a file's path says which rule it is under.
struct Room {
    path: &'static str,
    /// Other rooms it may name.
    uses: &'static [&'static str],
    /// Whether it may name tonic and prost.
    wire: bool,
}

/// Rooms whose tests, too, know no wire format. What the tests of the others borrow (a fake, a decoder) is no wall
/// broken.
const STRICT: &[&str] = &["model", "engine", "registry"];

const ROOMS: &[Room] = &[
    Room { path: "model", uses: &[], wire: false },
    Room { path: "failpoint", uses: &[], wire: false },
    Room { path: "metrics", uses: &[], wire: false },
    Room { path: "traces", uses: &["model"], wire: false },
    Room { path: "tls", uses: &[], wire: false },
    Room { path: "engine", uses: &["model", "failpoint", "metrics"], wire: false },
    Room { path: "proto", uses: &["engine", "model"], wire: true },
    Room { path: "runtime", uses: &["engine", "model"], wire: false },
    Room { path: "runtime/local", uses: &["engine", "model", "proto"], wire: false },
    Room { path: "runtime/remote", uses: &["engine", "model", "proto", "tls", "metrics", "traces"], wire: true },
    Room { path: "registry", uses: &["runtime", "engine", "model"], wire: false },
    Room {
        path: "server",
        uses: &["registry", "runtime", "engine", "proto", "model", "tls", "metrics", "traces"],
        wire: true,
    },
    Room { path: "config", uses: &["server", "engine", "model", "tls"], wire: false },
    Room { path: "telemetry", uses: &["config", "model", "metrics", "traces"], wire: false },
    Room { path: "cli", uses: &["config", "proto", "model", "tls"], wire: true },
    Room {
        path: "app",
        uses: &[
            "server",
            "cli",
            "config",
            "telemetry",
            "registry",
            "runtime",
            "engine",
            "proto",
            "model",
            "tls",
            "metrics",
        ],
        wire: true,
    },
    Room { path: "lib", uses: &[], wire: false },
    Room { path: "main", uses: &[], wire: false },
];

/// Past this, there is a second idea in the file that wants a name of its own.
const MAX_LINES: usize = 400;

/// A wall that a file breaks.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.file, self.line, self.what)
    }
}

#[test]
fn every_room_uses_only_what_stands_to_its_right() {
    let files = source_files();
    assert!(files.len() > 20, "only {} files found: is this the right directory?", files.len());
    // Stories in a room's own `tests` folder play the parts around it: they may spawn.
    let rooms = files.iter().filter(|(file, _)| !file.contains("/tests/"));
    let breaches: Vec<_> = rooms.flat_map(|(file, text)| breaches(file, text)).collect();
    assert!(breaches.is_empty(), "\n{}", breaches.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

#[test]
fn no_file_is_longer_than_it_should_be() {
    let long: Vec<_> = source_files()
        .into_iter()
        .map(|(file, text)| (text.lines().count(), file))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "more than {MAX_LINES} lines: {long:?}");
}

#[test]
fn a_planted_breach_is_found_and_a_mention_is_not() {
    for (file, text, found) in [
        ("engine/mod.rs", "use crate::proto::v1;", Some("proto")),
        ("engine/mod.rs", "use crate::{model::Worker, proto};", Some("proto")),
        ("engine/mod.rs", "use crate::{model::{self, Worker}, server::Server};", Some("server")),
        ("engine/mod.rs", "fn f() { super::proto::encode(); }", Some("proto")),
        ("engine/store/disk.rs", "use super::super::super::server;", Some("server")),
        ("engine/tail.rs", "type Status = tonic::Status;", Some("tonic")),
        ("engine/tail.rs", "tokio::spawn(async {});", Some("tokio::spawn")),
        ("engine/tail.rs", "let (a, b) = mpsc::unbounded_channel();", Some("unbounded_channel")),
        ("engine/driver/lines.rs", "use agent_client_protocol::Client;", Some("agent_client_protocol")),
        ("model/id.rs", "use crate::engine::Engine;", Some("engine")),
        ("model/id.rs", "use std::fs;", Some("std::fs")),
        ("registry/mod.rs", "use prost_types::Timestamp;", Some("prost_types")),
        ("registry/mod.rs", "use crate::config::Config;", Some("config")),
        ("runtime/local.rs", "use crate::registry::Registry;", Some("registry")),
        ("runtime/fake.rs", "use crate::proto;", Some("proto")),
        ("runtime/remote/mod.rs", "use crate::server::layers;", Some("server")),
        ("server/mod.rs", "use crate::app::App;", Some("app")),
        ("attic/mod.rs", "", Some("attic")),
        ("engine/tail.rs", "#[cfg(test)]\nmod tests { use prost::Message; }", Some("prost")),
        // Mentions, and uses that are allowed.
        ("engine/mod.rs", "//! Knows no tonic and no `crate::proto`.\nuse crate::model::Worker;", None),
        ("engine/mod.rs", "const S: &str = \"crate::proto\"; const R: &str = r#\"tonic \"x\" \"#; /* tonic */", None),
        ("engine/mod.rs", "fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' } // tonic", None),
        ("runtime/local.rs", "use crate::proto::item_of;", None),
        ("runtime/remote/relay.rs", "use crate::proto::walk; use tonic::Status;", None),
        ("proto/raw.rs", "fn f() {}\n#[cfg(test)]\nmod tests { use crate::runtime::fake; }", None),
        ("proto/tests.rs", "use crate::runtime::fake;", None),
        ("app.rs", "use crate::server::Server; use crate::cli;", None),
        ("engine/driver/acp/talk.rs", "use agent_client_protocol::Client;", None),
        ("main.rs", "use workplane::app;", None),
    ] {
        let breaches = breaches(file, text);
        match found {
            None => assert_eq!(breaches, [], "{file}: {text}"),
            Some(word) => assert!(
                breaches.len() == 1 && breaches[0].what.contains(word),
                "{file}: {text}: wanted one breach that names {word}, got {breaches:?}"
            ),
        }
    }
}

/// The walls that a file breaks, by its path under `src/`.
fn breaches(file: &str, text: &str) -> Vec<Breach> {
    let breach = |line, what: String| Breach { file: file.to_owned(), line, what };
    let Some(room) = room_of(file) else {
        return vec![breach(1, format!("no room of that name is drawn in tests/boundaries.rs: {file}"))];
    };
    let own = room.path.split('/').next().unwrap_or_default();
    let tokens = tokens(if STRICT.contains(&own) { text } else { without_tests(file, text) });
    let mut found = Vec::new();
    for (line, other) in rooms_named(file, &tokens) {
        if other != own && !room.uses.contains(&other) {
            found.push(breach(line, format!("{} must not use {other}", room.path)));
        }
    }
    for token in &tokens {
        let wire = token.text.starts_with("tonic") || token.text.starts_with("prost");
        if wire && !room.wire {
            found.push(breach(token.line, format!("{} must not name {}", room.path, token.text)));
        }
        if matches!(token.text, "unbounded_channel" | "UnboundedSender" | "UnboundedReceiver") {
            found.push(breach(token.line, format!("every queue has a bound: {}", token.text)));
        }
    }
    // Its majors come within weeks of each other: what follows them stays in one place.
    if !file.starts_with("engine/driver/acp/") {
        for line in lines_with(&tokens, &["agent_client_protocol"]) {
            found.push(breach(line, format!("{} must not name agent_client_protocol", room.path)));
        }
    }
    for banned in banned_paths(own) {
        for line in lines_with(&tokens, banned) {
            found.push(breach(line, format!("{} must not use {}", room.path, banned.concat())));
        }
    }
    found
}

/// Paths that a room must not name, as tokens.
fn banned_paths(room: &str) -> &'static [&'static [&'static str]] {
    match room {
        // The nouns do no input and output.
        "model" => &[
            &["std", "::", "fs"],
            &["std", "::", "net"],
            &["std", "::", "process"],
            &["tokio", "::", "fs"],
            &["tokio", "::", "net"],
            &["tokio", "::", "process"],
            &["tokio", "::", "spawn"],
        ],
        // The engine spawns only on the handle it was given.
        "engine" => &[&["tokio", "::", "spawn"], &["task", "::", "spawn"], &["Handle", "::", "current"]],
        _ => &[],
    }
}

/// The part of a file that is not only for tests.
fn without_tests<'t>(file: &str, text: &'t str) -> &'t str {
    let name = file.rsplit('/').next().unwrap_or_default();
    if name.starts_with("test") {
        return "";
    }
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |start| &text[..start])
}

fn room_of(file: &str) -> Option<&'static Room> {
    let module = file.trim_end_matches(".rs").trim_end_matches("/mod");
    let holds =
        |room: &&Room| module.strip_prefix(room.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ROOMS.iter().filter(holds).max_by_key(|room| room.path.len())
}

/// The rooms that a file names: through `crate::`, or through enough `super::` to reach the root.
fn rooms_named<'t>(file: &str, tokens: &[Token<'t>]) -> Vec<(usize, &'t str)> {
    let depth = file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
    let mut named = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let from = at;
        let mut supers = 0;
        while text_at(tokens, at) == "super" && text_at(tokens, at + 1) == "::" {
            supers += 1;
            at += 2;
        }
        if text_at(tokens, at) == "crate" && text_at(tokens, at + 1) == "::" {
            supers = depth;
            at += 2;
        }
        if supers >= depth && at > from {
            named.extend(heads(&tokens[at..]));
        }
        at = at.max(from + 1);
    }
    let is_room = |name: &str| ROOMS.iter().any(|room| room.path == name);
    named.into_iter().filter(|(_, name)| is_room(name)).collect()
}

/// The first names of the paths that begin here: one, or those of a `{group}`.
fn heads<'t>(tokens: &[Token<'t>]) -> Vec<(usize, &'t str)> {
    let Some(first) = tokens.first() else { return Vec::new() };
    if first.text != "{" {
        return vec![(first.line, first.text)];
    }
    let mut heads = Vec::new();
    let mut open = 0;
    for pair in tokens.windows(2) {
        match pair[0].text {
            "{" => open += 1,
            "}" => open -= 1,
            _ => {}
        }
        if open == 0 {
            break;
        }
        if open == 1 && matches!(pair[0].text, "{" | ",") {
            heads.push((pair[1].line, pair[1].text));
        }
    }
    heads
}

fn text_at<'t>(tokens: &[Token<'t>], at: usize) -> &'t str {
    tokens.get(at).map_or("", |token| token.text)
}

fn lines_with(tokens: &[Token<'_>], sequence: &[&str]) -> Vec<usize> {
    let matches = |window: &&[Token<'_>]| window.iter().zip(sequence).all(|(token, text)| token.text == *text);
    tokens.windows(sequence.len()).filter(matches).map(|window| window[0].line).collect()
}

/// A word, `::`, or any other single character of the source.
#[derive(Debug, Clone, Copy)]
struct Token<'t> {
    line: usize,
    text: &'t str,
}

/// The source without its comments and literals.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (length, is_token) = next(rest, first);
        let (text, after) = rest.split_at(length);
        if is_token {
            tokens.push(Token { line, text });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

/// How long the next piece of the source is, and whether it is a token.
fn next(rest: &str, first: char) -> (usize, bool) {
    let to = |end: Option<usize>| end.unwrap_or(rest.len());
    if rest.starts_with("//") {
        return (to(rest.find('\n')), false);
    }
    if rest.starts_with("/*") {
        return (to(rest.find("*/").map(|end| end + 2)), false);
    }
    if let Some(length) = raw_string(rest) {
        return (length, false);
    }
    match first {
        '"' => (quoted(rest, '"'), false),
        // 'x' and '\'' are characters, 'a alone is a lifetime.
        '\'' if rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'') => (quoted(rest, '\''), false),
        ':' if rest.starts_with("::") => (2, true),
        _ if first.is_alphanumeric() || first == '_' => {
            (to(rest.find(|c: char| !c.is_alphanumeric() && c != '_')), true)
        }
        _ => (first.len_utf8(), !first.is_whitespace()),
    }
}

/// The length of a literal that ends at the next `quote` without a backslash before it.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = true;
    for (at, c) in rest.char_indices() {
        if c == quote && !escaped {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

/// The length of `r"…"`, `r#"…"#` and their byte forms.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes_and_on = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let body = hashes_and_on.trim_start_matches('#').strip_prefix('"')?;
    let hashes = &hashes_and_on[..hashes_and_on.len() - body.len() - 1];
    let close = format!("\"{hashes}");
    let start = rest.len() - body.len();
    Some(body.find(&close).map_or(rest.len(), |end| start + end + close.len()))
}

/// The Rust files under `src/`, by their paths there.
fn source_files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut directories = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("src/ can be read") {
            let path: PathBuf = entry.expect("src/ can be read").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is UTF-8");
                let name = path.strip_prefix(&root).expect("it lies under src/");
                files.push((name.to_string_lossy().into_owned(), text));
            }
        }
    }
    files.sort();
    files
}
