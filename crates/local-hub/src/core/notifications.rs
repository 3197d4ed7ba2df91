//! [`Notifications`] makes the events that the hub itself adds to the event stream: a twin changed; a device or a
//! module was created or deleted, connected or disconnected.
//!
//! The transitions of [`Service`](super::service::Service) call it. [`Routes`] decides which of these events a reader
//! gets, and the transitions ask it before they have an event made. Bodies and properties are those of the service;
//! the bodies of twin changes are made in [`twin_change`], the others here.
//!
//! Source: *Azure IoT Hub non-telemetry event schemas*.

mod twin_change;

use iothub_models::{
    DigitalTwin, Identity, PatchOperation, TelemetryMessage, TwinSection, digital_twin_changes,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use self::twin_change::TwinChange;
use super::event::{EventSource, HubEvent};
use super::routes::Routes;
use super::truncated;
use super::twins::TwinState;

/// The time of a section that nobody has written, in lifecycle notifications.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The seconds from the year 1601, where Windows begins to count time, to 1970.
const FROM_1601: i128 = 11_644_473_600;

/// The state from which the events of the hub itself get their ids and numbers.
#[derive(Debug)]
pub(crate) struct Notifications {
    hub_name: String,
    /// The correlation id that comes next.
    correlation: u64,
    sequence_numbers: SequenceNumbers,
}

/// The properties in which one kind of event differs from another.
struct Kind {
    source: EventSource,
    schema: &'static str,
    operation: &'static str,
    content_type: &'static str,
}

impl Notifications {
    /// Returns the notifications of the hub with this name. A random `seed` makes correlation ids differ from those
    /// before a restart.
    pub(crate) fn new(hub_name: &str, seed: u64) -> Self {
        Self {
            hub_name: hub_name.to_owned(),
            correlation: seed << 16,
            sequence_numbers: SequenceNumbers::default(),
        }
    }

    /// Returns the events of a twin that changed from `before` to `after`: the change of the twin, and directly after
    /// it the change of the digital twin, each if a route wants it. Both have the same correlation id and time. Only a
    /// device that announced a model has a digital twin.
    pub(crate) fn twin_changed(
        &mut self,
        routes: &Routes,
        about: &Identity,
        change: TwinChange<'_>,
        (before, after): (&TwinState, &TwinState),
        model_id: &str,
        now: Timestamp,
    ) -> Vec<HubEvent> {
        let correlation = self.correlation_id();
        let mut events = Vec::new();
        if routes.want(EventSource::TwinChange) {
            let kind = Kind {
                source: EventSource::TwinChange,
                schema: "twinChangeNotification",
                operation: change.operation(),
                content_type: "application/json",
            };
            events.push(self.event(&kind, about, &change.body(about, after), &correlation, now));
        }
        if routes.want(EventSource::DigitalTwinChange) && !model_id.is_empty() {
            let operations = digital_twin_operations(about, model_id, before, after);
            let kind = Kind {
                source: EventSource::DigitalTwinChange,
                schema: "digitalTwinChangeNotification",
                operation: "updateTwin",
                content_type: "application/json-patch+json",
            };
            // Tags are no part of the digital twin, and a device may report values that it reported before.
            if !operations.is_empty() {
                events.push(self.event(&kind, about, &operations, &correlation, now));
            }
        }
        events
    }

    /// Returns the event of a device or a module that was created with this twin, or deleted with it.
    pub(crate) fn lifecycle(
        &mut self,
        about: &Identity,
        created: bool,
        twin: &TwinState,
        now: Timestamp,
    ) -> HubEvent {
        let kind = Kind {
            source: EventSource::DeviceLifecycle,
            schema: "deviceLifecycleNotification",
            operation: if created { "createDeviceIdentity" } else { "deleteDeviceIdentity" },
            content_type: "application/json",
        };
        let correlation = self.correlation_id();
        self.event(&kind, about, &lifecycle_body(about, twin), &correlation, now)
    }

    /// Returns the event of a device or a module that connected, or disconnected.
    pub(crate) fn connection_state(&mut self, about: &Identity, connected: bool, now: Timestamp) -> HubEvent {
        let kind = Kind {
            source: EventSource::DeviceConnectionState,
            schema: "deviceConnectionStateNotification",
            operation: if connected { "deviceConnected" } else { "deviceDisconnected" },
            content_type: "application/json",
        };
        let body = json!({"sequenceNumber": self.sequence_numbers.next(now)});
        let correlation = self.correlation_id();
        self.event(&kind, about, &body, &correlation, now)
    }

    fn event(
        &self,
        kind: &Kind,
        about: &Identity,
        body: &impl Serialize,
        correlation_id: &str,
        now: Timestamp,
    ) -> HubEvent {
        // JSON values and operations, whose names are all strings, can be written.
        let body = serde_json::to_vec(body).unwrap_or_default();
        let mut message = TelemetryMessage::json_text(body);
        message.content_type = Some(kind.content_type.to_owned());
        message.user_id = Some(self.hub_name.clone());
        message.correlation_id = Some(correlation_id.to_owned());
        let properties = &mut message.properties;
        properties.insert("hubName", self.hub_name.as_str());
        properties.insert("deviceId", about.device.as_str());
        properties.insert("operationTimestamp", operation_timestamp(now));
        if let Some(module) = &about.module {
            properties.insert("moduleId", module.as_str());
        }
        properties.insert("iothub-message-schema", kind.schema);
        properties.insert("opType", kind.operation);
        HubEvent::notification(kind.source, message, about.clone(), now)
    }

    /// Returns the next correlation id: twelve hexadecimal digits, as the service's examples have.
    fn correlation_id(&mut self) -> String {
        let number = self.correlation;
        self.correlation = number.wrapping_add(1);
        format!("{:012x}", number & 0xffff_ffff_ffff)
    }
}

/// Source of sequence numbers, by which readers tell the latest of two connection states.
///
/// A number has 256 bits, written as 64 hexadecimal digits, and is compared as text. As in the service's example the
/// time stands in front, in 100 ns since 1601; the counter behind it makes the numbers grow strictly.
#[derive(Debug, Default)]
struct SequenceNumbers {
    ticks: u128,
    count: u128,
}

impl SequenceNumbers {
    fn next(&mut self, now: Timestamp) -> String {
        let ticks = u128::try_from((now.as_nanosecond() / 100) + FROM_1601 * 10_000_000).unwrap_or(0);
        // A clock that is set back does not take the numbers with it.
        self.ticks = self.ticks.max(ticks);
        self.count += 1;
        format!("{:032X}{:032X}", self.ticks, self.count)
    }
}

/// Returns the JSON Patch that leads from the digital twin before to the one after; empty if they are the same.
fn digital_twin_operations(
    about: &Identity,
    model_id: &str,
    before: &TwinState,
    after: &TwinState,
) -> Vec<PatchOperation> {
    let shown = |twin: &TwinState| DigitalTwin::new(&about.device, model_id, &twin.document.properties);
    digital_twin_changes(&shown(before), &shown(after))
}

/// Returns the body of a lifecycle notification: the twin that was created or deleted.
/// Source: *Azure IoT Hub non-telemetry event schemas*, "Device lifecycle events".
fn lifecycle_body(about: &Identity, twin: &TwinState) -> Value {
    // The first version is that of a new twin.
    let is_untouched = |section: &TwinSection| section.version == 1;
    let mut body = twin_change::whole(about, twin);
    let properties = &twin.document.properties;
    for (name, section) in [("desired", &properties.desired), ("reported", &properties.reported)] {
        if is_untouched(section) {
            body["properties"][name]["$metadata"] = json!({"$lastUpdated": NEVER});
        }
    }
    body
}

/// Returns a time with seven digits behind the point and a numeric offset, as .NET writes a `DateTimeOffset` and as the
/// service guide for Plug and Play shows it. The examples of the event schemas end in `Z`; readers understand both.
fn operation_timestamp(now: Timestamp) -> String {
    let time = format!("{:.7}", truncated(now));
    format!("{}+00:00", time.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests;
