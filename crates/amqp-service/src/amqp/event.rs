//! This file reads an event as it arrives in AMQP.
//!
//! | section | content |
//! |---|---|
//! | message annotations | `x-opt-sequence-number` long, `x-opt-offset` string, `x-opt-enqueued-time` timestamp: without these three it is no event; and the facts that the hub adds, under the names that [`SystemProperties`] lists |
//! | properties | the system properties that the device set |
//! | application properties | the application properties that the device set |
//! | data | the body |
//!
//! Sources: *Create and read IoT Hub messages*, and the annotations the official Event Hubs clients read.

use std::sync::Arc;

use fe2o3_amqp_types::messaging::annotations::OwnedKey;
use fe2o3_amqp_types::messaging::{Body, Message};
use serde_amqp::Value;

use super::value::{id, integer, json, of_millis, shown, text, timestamp};
use crate::event::{Event, MessageSource, SystemProperties};

/// Reads an event; `None` if an annotation that every event has is missing, or the body is neither bytes nor text.
pub(super) fn event(message: Message<Body<Value>>, partition_id: &Arc<str>) -> Option<Event> {
    let annotations = message.message_annotations.unwrap_or_default().0;
    let properties = message.properties.unwrap_or_default();
    let mut system = SystemProperties {
        message_id: properties.message_id.map(id),
        user_id: properties.user_id.map(|user| String::from_utf8_lossy(&user).into_owned()),
        to: properties.to,
        correlation_id: properties.correlation_id.map(id),
        content_type: properties.content_type.map(|symbol| symbol.0),
        content_encoding: properties.content_encoding.map(|symbol| symbol.0),
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
        sequence_number: 0,
        offset: String::new(),
        enqueued_time: jiff::Timestamp::UNIX_EPOCH,
    };
    let [mut numbered, mut placed, mut timed] = [false; 3];
    for (key, value) in annotations {
        let OwnedKey::Symbol(name) = key else { continue };
        let owned = || text(&value).map(str::to_owned);
        match name.as_str() {
            "x-opt-sequence-number" => {
                numbered = integer(&value).map(|number| system.sequence_number = number).is_some();
            }
            "x-opt-offset" => placed = owned().map(|offset| system.offset = offset).is_some(),
            "x-opt-enqueued-time" => {
                timed = timestamp(&value).map(|time| system.enqueued_time = time).is_some();
            }
            "iothub-connection-device-id" => {
                system.device_id = text(&value).and_then(|id| id.parse().ok());
            }
            "iothub-connection-module-id" => {
                system.module_id = text(&value).and_then(|id| id.parse().ok());
            }
            "iothub-connection-auth-method" => system.auth_method = owned(),
            "iothub-connection-auth-generation-id" => system.auth_generation_id = owned(),
            "iothub-enqueuedtime" => system.hub_enqueued_time = timestamp(&value),
            "iothub-message-source" => system.message_source = owned().map(MessageSource::from_name),
            "dt-subject" => system.component = owned(),
            "dt-dataschema" => system.model_id = owned(),
            "iothub-interface-id" => system.interface_id = owned(),
            _ => system.others.push((name.0, json(&value))),
        }
    }
    // Where no field is for them.
    for (name, time) in [
        ("absolute-expiry-time", properties.absolute_expiry_time),
        ("creation-time", properties.creation_time),
    ] {
        if let Some(time) = time.as_ref().and_then(of_millis) {
            system.others.push((name.to_owned(), time.as_millisecond().into()));
        }
    }
    if !(numbered && placed && timed) {
        return None;
    }
    let application = message.application_properties.unwrap_or_default().0;
    Some(Event {
        partition_id: Arc::clone(partition_id),
        body: body(message.body)?.into(),
        properties: application.into_iter().map(|(name, value)| (name, shown(value))).collect(),
        system_properties: system,
        stream_restarts: 0,
    })
}

/// Returns the bytes of a body; `None` if it has another type. IoT Hub sends one data section.
pub(super) fn body(body: Body<Value>) -> Option<Vec<u8>> {
    match body {
        Body::Data(sections) => {
            let mut sections = sections.into_iter().map(|section| section.0.into_vec());
            let mut bytes = sections.next().unwrap_or_default();
            sections.for_each(|section| bytes.extend(section));
            Some(bytes)
        }
        Body::Value(value) => match value.0 {
            Value::Binary(bytes) => Some(bytes.into_vec()),
            Value::String(text) => Some(text.into_bytes()),
            Value::Null => Some(Vec::new()),
            _ => None,
        },
        Body::Empty => Some(Vec::new()),
        Body::Sequence(_) => None,
    }
}
