//! This file writes an event as the sections of an AMQP message, as its readers get it, and reads it back. Whoever
//! builds a hub hands [`CODEC`] to it, and the event log (`log.rs`) calls it.
//!
//! | of the event | in the message |
//! |---|---|
//! | its position: sequence number, offset, enqueued time | annotations `x-opt-…`: long, string, timestamp |
//! | device, source, sender and model, which the hub adds | annotations `iothub-…`, `dt-…`: strings, a timestamp |
//! | system properties with a field in AMQP | properties; without such a property there is no section |
//! | application properties, and the system properties that the service shows among them | application properties |
//! | the body | one data section |
//!
//! The types are exact, since the official clients look at nothing else under these names. Source:
//! *Create and read IoT Hub messages*; the names and types of `x-opt-…` are those of Event Hubs.

use bytes::{Bytes, BytesMut};
use iothub_amqp_server::{Map, MapWriter, Message, MessageId, MessageWriter, Properties, Timestamp};
use iothub_models::{Identity, Properties as EventProperties, TelemetryMessage};

use crate::core::event::{EventSource, HubEvent};
use crate::log::{EventCodec, EventPosition};

const SEQUENCE_NUMBER: &str = "x-opt-sequence-number";
const OFFSET: &str = "x-opt-offset";
const ENQUEUED_TIME: &str = "x-opt-enqueued-time";
const DEVICE_ID: &str = "iothub-connection-device-id";
const MODULE_ID: &str = "iothub-connection-module-id";
const AUTH_METHOD: &str = "iothub-connection-auth-method";
const GENERATION_ID: &str = "iothub-connection-auth-generation-id";
const HUB_ENQUEUED_TIME: &str = "iothub-enqueuedtime";
const SOURCE: &str = "iothub-message-source";
const MODEL_ID: &str = "dt-dataschema";
const COMPONENT: &str = "dt-subject";

const CREATION_TIME: &str = "iothub-creation-time-utc";
const TO: &str = "to";
const EXPIRY_TIME: &str = "absolute-expiry-time";

/// System properties of telemetry that readers find among the application properties.
const AMONG_APPLICATION: [&str; 4] =
    [CREATION_TIME, "iothub-message-schema", "iothub-ack", "iothub-operation"];

/// The form in which the event log keeps events: the bytes that readers get over AMQP.
pub(crate) const CODEC: EventCodec = EventCodec { encode: write, decode: read };

/// Writes an event with its position in the log.
fn write(event: &HubEvent, position: &EventPosition, out: &mut BytesMut) {
    let mut writer = MessageWriter::new(out);
    writer.message_annotations(|map| annotations(event, position, map));
    writer.properties(&properties(event));
    let others: Vec<_> =
        event.system_properties.iter().filter(|(name, _)| AMONG_APPLICATION.contains(name)).collect();
    let message = &event.message;
    if !message.properties.is_empty() || !others.is_empty() || message.creation_time.is_some() {
        writer.application_properties(|map| {
            // A map has each key once: the value that the device set as a system property counts.
            let is_taken = |name: &str| {
                others.iter().any(|(other, _)| *other == name)
                    || (name == CREATION_TIME && message.creation_time.is_some())
            };
            for (name, value) in message.properties.iter().filter(|(name, _)| !is_taken(name)) {
                map.entry(name, value);
            }
            for (name, value) in &others {
                map.entry(name, *value);
            }
            if let Some(time) = message.creation_time {
                map.entry(CREATION_TIME, time.to_string());
            }
        });
    }
    writer.data(&message.body);
}

fn annotations(event: &HubEvent, position: &EventPosition, map: &mut MapWriter<'_>) {
    map.symbol(SEQUENCE_NUMBER, position.sequence_number)
        .symbol(OFFSET, position.offset.to_string())
        .symbol(ENQUEUED_TIME, Timestamp(position.enqueued_time))
        .symbol(DEVICE_ID, event.device_id.as_str());
    if let Some(module) = &event.module_id {
        map.symbol(MODULE_ID, module.as_str());
    }
    let optional = [
        (AUTH_METHOD, event.auth_method.as_deref()),
        (GENERATION_ID, event.generation_id.as_deref()),
        (MODEL_ID, event.model_id.as_deref()),
        (COMPONENT, event.message.component.as_deref()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            map.symbol(name, value);
        }
    }
    map.symbol(HUB_ENQUEUED_TIME, Timestamp(event.enqueued_time.as_millisecond()))
        .symbol(SOURCE, event.source.as_str());
    for (name, value) in event.system_properties.iter() {
        // A text that is no time cannot be in the field of a time.
        let has_a_place = AMONG_APPLICATION.contains(&name)
            || name == TO
            || (name == EXPIRY_TIME && expiry_time(value).is_some());
        if !has_a_place {
            map.symbol(name, value);
        }
    }
}

