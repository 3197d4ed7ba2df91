//! This file defines the properties that IoT Hub gives an event, by type and under their names on the wire.

use std::fmt;

use iothub_models::{DeviceId, ModuleId};
use jiff::Timestamp;
use serde_json::Value;

/// The subject of an event.
///
/// Source: *Use IoT Hub message routing to send device-to-cloud messages*, "Non-telemetry events".
///
/// ```
/// use iothub_amqp_service::MessageSource;
///
/// assert_eq!(MessageSource::TwinChangeEvents.as_str(), "twinChangeEvents");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageSource {
    /// A device or module sent it.
    Telemetry,
    /// A twin changed.
    TwinChangeEvents,
    /// A digital twin changed.
    DigitalTwinChangeEvents,
    /// A device or module was registered or deleted.
    DeviceLifecycleEvents,
    /// A device connected or disconnected.
    DeviceConnectionStateEvents,
    /// A job on a device changed.
    DeviceJobLifecycleEvents,
    /// A source that this version does not know.
    Other(String),
}

impl MessageSource {
    const KNOWN: [Self; 6] = [
        Self::Telemetry,
        Self::TwinChangeEvents,
        Self::DigitalTwinChangeEvents,
        Self::DeviceLifecycleEvents,
        Self::DeviceConnectionStateEvents,
        Self::DeviceJobLifecycleEvents,
    ];

    /// The word used on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Telemetry => "Telemetry",
            Self::TwinChangeEvents => "twinChangeEvents",
            Self::DigitalTwinChangeEvents => "digitalTwinChangeEvents",
            Self::DeviceLifecycleEvents => "deviceLifecycleEvents",
            Self::DeviceConnectionStateEvents => "deviceConnectionStateEvents",
            Self::DeviceJobLifecycleEvents => "deviceJobLifecycleEvents",
            Self::Other(name) => name,
        }
    }

    pub(crate) fn from_name(name: String) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|source| source.as_str().eq_ignore_ascii_case(&name))
            .unwrap_or(Self::Other(name))
    }
}

impl fmt::Display for MessageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The properties that IoT Hub gives an event. `Display` is one line of JSON with the names on the wire; what is
/// absent is left out.
///
/// Sources: *Create and read IoT Hub messages*, "System properties of D2C IoT Hub messages".
///
/// ```no_run
/// # async fn example(event: iothub_amqp_service::Event) -> Result<(), iothub_amqp_service::Error> {
/// for (name, value) in event.system_properties.fields() {
///     println!("{name}: {value}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SystemProperties {
    /// `message-id`: what the sender called the message.
    pub message_id: Option<String>,
    /// `user-id`: who sent it; of a notification the hub's name. What is not UTF-8 is replaced.
    pub user_id: Option<String>,
    /// `to`: the node of the hub it was sent to.
    pub to: Option<String>,
    /// `correlation-id`: names the message this one answers; notifications of one cause share it.
    pub correlation_id: Option<String>,
    /// `content-type`: what the body is, for example `application/json`.
    pub content_type: Option<String>,
    /// `content-encoding`: how the body is encoded, for example `utf-8`.
    pub content_encoding: Option<String>,
    /// `iothub-connection-device-id`: the device that sent it, or that it is about.
    pub device_id: Option<DeviceId>,
    /// `iothub-connection-module-id`: likewise the module.
    pub module_id: Option<ModuleId>,
    /// `iothub-connection-auth-method`: how the device proved who it is; a JSON object as text.
    pub auth_method: Option<String>,
    /// `iothub-connection-auth-generation-id`: tells apart devices that had this id one after the other.
    pub auth_generation_id: Option<String>,
    /// `iothub-enqueuedtime`: when the hub received it, to the millisecond.
    pub hub_enqueued_time: Option<Timestamp>,
    /// `iothub-message-source`: what it is about.
    pub message_source: Option<MessageSource>,
    /// `dt-subject`: the component of the device that sent it.
    pub component: Option<String>,
    /// `dt-dataschema`: the model id that the device gave when it connected.
    pub model_id: Option<String>,
    /// `iothub-interface-id`: the interface, where a security message has one.
    pub interface_id: Option<String>,
    /// Annotations that have no field here, in the order they came.
    pub others: Vec<(String, Value)>,
    /// `x-opt-sequence-number`: the number of the event in its partition; each has the next.
    pub sequence_number: i64,
    /// `x-opt-offset`: the place of the event in its partition; text, to be compared with nothing.
    pub offset: String,
    /// `x-opt-enqueued-time`: when it was put into its partition, to the millisecond.
    pub enqueued_time: Timestamp,
}

