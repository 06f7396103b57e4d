//! `[limits]`: how much a host's runtime allows, and how much the listener does. What each limit of the listener is for,
//! and why it is as it is, stands with [`Edge`].

use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::Section;
use super::error::{ConfigError, Given};
use super::host::{bytes, duration, read_retention};
use crate::engine::{CgroupRoot, EngineLimits};
use crate::server::Edge;

const SHORTEST: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_hours(1);

/// Reads `[limits]` and `[retention]`; what is not said of the listener is as in `edge`.
pub(super) fn read_limits(file: &mut Section<'_>, mut edge: Edge) -> Result<(EngineLimits, Edge), ConfigError> {
    let mut limits = EngineLimits { retention: read_retention(file)?, ..EngineLimits::default() };
    let Some(mut section) = file.section("limits")? else { return Ok((limits, edge)) };
    read_engine(&mut section, &mut limits)?;
    read_connections(&mut section, &mut edge)?;
    read_http2(&mut section, &mut edge)?;
    read_calls(&mut section, &mut edge)?;
    section.finish()?;
    Ok((limits, edge))
}

fn read_engine(section: &mut Section<'_>, limits: &mut EngineLimits) -> Result<(), ConfigError> {
    if let Some(given) = section.number("max_workers")? {
        limits.max_workers = bounded(&given, 1..=1_000_000)?;
    }
    count(section, "input_queue", &mut limits.input_queue, 1..=1_000_000)?;
    time(section, "stop_grace", &mut limits.stop_grace, Duration::from_millis(1)..=Duration::from_mins(10))?;
    if let Some(given) = section.text("cgroup")? {
        limits.cgroup = given.parse(|text| match text.as_str() {
            "auto" => Ok(CgroupRoot::Detect),
            "off" => Ok(CgroupRoot::Off),
            path if path.starts_with('/') => Ok(CgroupRoot::At(path.into())),
            _ => Err("must be auto, off or the directory of a control group"),
        })?;
    }
    Ok(())
}

/// How many connections there are, and how long each may be what it is.
fn read_connections(section: &mut Section<'_>, edge: &mut Edge) -> Result<(), ConfigError> {
    count(section, "max_connections", &mut edge.max_connections, 1..=1_000_000)?;
    count(section, "max_connections_per_address", &mut edge.max_connections_per_address, 1..=1_000_000)?;
    count(section, "max_connections_per_caller", &mut edge.max_connections_per_caller, 1..=1_000_000)?;
    time(section, "tls_handshake_timeout", &mut edge.tls_handshake_timeout, SHORTEST..=HOUR)?;
    count(section, "max_handshakes", &mut edge.max_handshakes, 1..=1_000_000)?;
    time(section, "preface_timeout", &mut edge.preface_timeout, SHORTEST..=HOUR)?;
    time(section, "first_request_timeout", &mut edge.first_request_timeout, SHORTEST..=HOUR)?;
    if let Some(given) = section.text("max_connection_age")? {
        edge.max_connection_age = Some(duration(&given, Duration::from_secs(1)..=24 * 365 * HOUR)?);
    }
    time(section, "connection_age_grace", &mut edge.connection_age_grace, SHORTEST..=24 * HOUR)?;
    time(section, "keepalive_interval", &mut edge.keepalive_interval, SHORTEST..=HOUR)?;
    time(section, "keepalive_timeout", &mut edge.keepalive_timeout, SHORTEST..=HOUR)?;
    time(section, "stalled_stream_timeout", &mut edge.stalled_stream_timeout, SHORTEST..=24 * HOUR)
}

