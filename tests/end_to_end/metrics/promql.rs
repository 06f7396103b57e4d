//! As much of the query language of Prometheus as our dashboard and alerts need: which series an expression asks for, and by which labels it groups.

use crate::support::{Labels, Scrape};

/// Labels that Prometheus adds to what it scrapes.
const ADDED: [&str; 3] = ["instance", "job", "le"];

/// What one expression asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    selectors: Vec<Selector>,
    groups: Vec<String>,
}

/// `name{label="value", …}`
#[derive(Debug)]
struct Selector {
    name: String,
    matchers: Vec<Matcher>,
}

#[derive(Debug)]
struct Matcher {
    label: String,
    operator: String,
    value: String,
}

impl Asked {
    /// Reads an expression.
    pub(crate) fn by(expression: &str) -> Self {
        let mut asked = Self { selectors: Vec::new(), groups: Vec::new() };
        let mut rest = expression;
        while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '"') {
            rest = &rest[at..];
            assert!(!rest.starts_with('"'), "a text outside of a selector: {expression}");
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            if let Some(selector) = after.strip_prefix('{').or(word.starts_with("workplane_").then_some("")) {
                let (inner, left) = selector.split_once('}').unwrap_or_default();
                rest = if selector.is_empty() { after } else { left };
                if word.starts_with("workplane_") {
                    asked.selectors.push(Selector { name: word.to_owned(), matchers: matchers_of(inner) });
                }
            } else if word == "by" {
                let (inner, after) = after.trim_start()[1..].split_once(')').expect("it is closed");
                rest = after;
                asked.groups.extend(inner.split(',').map(|label| label.trim().to_owned()));
            }
        }
        asked
    }

    /// What there is not, in words; nothing where all is there.
    pub(crate) fn lacks(&self, scrapes: &[Scrape]) -> Vec<String> {
        let mut lacks = Vec::new();
        let mut seen: Vec<&Labels> = Vec::new();
        for selector in &self.selectors {
            let before = seen.len();
            let named = scrapes.iter().flat_map(|scrape| scrape.named(&selector.name));
            seen.extend(named.filter(|labels| selector.matchers.iter().all(|matcher| matcher.takes(labels))));
            if seen.len() == before {
                lacks.push(format!("{selector:?}"));
            }
        }
        let is_there = |group: &&String| {
            ADDED.contains(&group.as_str()) || seen.iter().any(|labels| labels.contains_key(group.as_str()))
        };
        lacks.extend(self.groups.iter().filter(|group| !is_there(group)).map(|group| format!("by ({group})")));
        lacks
    }

    /// Whether it asks for anything of ours.
    pub(crate) fn is_ours(&self) -> bool {
        !self.selectors.is_empty()
    }
}

fn matchers_of(inner: &str) -> Vec<Matcher> {
    let matcher = |text: &str| {
        let at = text.find(['=', '!']).expect("a matcher has an operator");
        let (operator, value) = text[at..].split_once('"').expect("a value is in quotes");
        let value = value.strip_suffix('"').expect("a value is in quotes").to_owned();
        Matcher { label: text[..at].trim().to_owned(), operator: operator.to_owned(), value }
    };
    inner.split(',').filter(|text| !text.trim().is_empty()).map(matcher).collect()
}

impl Matcher {
    fn takes(&self, labels: &Labels) -> bool {
        if ADDED.contains(&self.label.as_str()) && self.label != "le" {
            return true;
        }
        let has = labels.get(&self.label).map_or("", String::as_str);
        let one_of = || {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '|');
            assert!(self.value.chars().all(plain), "more of a pattern than is read here: {self:?}");
            self.value.split('|').any(|value| value == has)
        };
        match self.operator.as_str() {
            "=" => has == self.value,
            "!=" => has != self.value,
            "=~" => one_of(),
            "!~" => !one_of(),
            _ => panic!("no operator: {self:?}"),
        }
    }
}

#[test]
fn what_is_not_there_is_found() {
    let mut scrape = Scrape::default();
    let labels = |method: &str| Labels::from([("method".to_owned(), method.to_owned())]);
    scrape.series.insert(("workplane_a_total".to_owned(), labels("x")), 1.0);
    let scrapes = [scrape];
    for there in [
        "sum by (method, instance) (rate(workplane_a_total{instance=~\"$instance\"}[5m])) > 0.5",
        "workplane_a_total{method=~\"y|x\",method!=\"z\"} / workplane_a_total{method!~\"y|z\"}",
        "time()",
    ] {
        assert!(Asked::by(there).lacks(&scrapes).is_empty(), "{there}");
    }
    for lacking in [
        "workplane_b_total",
        "workplane_a_total{method=\"y\"}",
        "workplane_a_total{method!=\"x\"}",
        "workplane_a_total{code=~\"x|y\"}",
        "sum by (code) (workplane_a_total)",
        "rate(workplane_a_total[5m]) / rate(workplane_c_total{x=\"y\"}[5m])",
    ] {
        assert_eq!(Asked::by(lacking).lacks(&scrapes).len(), 1, "{lacking}");
    }
}