fn properties(event: &HubEvent) -> Properties {
    let message = &event.message;
    let system = &event.system_properties;
    Properties {
        message_id: message.message_id.clone().map(MessageId::String),
        user_id: message.user_id.clone().map(Bytes::from),
        to: system.get(TO).map(str::to_owned),
        correlation_id: message.correlation_id.clone().map(MessageId::String),
        content_type: message.content_type.clone(),
        content_encoding: message.content_encoding.clone(),
        absolute_expiry_time: system.get(EXPIRY_TIME).and_then(expiry_time),
        ..Properties::default()
    }
}

/// Reads an expiry time, which clients write with an offset from UTC, or in UTC without one.
fn expiry_time(text: &str) -> Option<Timestamp> {
    let time = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let local: jiff::civil::DateTime = text.parse().ok()?;
        Some(local.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(Timestamp(time.as_millisecond()))
}

/// Reads back an event that [`write`] wrote; `None` if the bytes are not one.
fn read(bytes: &Bytes) -> Option<HubEvent> {
    let mut known = Message::decode(bytes).ok()?;
    let annotations = std::mem::take(&mut known.message_annotations);
    let text = |name| annotations.get(name).and_then(|value| value.as_str());
    let source = EventSource::ALL.into_iter().find(|source| text(SOURCE) == Some(source.as_str()))?;
    let device = text(DEVICE_ID)?.parse().ok()?;
    let module = text(MODULE_ID).map(str::parse).transpose().ok()?;
    let enqueued = annotations.get(HUB_ENQUEUED_TIME)?.as_i64()?;
    let mut system_properties = other_annotations(&annotations);
    let mut message = TelemetryMessage {
        // Copied: the embedding program may keep the event, which must not keep the log's block of 64 KB alive.
        body: Bytes::copy_from_slice(&known.body.to_data()?),
        message_id: known.properties.message_id.and_then(id_text),
        correlation_id: known.properties.correlation_id.and_then(id_text),
        user_id: known.properties.user_id.map(|id| String::from_utf8_lossy(&id).into_owned()),
        content_type: known.properties.content_type,
        content_encoding: known.properties.content_encoding,
        component: text(COMPONENT).map(str::to_owned),
        ..TelemetryMessage::default()
    };
    for (name, value) in known.application_properties.iter() {
        let (name, value) = (name.as_str()?, value.as_str()?);
        if source != EventSource::Telemetry || !AMONG_APPLICATION.contains(&name) {
            message.properties.insert(name, value);
        } else if name == CREATION_TIME
            && let Ok(time) = value.parse()
        {
            message.creation_time = Some(time);
        } else {
            system_properties.insert(name, value);
        }
    }
    if let Some(time) = known.properties.absolute_expiry_time {
        let time = jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::MAX);
        system_properties.insert(EXPIRY_TIME, time.to_string());
    }
    let enqueued_time = jiff::Timestamp::from_millisecond(enqueued).ok()?;
    let about = Identity { device, module };
    let mut event = HubEvent::notification(source, message, about, enqueued_time);
    event.generation_id = text(GENERATION_ID).map(Into::into);
    event.auth_method = text(AUTH_METHOD).map(Into::into);
    event.model_id = text(MODEL_ID).map(Into::into);
    if let Some(to) = known.properties.to {
        system_properties.insert(TO, to);
    }
    event.system_properties = system_properties;
    Some(event)
}

fn id_text(id: MessageId) -> Option<String> {
    match id {
        MessageId::String(text) => Some(text),
        _ => None,
    }
}

fn other_annotations(annotations: &Map) -> EventProperties {
    const OWN: [&str; 11] = [
        SEQUENCE_NUMBER,
        OFFSET,
        ENQUEUED_TIME,
        DEVICE_ID,
        MODULE_ID,
        AUTH_METHOD,
        GENERATION_ID,
        HUB_ENQUEUED_TIME,
        SOURCE,
        MODEL_ID,
        COMPONENT,
    ];
    annotations
        .iter()
        .filter_map(|(name, value)| Some((name.as_str()?, value.as_str()?)))
        .filter(|(name, _)| !OWN.contains(name))
        .collect()
}

#[cfg(test)]
mod tests;
