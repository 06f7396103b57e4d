//! What a host offers, in either role: its profiles, and how long it keeps what.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::document::Section;
use super::error::{ConfigError, Given};
use super::server::resolve;
use crate::engine::{InputForm, Permissions, Profile, Profiles, Protocol, Restart, Retention};
use crate::model::ProfileSelector;

/// More than anybody keeps anything: a hundred years.
const MAX_AGE: Duration = Duration::from_hours(24 * 36_525);

/// How long an agent may take until it has a session.
const HANDSHAKE_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// How long a question may wait for its answer: no shorter than somebody can read it, and no longer than a turn is remembered.
const APPROVAL_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 7);

/// Reads `[profiles]`.
pub(super) fn read_profiles(file: &mut Section<'_>, directory: &Path) -> Result<Profiles, ConfigError> {
    let profiles = file.named("profiles")?.into_iter();
    profiles.map(|(name, section)| Ok((selector(&name)?, read_profile(section, directory)?))).collect()
}

/// `runtime_default` and `builtin:NAME` mean what they say; any other name is one that a bundle declares.
fn selector(name: &Given<String>) -> Result<ProfileSelector, ConfigError> {
    if name.value == "runtime_default" {
        return Ok(ProfileSelector::RuntimeDefault);
    }
    let builtin = name.value.starts_with("builtin:");
    let make = if builtin { ProfileSelector::builtin } else { ProfileSelector::named };
    make(name.value.clone())
        .map_err(|_| name.refuse("a profile's name must be 1 to 128 characters of [A-Za-z0-9._:/-]"))
}

fn read_profile(mut section: Section<'_>, directory: &Path) -> Result<Profile, ConfigError> {
    let protocol = section.text("protocol")?.ok_or_else(|| section.missing("protocol"))?;
    let protocol = protocol.parse(|text| match text.as_str() {
        "lines" => Ok(Protocol::Lines),
        "catalog" => Ok(Protocol::Catalog),
        "acp" => Ok(Protocol::Acp),
        _ => Err("must be lines, acp or catalog"),
    })?;
    let command = section.texts("command")?;
    let input = section.text("input")?;
    let cwd = section.text("cwd")?;
    let env = section.text_map("env")?;
    let restart = section.text("restart")?;
    let permissions = section.text("permissions")?;
    let handshake_timeout = section.text("handshake_timeout")?;
    let approval_timeout = section.text("approval_timeout")?;
    if let (Protocol::Lines, Some(given)) = (protocol, &permissions) {
        return Err(given.refuse("only an acp profile has it: nothing else asks for leave"));
    }
    let asks = permissions.as_ref().is_some_and(|given| given.value == "ask");
    if let Some(given) = approval_timeout.as_ref().filter(|_| !asks) {
        return Err(given.refuse("needs permissions = \"ask\" beside it: nobody is asked otherwise"));
    }
    if let Some(given) = handshake_timeout.as_ref().filter(|_| protocol != Protocol::Acp) {
        return Err(given.refuse("only an acp profile has it: nothing else begins with one"));
    }
    if let (Protocol::Acp, Some(given)) = (protocol, &input) {
        return Err(given.refuse("only a lines profile has it: leave it out"));
    }
    let profile = match protocol {
        Protocol::Catalog => {
            let texts = [input, cwd, restart, permissions].into_iter().flatten().map(|given| given.origin);
            let mut program = command.map(|c| c.origin).into_iter().chain(env.map(|e| e.origin)).chain(texts);
            match program.next() {
                Some(origin) => return Err(ConfigError::new(&origin, "a catalog profile runs nothing: leave it out")),
                None => Profile::catalog(),
            }
        }
        Protocol::Lines | Protocol::Acp => Profile {
            protocol,
            command: command.ok_or_else(|| section.missing("command"))?.parse(|words| program(words))?,
            input: input.map(|given| given.parse(|text| input_form(text))).transpose()?.unwrap_or_default(),
            cwd: cwd.map(|given| resolve(&given, directory)),
            env: match env {
                Some(given) => given.parse(|map| {
                    let good = |(key, value): (&String, &String)| {
                        !key.is_empty() && !key.contains(['=', '\0']) && !value.contains('\0')
                    };
                    if map.iter().all(good) {
                        Ok(map.clone())
                    } else {
                        Err("has a name or value that no environment can hold")
                    }
                })?,
                None => BTreeMap::new(),
            },
            restart: restart.map(|given| given.parse(|text| restarts(text))).transpose()?.unwrap_or_default(),
            permissions: permissions.map(|given| given.parse(|text| leave(text))).transpose()?.unwrap_or_default(),
            handshake_timeout: handshake_timeout
                .map(|given| duration(&given, HANDSHAKE_TIMEOUT))
                .transpose()?
                .unwrap_or(Profile::HANDSHAKE_TIMEOUT),
            approval_timeout: approval_timeout
                .map(|given| duration(&given, APPROVAL_TIMEOUT))
                .transpose()?
                .unwrap_or(Profile::APPROVAL_TIMEOUT),
        },
    };
    section.finish()?;
    Ok(profile)
}

