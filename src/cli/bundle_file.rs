//! A file with a configuration bundle, JSON or TOML: the message of the API, with its field names, and words for what is
//! long there. What is wrong with it is said with the file and the field.
//!
//! It checks the form alone; what a bundle may say is the control plane's to judge.

use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::failure::Failure;
use super::output::plain;
use super::spawn::selector;
use crate::proto::v1::{
    ConfigBundle, ConfigBundleMetadata, Declaration, DeclarationKind, ProfileDescriptor, ProfileSelector, Provenance,
    RuntimeDefault, profile_selector,
};

/// What stands before the name of each kind in the contract.
const KIND: &str = "DECLARATION_KIND_";

/// Reads a bundle; `-` is standard input.
pub(super) fn read(file: &str) -> Result<ConfigBundle, Failure> {
    let text = if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| Failure::Usage(format!("{}: cannot be read: {error}", plain(file))))?;
    parse(file, &text).map_err(|problem| Failure::Usage(format!("{}{problem}", plain(file))))
}

/// The bundle, or what is wrong: the line or the field, to be said after the file's name.
fn parse(file: &str, text: &str) -> Result<ConfigBundle, String> {
    let extension = Path::new(file).extension().and_then(|it| it.to_str()).unwrap_or_default();
    let is_json = match extension {
        "json" => true,
        "toml" => false,
        _ => text.trim_start().starts_with('{'),
    };
    let value = if is_json { from_json(text)? } else { from_toml(text)? };
    bundle(Node { path: String::new(), value }).map_err(|problem| format!(": {problem}"))
}

fn from_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!(":{}: not JSON: {error}", error.line()))
}

fn from_toml(text: &str) -> Result<Value, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = 1 + text.get(..start).unwrap_or_default().matches('\n').count();
        format!(":{line}: not TOML: {}", error.message().lines().collect::<Vec<_>>().join(", "))
    })?;
    Ok(as_json(toml::Value::Table(table)))
}

/// The same value in JSON's terms. A date is its text.
fn as_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(it) => it.into(),
        toml::Value::Datetime(at) => at.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(as_json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, as_json(value))).collect(),
    }
}

/// A value, and where it stands.
struct Node {
    path: String,
    value: Value,
}

/// A table whose fields are taken out one by one; what is left at the end was not known.
struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Node {
    fn wrong(&self, what: &str) -> String {
        if self.path.is_empty() { what.to_owned() } else { format!("{}: {what}", self.path) }
    }

    fn fields(self) -> Result<Fields, String> {
        match self.value {
            Value::Object(map) => Ok(Fields { path: self.path, map }),
            _ => Err(self.wrong("must be a table of fields")),
        }
    }

    fn text(self) -> Result<String, String> {
        match self.value {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong("must be a text in quotes")),
        }
    }

    fn items(self) -> Result<Vec<Self>, String> {
        match self.value {
            Value::Array(items) => {
                let item = |(at, value)| Self { path: format!("{}[{at}]", self.path), value };
                Ok(items.into_iter().enumerate().map(item).collect())
            }
            _ => Err(self.wrong("must be a list")),
        }
    }
}

impl Fields {
    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A field by its name in the contract, or by that in JSON; `null` is none.
    fn take(&mut self, name: &str) -> Option<Node> {
        let value = self.map.remove(name).or_else(|| self.map.remove(&camel_case(name)))?;
        (!value.is_null()).then(|| Node { path: self.path(name), value })
    }

    fn required(&mut self, name: &str) -> Result<Node, String> {
        self.take(name).ok_or_else(|| format!("{}: is required", self.path(name)))
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        self.take(name).map(Node::text).transpose()
    }

    fn required_text(&mut self, name: &str) -> Result<String, String> {
        self.required(name)?.text()
    }

    fn list<T>(&mut self, name: &str, read: impl Fn(Node) -> Result<T, String>) -> Result<Vec<T>, String> {
        self.take(name).map(Node::items).transpose()?.into_iter().flatten().map(read).collect()
    }

    fn finish<T>(self, value: T) -> Result<T, String> {
        match self.map.keys().next() {
            None => Ok(value),
            Some(unknown) => Err(format!("{}: is not a field of a bundle", plain(&self.path(unknown)))),
        }
    }
}

/// `workspaceId` of `workspace_id`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| {
        let (head, tail) = word.split_at(word.len().min(1));
        camel + &head.to_ascii_uppercase() + tail
    })
}

fn bundle(node: Node) -> Result<ConfigBundle, String> {
    let mut fields = node.fields()?;
    let bundle = ConfigBundle {
        metadata: Some(metadata(fields.required("metadata")?)?),
        profiles: fields.list("profiles", profile)?,
        declarations: fields.list("declarations", declaration)?,
    };
    fields.finish(bundle)
}

fn metadata(node: Node) -> Result<ConfigBundleMetadata, String> {
    let mut fields = node.fields()?;
    let metadata = ConfigBundleMetadata {
        id: fields.required_text("id")?,
        digest: fields.text("digest")?.unwrap_or_default(),
        revision: fields.required_text("revision")?,
        workspace_id: fields.required_text("workspace_id")?,
        created_at: fields.required_text("created_at")?,
        provenance: Some(provenance(fields.required("provenance")?)?),
    };
    fields.finish(metadata)
}

