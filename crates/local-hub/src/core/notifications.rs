//! [`Notifications`] makes the events of the hub itself for readers of the event stream: that a twin changed,
//! that a device came, went, connected or disconnected. Bodies and properties are those of the service; the
//! routes say which of these events are made at all, and where they go.
//!
//! Source: *Azure IoT Hub non-telemetry event schemas*.

mod connection_state;
mod digital_twin_change;
mod lifecycle;
mod twin_change;

use iothub_models::{Identity, TelemetryMessage};
use jiff::Timestamp;
use serde::Serialize;

use self::connection_state::SequenceNumbers;
pub(crate) use self::twin_change::TwinChange;
use super::event::{EventSource, HubEvent};
use super::routes::Routes;
use super::truncated;
use super::twins::TwinState;

/// The state that all events of the hub itself share.
#[derive(Debug)]
pub(crate) struct Notifications {
    hub_name: String,
    /// The correlation id that comes next.
    correlation: u64,
    sequence_numbers: SequenceNumbers,
}

/// The properties that stand around a body.
struct Kind {
    source: EventSource,
    schema: &'static str,
    operation: &'static str,
    content_type: &'static str,
}

impl Notifications {
    /// `seed` makes correlation ids differ from those before a restart, best at random.
    pub(crate) fn new(hub_name: &str, seed: u64) -> Self {
        Self {
            hub_name: hub_name.to_owned(),
            correlation: seed << 16,
            sequence_numbers: SequenceNumbers::default(),
        }
    }

    /// A twin changed from `before` to `after`: the change of the twin, and directly after it the change
    /// of the digital twin that it made, each if a route wants it. Both have one correlation id and time.
    /// A digital twin is only that of a device that announced a model.
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
            let operations = digital_twin_change::operations(about, model_id, before, after);
            let kind = Kind {
                source: EventSource::DigitalTwinChange,
                schema: "digitalTwinChangeNotification",
                operation: "updateTwin",
                content_type: "application/json-patch+json",
            };
            // What a back end tags or a device reports anew without a change is none of the digital twin's.
            if !operations.is_empty() {
                events.push(self.event(&kind, about, &operations, &correlation, now));
            }
        }
        events
    }

    /// A device or a module was created with this twin, or deleted with it.
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
        self.event(&kind, about, &lifecycle::body(about, twin), &correlation, now)
    }

    /// A device or a module connected, or disconnected.
    pub(crate) fn connection_state(&mut self, about: &Identity, connected: bool, now: Timestamp) -> HubEvent {
        let kind = Kind {
            source: EventSource::DeviceConnectionState,
            schema: "deviceConnectionStateNotification",
            operation: if connected { "deviceConnected" } else { "deviceDisconnected" },
            content_type: "application/json",
        };
        let body = connection_state::body(&self.sequence_numbers.next(now));
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

    /// Twelve hexadecimal digits, as the service's examples have.
    fn correlation_id(&mut self) -> String {
        let number = self.correlation;
        self.correlation = number.wrapping_add(1);
        format!("{:012x}", number & 0xffff_ffff_ffff)
    }
}

/// Seven digits and a numeric offset, as .NET writes a `DateTimeOffset`: the examples of the service guide
/// for Plug and Play. Those of the event schemas end in `Z`; readers know both.
fn operation_timestamp(now: Timestamp) -> String {
    let time = format!("{:.7}", truncated(now));
    format!("{}+00:00", time.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests;
