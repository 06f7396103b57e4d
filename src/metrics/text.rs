//! The text form of Prometheus, for what is looked at when somebody asks.

use std::fmt::Write as _;

use super::{Family, Kind};

/// Families and their samples, as text.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Goes on after what was written already.
    #[must_use]
    pub fn after(text: String) -> Self {
        Self(text)
    }

    /// Begins a family; each comes once.
    pub fn family(&mut self, family: &Family) -> Samples<'_> {
        let Family { name, kind, help } = *family;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        // Writing to a text does not fail.
        _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Samples { text: &mut self.0, name }
    }

    /// A family of one, without labels.
    pub fn one(&mut self, family: &Family, value: f64) {
        self.family(family).sample(&[], value);
    }

    /// All that was written.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

/// The samples of one family.
#[derive(Debug)]
pub struct Samples<'t> {
    text: &'t mut String,
    name: &'static str,
}

impl Samples<'_> {
    /// One of them.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(self.name);
        for (at, (label, value)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            _ = write!(self.text, "{label}=\"");
            escape(value, self.text);
            self.text.push('"');
        }
        self.text.push_str(if labels.is_empty() { " " } else { "} " });
        _ = writeln!(self.text, "{value}");
    }
}

fn escape(value: &str, text: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::families;
    use super::*;

    #[test]
    fn a_family_says_what_it_is_and_its_labels_cannot_break_out() {
        let mut text = Text::after("before 1\n".to_owned());
        text.one(&families::RECEIPTS, 3.0);
        let mut hosts = text.family(&families::HOST_SEEN);
        hosts.sample(&[("runtime_id", "a")], 0.25);
        hosts.sample(&[("runtime_id", "b\"} 1\nc\\")], 1.0);
        let lines: Vec<_> = text.0.lines().collect();
        assert_eq!(lines[0], "before 1");
        assert!(lines[1].starts_with("# HELP workplane_receipts ") && lines[2] == "# TYPE workplane_receipts gauge");
        assert_eq!(lines[3], "workplane_receipts 3");
        assert_eq!(lines[6], "workplane_host_seen_age_seconds{runtime_id=\"a\"} 0.25");
        assert_eq!(lines[7], "workplane_host_seen_age_seconds{runtime_id=\"b\\\"} 1\\nc\\\\\"} 1");
    }

    #[test]
    fn names_follow_the_conventions() {
        for Family { name, kind, help } in families::ALL {
            assert!(name.starts_with("workplane_") && !help.contains(['\n', '\\']), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            if let Kind::Histogram(bounds) = kind {
                assert!(bounds.is_sorted(), "{name}");
            }
        }
        let mut names: Vec<_> = families::ALL.iter().map(|family| family.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), families::ALL.len());
    }
}
