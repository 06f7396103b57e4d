//! Metrics as Prometheus reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::within;

/// The labels of one series.
pub(crate) type Labels = BTreeMap<String, String>;

/// One answer to `GET /metrics`.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    /// By its name and labels; of histograms each of their parts.
    pub(crate) series: BTreeMap<(String, Labels), f64>,
    /// What is said of each family: HELP, TYPE.
    pub(crate) said: BTreeMap<String, (String, String)>,
}

impl Scrape {
    /// Asks at this address, and reads what comes: each line must be one of the form's.
    pub(crate) async fn of(address: SocketAddr) -> Self {
        let answer = within("metrics", ask(address, "GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut scrape = Self::default();
        for line in body.lines().filter(|line| !line.is_empty()) {
            scrape.take(line);
        }
        scrape
    }

    fn take(&mut self, line: &str) {
        if let Some(said) = line.strip_prefix("# ") {
            let (what, rest) = said.split_once(' ').unwrap();
            let (name, words) = rest.split_once(' ').unwrap();
            let family = self.said.entry(name.to_owned()).or_default();
            let place = if what == "HELP" { &mut family.0 } else { &mut family.1 };
            assert!(place.is_empty(), "said twice: {line}");
            words.clone_into(place);
            return;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line}"));
        let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
        let (name, labels) = series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest));
        let before = self.series.insert((name.to_owned(), labels_of(labels.trim_end_matches('}'))), value);
        assert!(before.is_none(), "there twice: {line}");
    }

    /// The labels of all series of this name.
    pub(crate) fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Labels> {
        self.series.keys().filter(move |(series, _)| series == name).map(|(_, labels)| labels)
    }

    /// The sum of all series of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &Labels| {
            labels.iter().all(|(label, value)| series.get(*label).is_some_and(|is| is.as_str() == *value))
        };
        self.series.iter().filter(|((series, its), _)| series == name && has(its)).map(|(_, value)| value).sum()
    }

    /// Which series there are.
    pub(crate) fn keys(&self) -> BTreeSet<&(String, Labels)> {
        self.series.keys().collect()
    }
}

/// Says something on a connection of its own, and gives back all that is answered.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut connection = TcpStream::connect(address).await.expect("metrics are served");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

/// `a="b",c="d"`; no value of ours has an escape.
fn labels_of(text: &str) -> Labels {
    assert!(!text.contains('\\'), "{text}");
    let pairs = text.split("\",").filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (label, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("not a label: {pair}"));
            (label.to_owned(), value.trim_end_matches('"').to_owned())
        })
        .collect()
}
