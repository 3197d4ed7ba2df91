//! How routes spell the sources of events; events themselves spell them otherwise.

use std::str::FromStr;

use super::RouteError;
use crate::core::event::EventSource;

/// All spellings, for an error.
pub(super) const ALL_NAMES: &str = "there are DeviceMessages, TwinChangeEvents, DigitalTwinChangeEvents, \
    DeviceLifecycleEvents and DeviceConnectionStateEvents";

impl EventSource {
    /// The name that routes have for it on the service.
    #[must_use]
    pub const fn route_source(self) -> &'static str {
        match self {
            Self::Telemetry => "DeviceMessages",
            Self::TwinChange => "TwinChangeEvents",
            Self::DigitalTwinChange => "DigitalTwinChangeEvents",
            Self::DeviceLifecycle => "DeviceLifecycleEvents",
            Self::DeviceConnectionState => "DeviceConnectionStateEvents",
        }
    }
}

/// Reads what [`EventSource::route_source`] says, in any case, with or without hyphens between its words.
impl FromStr for EventSource {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let plain: String = text.trim().chars().filter(|c| *c != '-').take(64).collect();
        Self::ALL
            .into_iter()
            .find(|source| source.route_source().eq_ignore_ascii_case(&plain))
            .ok_or_else(|| RouteError::UnknownSource(text.chars().take(64).collect()))
    }
}
