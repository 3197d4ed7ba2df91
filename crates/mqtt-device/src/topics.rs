//! This file writes and reads the MQTT names of one device or module: client id, user name, topics, and the
//! messages they carry.
//!
//! `builder` makes them and `driver` uses them for each message. Ids stand in topics as they are and are compared
//! as text, never as MQTT filters; an id with `+` or `#` has no topic that MQTT allows. This is the crate's own
//! reading of the public documents, shared with no hub.
//!
//! Source: *Communicate with an IoT hub using the MQTT protocol*; *Create and read IoT Hub messages*.

use std::borrow::Cow;

use bytes::Bytes;
use iothub_auth::DeviceConnectionString;
use iothub_models::{C2dMessage, ModelId, TelemetryMessage};

use crate::error::ErrorKind;
use crate::property_bag;

/// The service API version whose MQTT behavior this client expects.
const API_VERSION: &str = "2021-04-12";

/// The name of this client.
const CLIENT_TYPE: &str = concat!("iothub-rust/", env!("CARGO_PKG_VERSION"));

/// The longest message, body and properties together.
/// Source: *IoT Hub quotas and throttling*, "Other limits".
pub(crate) const MAX_MESSAGE: usize = 256 * 1024;

/// The longest message id, in characters. Source: *Create and read IoT Hub messages*.
const MAX_MESSAGE_ID: usize = 128;

/// The size from which a cloud-to-device message shares the buffer that it was read into: half of the 8 KB that the
/// buffer has unless a larger packet needs more.
const SHARED_FROM: usize = 4 * 1024;

/// The longest topic that MQTT can carry.
const MAX_TOPIC: usize = u16::MAX as usize;

/// The names of one device or module on one hub.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    pub(crate) client_id: String,
    pub(crate) user_name: String,
    telemetry: String,
    c2d: String,
}

/// The reason why a message cannot be sent, before it was tried.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsendable {
    pub(crate) kind: ErrorKind,
    pub(crate) reason: String,
}

impl Topics {
    pub(crate) fn new(
        identity: &DeviceConnectionString,
        product_info: Option<&str>,
        model_id: Option<&ModelId>,
    ) -> Self {
        let DeviceConnectionString { address, device_id, module_id, .. } = identity;
        let (client_id, root) = match module_id {
            None => (device_id.to_string(), format!("devices/{device_id}")),
            Some(module) => {
                (format!("{device_id}/{module}"), format!("devices/{device_id}/modules/{module}"))
            }
        };
        let client_type = match product_info {
            None => Cow::Borrowed(CLIENT_TYPE),
            Some(info) => Cow::Owned(format!("{CLIENT_TYPE} {info}")),
        };
        let mut user_name = format!(
            "{}/{client_id}/?api-version={API_VERSION}&DeviceClientType={}",
            address.host_name,
            property_bag::encoded(&client_type)
        );
        if let Some(model_id) = model_id {
            user_name.push_str("&model-id=");
            user_name.extend(property_bag::encoded(model_id.as_str()));
        }
        Self {
            client_id,
            user_name,
            telemetry: format!("{root}/messages/events/"),
            c2d: format!("{root}/messages/devicebound/"),
        }
    }

    /// Returns why MQTT cannot carry these names; `None` if it can. All else that this client puts into a topic is
    /// percent-encoded, or checked where it is read.
    pub(crate) fn defect(&self) -> Option<&'static str> {
        // MQTT 3.1.1, 3.3.2: a topic that is published to has no wildcard.
        if self.telemetry.contains(['+', '#']) {
            Some("its id holds + or #, and no topic may: register it under another id")
        // MQTT 3.1.1, 1.5.3.
        } else if [&self.client_id, &self.user_name, &self.telemetry]
            .into_iter()
            .any(|name| name.contains('\0'))
        {
            Some("its names hold the character U+0000: check the host name")
        } else {
            None
        }
    }

    /// Returns the topic and the payload of a telemetry message.
    pub(crate) fn telemetry(&self, message: TelemetryMessage) -> Result<(String, Bytes), Unsendable> {
        check(&message)?;
        let creation_time = message.creation_time.map(|time| format!("{time:.7}"));
        let mut topic = String::with_capacity(self.telemetry.len() + 64);
        topic.push_str(&self.telemetry);
        let start = topic.len();
        for (name, value) in [
            ("$.mid", &message.message_id),
            ("$.cid", &message.correlation_id),
            ("$.uid", &message.user_id),
            ("$.ct", &message.content_type),
            ("$.ce", &message.content_encoding),
            ("$.ctime", &creation_time),
            ("$.sub", &message.component),
        ] {
            if let Some(value) = value {
                property_bag::append(&mut topic, start, name, value);
            }
        }
        for (name, value) in message.properties.iter() {
            property_bag::append(&mut topic, start, name, value);
        }
        if topic.len() > MAX_TOPIC {
            return Err(too_large(format!(
                "its properties take {} bytes on the wire, and an MQTT topic holds {MAX_TOPIC}: shorten them",
                topic.len()
            )));
        }
        Ok((topic, message.body))
    }

    /// Returns the filter to subscribe to for cloud-to-device messages.
    pub(crate) fn c2d_filter(&self) -> String {
        format!("{}#", self.c2d)
    }

    /// Returns the cloud-to-device message that came on `topic`; `None` if the topic is not for such messages.
    pub(crate) fn c2d_message(&self, topic: &str, payload: &Bytes) -> Option<C2dMessage> {
        let bag = topic.strip_prefix(self.c2d.as_str())?;
        // The payload is a part of the buffer that it was read into. The program may keep the message as long as it
        // likes, so a small payload is copied, lest it keep the whole buffer alive.
        let body = match payload.len() {
            ..SHARED_FROM => Bytes::copy_from_slice(payload),
            _ => payload.clone(),
        };
        let mut message = C2dMessage::from_bytes(body);
        for (name, value) in property_bag::pairs(bag) {
            let text = || Some(value.clone().into_owned());
            match &*name {
                "$.mid" => message.message_id = text(),
                "$.cid" => message.correlation_id = text(),
                "$.uid" => message.user_id = text(),
                "$.ct" => message.content_type = text(),
                "$.ce" => message.content_encoding = text(),
                "$.exp" => message.expiry_time = value.parse().ok(),
                "iothub-ack" => message.ack = value.parse().ok(),
                // The message's own address, known already.
                "$.to" => {}
                // Also system properties of a later service: better shown than lost.
                _ => {
                    message.properties.insert(name, value);
                }
            }
        }
        Some(message)
    }
}

fn check(message: &TelemetryMessage) -> Result<(), Unsendable> {
    let size = message.size();
    if size > MAX_MESSAGE {
        return Err(too_large(format!(
            "it has {size} bytes with its properties, and the hub accepts {MAX_MESSAGE}: split it"
        )));
    }
    let invalid = |reason: &str| Unsendable { kind: ErrorKind::InvalidArgument, reason: reason.to_owned() };
    if message.message_id.as_ref().is_some_and(|id| id.chars().count() > MAX_MESSAGE_ID) {
        return Err(invalid("its message id has more than 128 characters: shorten it"));
    }
    for (name, _) in message.properties.iter() {
        if name.is_empty() {
            return Err(invalid("one of its properties has no name: name it"));
        }
        if name.starts_with("$.") {
            return Err(invalid(
                "one of its properties has a name with \"$.\" at the start, which the service keeps for itself: rename it",
            ));
        }
    }
    Ok(())
}

const fn too_large(reason: String) -> Unsendable {
    Unsendable { kind: ErrorKind::TooLarge, reason }
}

#[cfg(test)]
mod tests;