impl SystemProperties {
    /// Every property that is present, under its name on the wire, in the order in which the Plug and
    /// Play tutorial shows them. Times are milliseconds since 1970, as they are on the wire.
    #[must_use]
    pub fn fields(&self) -> Vec<(&str, Value)> {
        let text = |value: &Option<String>| value.clone().map(Value::from);
        let millis = |time: Timestamp| Value::from(time.as_millisecond());
        let before = [
            ("message-id", text(&self.message_id)),
            ("user-id", text(&self.user_id)),
            ("to", text(&self.to)),
            ("correlation-id", text(&self.correlation_id)),
            ("content-type", text(&self.content_type)),
            ("content-encoding", text(&self.content_encoding)),
            ("iothub-connection-device-id", self.device_id.as_ref().map(|id| id.as_str().into())),
            ("iothub-connection-module-id", self.module_id.as_ref().map(|id| id.as_str().into())),
            ("iothub-connection-auth-method", text(&self.auth_method)),
            ("iothub-connection-auth-generation-id", text(&self.auth_generation_id)),
            ("iothub-enqueuedtime", self.hub_enqueued_time.map(millis)),
            ("iothub-message-source", self.message_source.as_ref().map(|source| source.as_str().into())),
            ("dt-subject", text(&self.component)),
            ("dt-dataschema", text(&self.model_id)),
            ("iothub-interface-id", text(&self.interface_id)),
        ];
        let after = [
            ("x-opt-sequence-number", self.sequence_number.into()),
            ("x-opt-offset", self.offset.as_str().into()),
            ("x-opt-enqueued-time", millis(self.enqueued_time)),
        ];
        let before = before.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let others = self.others.iter().map(|(name, value)| (name.as_str(), value.clone()));
        before.chain(others).chain(after).collect()
    }
}

#[cfg(test)]
impl SystemProperties {
    /// Of an event of this number, and nothing else.
    pub(crate) fn for_tests(sequence_number: i64) -> Self {
        Self {
            message_id: None,
            user_id: None,
            to: None,
            correlation_id: None,
            content_type: None,
            content_encoding: None,
            device_id: None,
            module_id: None,
            auth_method: None,
            auth_generation_id: None,
            hub_enqueued_time: None,
            message_source: None,
            component: None,
            model_id: None,
            interface_id: None,
            others: Vec::new(),
            sequence_number,
            offset: (sequence_number * 100).to_string(),
            enqueued_time: Timestamp::UNIX_EPOCH,
        }
    }
}

/// One line of JSON, as the tutorials show dictionaries.
impl fmt::Display for SystemProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.fields().into_iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}: {value}", Value::from(name))?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_itself_as_the_tutorial_does() {
        let properties = SystemProperties {
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            device_id: "my-pnp-device".parse().ok(),
            auth_method: Some(r#"{"scope":"device"}"#.to_owned()),
            auth_generation_id: Some("637388858939631652".to_owned()),
            hub_enqueued_time: Timestamp::from_millisecond(1_603_289_127_844).ok(),
            message_source: Some(MessageSource::Telemetry),
            component: Some("thermostat1".to_owned()),
            model_id: Some("dtmi:com:example:TemperatureController;1".to_owned()),
            others: vec![("x-opt-new".to_owned(), Value::from(7))],
            offset: "12890095440".to_owned(),
            enqueued_time: Timestamp::from_millisecond(1_603_289_128_001).unwrap(),
            ..SystemProperties::for_tests(13328)
        };
        let expected = r#"{"content-type": "application/json", "content-encoding": "utf-8", "iothub-connection-device-id": "my-pnp-device", "iothub-connection-auth-method": "{\"scope\":\"device\"}", "iothub-connection-auth-generation-id": "637388858939631652", "iothub-enqueuedtime": 1603289127844, "iothub-message-source": "Telemetry", "dt-subject": "thermostat1", "dt-dataschema": "dtmi:com:example:TemperatureController;1", "x-opt-new": 7, "x-opt-sequence-number": 13328, "x-opt-offset": "12890095440", "x-opt-enqueued-time": 1603289128001}"#;
        assert_eq!(properties.to_string(), expected);
        let _is_json: serde_json::Map<String, Value> = serde_json::from_str(expected).unwrap();
    }

    #[test]
    fn every_source_has_its_name_and_a_new_one_keeps_its_own() {
        for source in MessageSource::KNOWN {
            assert_eq!(MessageSource::from_name(source.as_str().to_owned()), source);
        }
        assert_eq!(MessageSource::from_name("new".to_owned()), MessageSource::Other("new".to_owned()));
    }
}
