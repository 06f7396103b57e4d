//! Where traces are sent: `[traces]`.

use std::fmt;

use http::Uri;

use super::document::Section;
use super::error::ConfigError;
use super::remote::parse_endpoint;

/// Of a hundred traces that begin here, one is kept.
const SAMPLE: f64 = 0.01;

/// Where traces are sent, and how many of them.
#[derive(Clone, PartialEq)]
pub struct TracesConfig {
    /// The collector, which speaks OTLP over gRPC.
    pub endpoint: Uri,
    /// Of the traces that begin here, what part is kept: 0 to 1. Who is in a trace already decides for itself. 0.01.
    pub sample: f64,
}

impl fmt::Debug for TracesConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint: _, sample } = self;
        f.debug_struct("TracesConfig").field("endpoint", &"<backend-private>").field("sample", sample).finish()
    }
}

/// Reads `[traces]`; without it there are none.
pub(super) fn read_traces(file: &mut Section<'_>) -> Result<Option<TracesConfig>, ConfigError> {
    let Some(mut section) = file.section("traces")? else { return Ok(None) };
    let endpoint = section.text("endpoint")?.ok_or_else(|| section.missing("endpoint"))?;
    let uri = endpoint.parse(|text| parse_endpoint(text))?;
    if uri.scheme_str() != Some("http") {
        return Err(endpoint.refuse("a collector is spoken to without TLS: use http://, and one on this machine"));
    }
    let sample = section.fraction("sample")?.map_or(SAMPLE, |given| given.value);
    section.finish()?;
    Ok(Some(TracesConfig { endpoint: uri, sample }))
}