fn program(words: &[String]) -> Result<Vec<String>, &'static str> {
    match words.first() {
        Some(program) if !program.is_empty() && !words.iter().any(|word| word.contains('\0')) => Ok(words.to_vec()),
        _ => Err("must be a program and its arguments, as in [\"python3\", \"agent.py\"]"),
    }
}

fn input_form(text: &str) -> Result<InputForm, &'static str> {
    match text {
        "json" => Ok(InputForm::Json),
        "text" => Ok(InputForm::Text),
        _ => Err("must be json or text"),
    }
}

fn restarts(text: &str) -> Result<Restart, &'static str> {
    match text {
        "never" => Ok(Restart::Never),
        "on-failure" => Ok(Restart::OnFailure),
        _ => Err("must be never or on-failure"),
    }
}

fn leave(text: &str) -> Result<Permissions, &'static str> {
    match text {
        "deny" => Ok(Permissions::Deny),
        "allow" => Ok(Permissions::Allow),
        "ask" => Ok(Permissions::Ask),
        _ => Err("must be deny, allow or ask"),
    }
}

/// Reads `[retention]`: what is kept of workers, and how long. Whatever is not said is kept.
pub(super) fn read_retention(file: &mut Section<'_>) -> Result<Retention, ConfigError> {
    let Some(mut section) = file.section("retention")? else { return Ok(Retention::default()) };
    let age = |given: Option<Given<String>>, least| given.map(|given| duration(&given, least..=MAX_AGE)).transpose();
    let size =
        |given: Option<Given<String>>, least| given.map(|given| given.parse(|text| bytes(text, least))).transpose();
    let retention = Retention {
        max_age: age(section.text("max_age")?, Duration::from_secs(1))?,
        max_worker_bytes: size(section.text("max_worker_bytes")?, 64 << 10)?,
        max_bytes: size(section.text("max_bytes")?, 1 << 20)?,
        // A day at least: so long, repeats of what a worker was asked are answered.
        ended_workers_max_age: age(section.text("ended_workers_max_age")?, Duration::from_hours(24))?,
    };
    section.finish()?;
    Ok(retention)
}

const SIZE: &str = "must be a size with its unit, KiB, MiB, GiB or TiB, as in \"64MiB\" or \"10GiB\"";
const DURATION: &str = "must be a duration with its unit, ms, s, m, h or days, as in \"10s\" or \"500ms\"";

/// A size as a text with a unit, as in `64MiB`, of `least` bytes or more.
pub(super) fn bytes(text: &str, least: u64) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(SIZE.to_owned()),
    };
    if number.is_empty() {
        return Err(SIZE.to_owned());
    }
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    // All that is left of what can be wrong with digits.
    let size = size.ok_or_else(|| format!("is too much: must be less than {} TiB", 1_u64 << 24))?;
    if size >= least { Ok(size) } else { Err(format!("must be {} KiB or more", least >> 10)) }
}

/// A duration as a text with a unit, as in `10s`.
pub(super) fn duration(given: &Given<String>, range: RangeInclusive<Duration>) -> Result<Duration, ConfigError> {
    given.parse(|text| parse_duration(text, &range))
}

/// Reads a duration; says what is wrong with it.
pub(crate) fn parse_duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let value = humantime::parse_duration(text).map_err(|_| DURATION.to_owned())?;
    if range.contains(&value) {
        return Ok(value);
    }
    let [least, most] = [range.start(), range.end()].map(|bound| humantime::format_duration(*bound));
    Err(format!("must be {least} to {most}"))
}
