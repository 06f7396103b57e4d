//! The commands, as a person or a script types them.

use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::process::without_settings;
use super::{Plane, agent, run_with_input, within};

/// A control plane, and the flags that lead to it.
pub(crate) struct Console {
    flags: [String; 4],
}

impl Console {
    pub(crate) fn of(plane: &Plane) -> Self {
        let token_file = plane.token_file().to_str().unwrap().to_owned();
        Self { flags: ["--endpoint".to_owned(), plane.endpoint(), "--token-file".to_owned(), token_file] }
    }

    pub(crate) async fn run(&self, arguments: &[&str], input: &str) -> Output {
        let flags = self.flags.iter().map(String::as_str);
        run_with_input(&arguments.iter().copied().chain(flags).collect::<Vec<_>>(), input, None).await
    }

    /// A command that must succeed; what it prints.
    pub(crate) async fn types(&self, line: &str) -> String {
        let output = self.run(&line.split(' ').collect::<Vec<_>>(), "").await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{line}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// As [`Console::types`], read as JSON.
    pub(crate) async fn types_json(&self, line: &str) -> Value {
        serde_json::from_str(&self.types(&format!("{line} --output json")).await).unwrap()
    }

    /// A command that is spoken to while it runs, through pipes.
    pub(crate) fn talk(&self, line: &str) -> Talk {
        Talk::with(Command::new(env!("CARGO_BIN_EXE_workplane")), self.arguments(line))
    }

    /// The same at a terminal: what is shown there is what it and the terminal write.
    pub(crate) fn talk_at_a_terminal(&self, line: &str) -> Talk {
        let mut command = Command::new("python3");
        command.args([&agent("terminal.py"), env!("CARGO_BIN_EXE_workplane")]);
        Talk::with(command, self.arguments(line))
    }

    fn arguments(&self, line: &str) -> Vec<String> {
        line.split(' ').map(ToOwned::to_owned).chain(self.flags.clone()).collect()
    }
}

/// A command that is spoken to while it runs.
pub(crate) struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    /// What it has written so far.
    shown: String,
    /// How much of that was waited for.
    seen: usize,
}

impl Talk {
    fn with(command: Command, arguments: Vec<String>) -> Self {
        let mut command = without_settings(command);
        let mut child = command.args(arguments).stdin(Stdio::piped()).spawn().expect("it can be started");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("it is piped"));
        Self { child, input, output, shown: String::new(), seen: 0 }
    }

    pub(crate) async fn types(&mut self, keys: &str) {
        let input = self.input.as_mut().expect("its input is open");
        within("it to take what is typed", input.write_all(keys.as_bytes())).await.expect("it reads");
    }

    /// Waits until it has written this, behind what was waited for before.
    pub(crate) async fn shows(&mut self, text: &str) {
        let at = loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                break at;
            }
            assert!(self.read().await > 0, "it ended without {text:?}:\n{}", self.shown);
        };
        self.seen += at + text.len();
    }

    async fn read(&mut self) -> usize {
        let mut chunk = [0; 4096];
        let what = format!("more than:\n{}", self.shown);
        let length = within(&what, self.output.read(&mut chunk)).await.expect("it can be read");
        // A character in two pieces is no part of what is waited for.
        self.shown.push_str(&String::from_utf8_lossy(&chunk[..length]));
        length
    }

    /// Ends its input and waits for its end: all that it has shown, what it wrote to standard error, and its code.
    pub(crate) async fn leave(mut self) -> (String, String, Option<i32>) {
        drop(self.input.take());
        while self.read().await > 0 {}
        let rest = within("it to end", self.child.wait_with_output()).await.expect("it can be waited for");
        (self.shown, String::from_utf8_lossy(&rest.stderr).into_owned(), rest.status.code())
    }
}
