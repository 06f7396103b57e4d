//! A control plane with workers of its own, and what they were told: for tests in which something happens to it.

use std::fs;
use std::path::Path;

use crate::book::Book;
use crate::fleet::{man, profiles};
use crate::load::Load;
use crate::server::{Role, Server};
use crate::support::configuration::Configuration;
use crate::support::{Chance, EMBEDDED, Profile, chance, until};

/// What marks the programs of one test.
const MARK: &str = "CRASH_TEST";

/// A server, and what its workers were told.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) books: Vec<Book>,
    configuration: Configuration,
    mark: String,
    pub(crate) chance: Chance,
}

/// How a scene differs from the others.
#[derive(Default)]
pub(crate) struct Setting<'a> {
    /// What it runs beside what all run.
    pub(crate) profiles: Vec<(String, Profile)>,
    /// What its configuration says beside.
    pub(crate) text: &'a str,
    /// Where its data lie.
    pub(crate) data: Option<&'a Path>,
}

impl Scene {
    /// A server that is up, with workers.
    pub(crate) async fn new(setting: Setting<'_>) -> Self {
        let Setting { profiles: more, text, data } = setting;
        let mut chance = chance();
        let mark = format!("{:x}-{}", std::process::id(), chance.below(usize::MAX));
        let marked = |(name, profile): (String, Profile)| {
            let profile = if profile.runs() { profile.env(MARK, &mark) } else { profile };
            (name, profile)
        };
        let profiles = profiles().into_iter().chain(more).map(marked).collect();
        let configuration = Configuration { profiles, ..Configuration::default() };
        let mut server = Server::new(Role::Plane, &configuration).configured(text);
        if let Some(data) = data {
            server = server.data_dir(data);
        }
        server.start().await;
        let mut scene = Self { server, books: Vec::new(), configuration, mark, chance };
        scene.man().await;
        scene
    }

    /// Sees to it that there are workers of every kind.
    pub(crate) async fn man(&mut self) {
        man(&self.server.client(), &[EMBEDDED], &mut self.books).await;
    }

    /// Another server that is configured as this one, with its data there.
    pub(crate) fn server_at(&self, data: &Path) -> Server {
        Server::new(Role::Plane, &self.configuration).data_dir(data)
    }

    /// Tells its workers things until `done` is.
    pub(crate) async fn tell(&mut self, load: &Load, name: &str, done: impl AsyncFnOnce(&mut Server)) {
        let Self { server, books, chance, .. } = self;
        let done = async {
            done(server).await;
            load.end();
        };
        tokio::join!(done, load.run(books, name, chance));
    }

    /// All is there as it was acknowledged, and a request that comes again is answered as the first time.
    pub(crate) async fn check(&self) {
        for book in &self.books {
            book.check().await;
            book.repeat(3).await;
        }
    }

    /// How many of its programs run.
    pub(crate) fn programs(&self) -> usize {
        let wanted = format!("{MARK}={}", self.mark);
        let bears = |entry: &fs::DirEntry| {
            // A process may have gone meanwhile.
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        };
        fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(bears).count()
    }

    /// Waits until no program runs that it has ever started.
    pub(crate) async fn nothing_is_left(&self) {
        until("all programs to be gone", || async { (self.programs() == 0).then_some(()) }).await;
    }
}
