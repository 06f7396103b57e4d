//! What is logged, and how: read here, obeyed by `telemetry`.

use super::error::ConfigError;
use super::flags::ServerFlags;
use super::layers::Layers;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// A level (`info`), or whole directives where `RUST_LOG` is set (`workplane=debug,info`).
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".to_owned() }
    }
}

impl LogConfig {
    pub(super) fn read(layers: &mut Layers<'_, '_>, flags: &ServerFlags) -> Result<Self, ConfigError> {
        let format = layers.text("log_format", flags.log_format.as_ref())?;
        let format = format.map(|given| {
            given.parse(|text| match text.as_str() {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("must be text or json"),
            })
        });
        let level = layers.text("log_level", flags.log_level.as_ref())?;
        let level = level.map(|given| {
            given.parse(|text| match text.as_str() {
                "off" | "error" | "warn" | "info" | "debug" | "trace" => Ok(text.clone()),
                _ => Err("must be error, warn, info, debug, trace or off"),
            })
        });
        let (format, level) = (format.transpose()?.unwrap_or_default(), level.transpose()?);
        let filter = match layers.foreign_variable("RUST_LOG") {
            Some(directives) => directives.parse(|text| {
                tracing_subscriber::EnvFilter::try_new(text).map(|_| text.clone()).map_err(|_| "is not a log filter")
            })?,
            None => level.unwrap_or_else(|| Self::default().filter),
        };
        Ok(Self { format, filter })
    }
}