/// What one connection may do. Below the least of some, HTTP/2 or a call of ours would not go.
fn read_http2(section: &mut Section<'_>, edge: &mut Edge) -> Result<(), ConfigError> {
    const WINDOW: u32 = (1 << 31) - 1;
    small(section, "max_concurrent_streams", &mut edge.max_concurrent_streams, 1..=1_000_000)?;
    count(section, "max_local_error_resets", &mut edge.max_local_error_resets, 1..=1_000_000)?;
    count(section, "max_pending_accept_resets", &mut edge.max_pending_accept_resets, 1..=1_000_000)?;
    size(section, "max_header_list_size", &mut edge.max_header_list_size, 4 << 10..=1 << 20)?;
    size(section, "max_frame_size", &mut edge.max_frame_size, 16 << 10..=(1 << 24) - 1)?;
    size(section, "stream_window", &mut edge.stream_window, 16 << 10..=WINDOW)?;
    size(section, "connection_window", &mut edge.connection_window, 64 << 10..=WINDOW)
}

/// How many calls and streams there are, how large, and how long.
fn read_calls(section: &mut Section<'_>, edge: &mut Edge) -> Result<(), ConfigError> {
    const MAX_REQUEST: usize = 32 << 20;
    count(section, "max_unary", &mut edge.max_unary, 1..=1_000_000)?;
    count(section, "max_unary_per_connection", &mut edge.max_unary_per_connection, 1..=1_000_000)?;
    count(section, "max_unary_lane", &mut edge.max_unary_lane, 1..=1_000_000)?;
    count(section, "max_open", &mut edge.max_open, 1..=1_000_000)?;
    count(section, "max_streams", &mut edge.max_streams, 1..=1_000_000)?;
    count(section, "max_streams_per_caller", &mut edge.max_streams_per_caller, 1..=1_000_000)?;
    size(section, "max_request", &mut edge.max_request, 4 << 10..=MAX_REQUEST)?;
    size(section, "max_bundle_request", &mut edge.max_bundle_request, 4 << 10..=MAX_REQUEST)?;
    size(section, "request_memory", &mut edge.request_memory, 1 << 20..=1 << 40)?;
    time(section, "default_deadline", &mut edge.default_deadline, SHORTEST..=24 * HOUR)?;
    time(section, "max_deadline", &mut edge.max_deadline, SHORTEST..=24 * HOUR)
}

fn bounded(given: &Given<u64>, range: RangeInclusive<u32>) -> Result<u32, ConfigError> {
    let fits = u32::try_from(given.value).ok().filter(|value| range.contains(value));
    fits.ok_or_else(|| given.refuse(format!("must be {} to {}", range.start(), range.end())))
}

fn small(
    section: &mut Section<'_>,
    key: &'static str,
    value: &mut u32,
    range: RangeInclusive<u32>,
) -> Result<(), ConfigError> {
    if let Some(given) = section.number(key)? {
        *value = bounded(&given, range)?;
    }
    Ok(())
}

fn count(
    section: &mut Section<'_>,
    key: &'static str,
    value: &mut usize,
    range: RangeInclusive<u32>,
) -> Result<(), ConfigError> {
    if let Some(given) = section.number(key)? {
        *value = bounded(&given, range)? as usize;
    }
    Ok(())
}

fn time(
    section: &mut Section<'_>,
    key: &'static str,
    value: &mut Duration,
    range: RangeInclusive<Duration>,
) -> Result<(), ConfigError> {
    if let Some(given) = section.text(key)? {
        *value = duration(&given, range)?;
    }
    Ok(())
}

/// A size, as a number of whatever kind holds it.
fn size<T: TryFrom<u64> + Copy>(
    section: &mut Section<'_>,
    key: &'static str,
    value: &mut T,
    range: RangeInclusive<T>,
) -> Result<(), ConfigError>
where
    u64: TryFrom<T>,
{
    let Some(given) = section.text(key)? else { return Ok(()) };
    let bound = |bound: &T| u64::try_from(*bound).unwrap_or(u64::MAX);
    let (least, most) = (bound(range.start()), bound(range.end()));
    *value = given.parse(|text| {
        let size = bytes(text, least)?;
        let fits = T::try_from(size).ok().filter(|_| size <= most);
        fits.ok_or_else(|| format!("must be {} KiB or less", most >> 10))
    })?;
    Ok(())
}