fn provenance(node: Node) -> Result<Provenance, String> {
    let mut fields = node.fields()?;
    let provenance = Provenance { source: fields.required_text("source")?, detail: fields.text("detail")? };
    fields.finish(provenance)
}

fn profile(node: Node) -> Result<ProfileDescriptor, String> {
    let mut fields = node.fields()?;
    let selector = Some(profile_selector(fields.required("selector")?)?);
    let label = fields.text("label")?;
    fields.finish(ProfileDescriptor { selector, label })
}

/// As `--profile` has it, or as the API.
fn profile_selector(node: Node) -> Result<ProfileSelector, String> {
    if let Value::String(text) = node.value {
        return Ok(selector(text));
    }
    let one_of = node.wrong("must be a profile's name, or one of builtin, named and runtime_default");
    let mut fields = node.fields()?;
    let kind = if let Some(name) = fields.text("builtin")? {
        profile_selector::Kind::Builtin(name)
    } else if let Some(name) = fields.text("named")? {
        profile_selector::Kind::Named(name)
    } else if let Some(node) = fields.take("runtime_default") {
        node.fields()?.finish(())?;
        profile_selector::Kind::RuntimeDefault(RuntimeDefault {})
    } else {
        return Err(one_of);
    };
    if fields.map.is_empty() { Ok(ProfileSelector { kind: Some(kind) }) } else { Err(one_of) }
}

fn declaration(node: Node) -> Result<Declaration, String> {
    let mut fields = node.fields()?;
    let kind = fields.required("kind")?;
    let path = kind.path.clone();
    let declaration = Declaration {
        kind: declaration_kind(&kind.text()?).map_err(|problem| format!("{path}: {problem}"))?.into(),
        name: fields.required_text("name")?,
        reference: fields.required_text("reference")?,
    };
    fields.finish(declaration)
}

/// `capability_grant`, or the whole name of the enum's value.
fn declaration_kind(word: &str) -> Result<DeclarationKind, String> {
    let short = word.strip_prefix(KIND).unwrap_or(word).to_ascii_uppercase();
    DeclarationKind::from_str_name(&format!("{KIND}{short}")).ok_or_else(|| {
        let known = (1..).map_while(|number| DeclarationKind::try_from(number).ok());
        let words = known.map(|kind| super::output::word(kind.as_str_name(), KIND));
        format!("must be one of {}", words.collect::<Vec<_>>().join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
        [metadata]
        id = "bundle-1"
        revision = "rev-1"
        workspace_id = "local:test"
        created_at = 2026-06-26T00:00:00Z
        provenance = { source = "workspace-server-test" }

        [[profiles]]
        selector = "builtin:coder"
        label = "Coder"

        [[declarations]]
        kind = "capability_grant"
        name = "read"
        reference = "capability:read"
    "#;
    const JSON: &str = r#"{
        "metadata": {"id": "bundle-1", "digest": null, "revision": "rev-1", "workspaceId": "local:test",
            "created_at": "2026-06-26T00:00:00Z", "provenance": {"source": "workspace-server-test"}},
        "profiles": [{"selector": {"builtin": "builtin:coder"}, "label": "Coder"}],
        "declarations": [{"kind": "DECLARATION_KIND_CAPABILITY_GRANT", "name": "read", "reference": "capability:read"}]
    }"#;

    #[test]
    fn a_bundle_is_the_same_in_both_forms() {
        let bundle = parse("a.toml", TOML).unwrap();
        assert_eq!(parse("a.json", JSON).unwrap(), bundle);
        assert_eq!((parse("-", JSON).unwrap(), parse("-", TOML).unwrap()), (bundle.clone(), bundle.clone()));
        let metadata = bundle.metadata.unwrap();
        assert_eq!((metadata.created_at.as_str(), metadata.digest.as_str()), ("2026-06-26T00:00:00Z", ""));
        assert_eq!(bundle.declarations[0].kind(), DeclarationKind::CapabilityGrant);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line_or_field() {
        let toml = |from: &str, to: &str| parse("a.toml", &TOML.replace(from, to)).unwrap_err();
        for (from, to, problem) in [
            ("revision = \"rev-1\"", "", ": metadata.revision: is required"),
            ("\"rev-1\"", "1", ": metadata.revision: must be a text in quotes"),
            ("provenance = {", "provenance = { sauce = 1,", ": metadata.provenance.sauce: is not a field of a bundle"),
            ("label = ", "lable = ", ": profiles[0].lable: is not a field of a bundle"),
            (
                "\"builtin:coder\"",
                "{ builtin = \"a\", named = \"b\" }",
                ": profiles[0].selector: must be a profile's name",
            ),
            ("\"capability_grant\"", "\"grant\"", ": declarations[0].kind: must be one of secret_ref, mount_grant"),
            ("id = \"bundle-1\"", "id = ", ":3: not TOML"),
        ] {
            let said = toml(from, to);
            assert!(said.starts_with(problem), "{said}");
        }
        assert!(parse("a.json", "{\n\"metadata\": }").unwrap_err().starts_with(":2: not JSON"));
        assert_eq!(parse("a.json", "[]").unwrap_err(), ": must be a table of fields");
    }
}
