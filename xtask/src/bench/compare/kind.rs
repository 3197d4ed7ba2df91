//! [`Kind`] lists the kinds of operations that are compared, with the number of operations of each.
//!
//! The numbers are fixed, so that results of different days can be laid side by side. They are chosen so that the hub
//! is busy for 1.5 s or more on a machine of 2026, since the kernel shows processor time in steps of 10 ms.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A kind of operation, and the name of it on the command line and in the JSON file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// Telemetry of one device over MQTT, at QoS 1, in batches
    #[value(name = "telemetry-1")]
    #[serde(rename = "telemetry-1")]
    Telemetry1,
    /// Telemetry of 50 devices over MQTT, at QoS 1, in batches
    #[value(name = "telemetry-50")]
    #[serde(rename = "telemetry-50")]
    Telemetry50,
    /// Cloud-to-device messages, sent over AMQP, received and completed over MQTT
    C2d,
    /// Reported properties, changed by a device over MQTT
    Report,
    /// Desired properties, changed over HTTPS, of which a device is told over MQTT
    Patch,
    /// Direct methods, called over HTTPS, answered by a device over MQTT
    Method,
    /// Pages of 100 twins, asked for over HTTPS with an equality that 100 of 1,000 twins match
    Query,
}

impl Kind {
    /// Returns the number of operations of one measurement.
    pub(super) const fn operations(self) -> usize {
        match self {
            Self::Telemetry1 | Self::Telemetry50 => 2_000_000,
            Self::Report => 200_000,
            Self::C2d => 100_000,
            Self::Patch | Self::Method => 40_000,
            Self::Query => 2_500,
        }
    }

    /// Returns the number of operations right before a measurement, in which connections, caches and buffers find
    /// their size.
    pub(super) const fn warm_up(self) -> usize {
        self.operations() / 10
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}
