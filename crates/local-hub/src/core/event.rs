//! An event of the hub: what a device sent, or what happened to one, as back ends read it.
//!
//! One type for all sources, since they share one stream: what differs is the source's name, and that
//! only telemetry has a sender who proved who it is. Its form on the wire is the AMQP room's.
//! Source: *IoT Hub message routing*, *Non-telemetry events*.

use std::fmt;
use std::sync::Arc;

use iothub_models::{DeviceId, Identity, ModuleId, Properties, TelemetryMessage};
use jiff::Timestamp;

/// Where an event comes from: the `iothub-message-source` of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventSource {
    /// A device-to-cloud message.
    Telemetry,
    /// A device's or a module's twin changed.
    TwinChange,
    /// A digital twin changed.
    DigitalTwinChange,
    /// A device or a module was created or deleted.
    DeviceLifecycle,
    /// A device connected or disconnected.
    DeviceConnectionState,
}

impl EventSource {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Telemetry,
        Self::TwinChange,
        Self::DigitalTwinChange,
        Self::DeviceLifecycle,
        Self::DeviceConnectionState,
    ];

    /// The name that events carry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Telemetry => "Telemetry",
            Self::TwinChange => "twinChangeEvents",
            Self::DigitalTwinChange => "digitalTwinChangeEvents",
            Self::DeviceLifecycle => "deviceLifecycleEvents",
            Self::DeviceConnectionState => "deviceConnectionStateEvents",
        }
    }
}

impl fmt::Display for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event as the hub keeps it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HubEvent {
    /// Where it comes from.
    pub source: EventSource,
    /// Body, system properties and application properties: of telemetry what the device sent, of other
    /// events what the hub wrote.
    pub message: TelemetryMessage,
    /// System properties that a message has no field for, by the names that readers of the event stream
    /// know, such as `iothub-outputname`.
    pub system_properties: Properties,
    /// The device that sent it, or that it is about.
    pub device_id: DeviceId,
    /// The module that sent it, or that it is about.
    pub module_id: Option<ModuleId>,
    /// Tells apart devices that had the same id one after another. Telemetry has it.
    pub generation_id: Option<Arc<str>>,
    /// How the sender proved who it is, as JSON: the `iothub-connection-auth-method` of the service.
    /// Telemetry has it.
    pub auth_method: Option<Arc<str>>,
    /// The model the device announced when it connected (`dt-dataschema`).
    pub model_id: Option<Arc<str>>,
    /// When the hub accepted it.
    pub enqueued_time: Timestamp,
}

impl HubEvent {
    /// A message of a device or a module, as a protocol room hands it over.
    pub(crate) fn telemetry(
        message: TelemetryMessage,
        sender: Identity,
        generation_id: Arc<str>,
        auth_method: Arc<str>,
        enqueued_time: Timestamp,
    ) -> Self {
        let mut event = Self::notification(EventSource::Telemetry, message, sender, enqueued_time);
        event.generation_id = Some(generation_id);
        event.auth_method = Some(auth_method);
        event
    }

    /// What the hub itself has to say about a device or a module.
    pub(crate) fn notification(
        source: EventSource,
        message: TelemetryMessage,
        about: Identity,
        enqueued_time: Timestamp,
    ) -> Self {
        Self {
            source,
            message,
            system_properties: Properties::new(),
            device_id: about.device,
            module_id: about.module,
            generation_id: None,
            auth_method: None,
            model_id: None,
            enqueued_time,
        }
    }
}
