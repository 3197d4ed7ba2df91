//! This file reads events with our reader, and shows each in the form of the programs' lines.

use anyhow::{Context, Result, bail};
use iothub_amqp_service::{Event, EventPosition, EventReader, EventSource};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::reader::{Events, Span};
use crate::message::{hex, shown_properties};
use crate::talk::LINE;

/// Reads until the last wanted event of every partition has come. Calls `begun` at the first event.
pub(super) async fn read(source: EventSource, span: &Span, begun: impl FnOnce()) -> Result<Events> {
    let mut left = span.until.as_object().context("nothing to read")?.clone();
    // The same position everywhere, since this is a stream over all.
    let from = span.from.as_object().and_then(|from| from.values().next()).context("no position")?;
    let reader = EventReader::builder(source).partitions(left.keys().cloned()).from(position(from)?);
    let mut reader = reader.open().await?;
    let (mut events, mut begun) = (Events::new(), Some(begun));
    while !left.is_empty() {
        let next = timeout(LINE, reader.next()).await.context("our reader saw no further event")?;
        let event = next.context("our reader has stopped")??;
        if let Some(begun) = begun.take() {
            begun();
        }
        let partition = event.partition_id.to_string();
        let number = event.system_properties.sequence_number;
        if left.get(&partition).and_then(Value::as_i64).is_some_and(|last| number >= last) {
            left.remove(&partition);
        }
        events.entry(partition).or_default().push(shown(&event));
    }
    reader.close().await?;
    Ok(events)
}

fn position(wish: &Value) -> Result<EventPosition> {
    if wish == "earliest" {
        return Ok(EventPosition::Earliest);
    }
    let inclusive = i64::from(wish["inclusive"] == true);
    if let Some(number) = wish["sequence_number"].as_i64() {
        return Ok(EventPosition::AfterSequenceNumber(number - inclusive));
    }
    if let (Some(offset), 0) = (wish["offset"].as_str(), inclusive) {
        return Ok(EventPosition::AfterOffset(offset.to_owned()));
    }
    if let Some(ms) = wish["enqueued_ms"].as_i64() {
        // Ours begins at a time, the others after it.
        return Ok(EventPosition::EnqueuedTime(Timestamp::from_millisecond(ms + 1 - inclusive)?));
    }
    bail!("our reader cannot begin at {wish}")
}

fn shown(event: &Event) -> Value {
    let system = &event.system_properties;
    let mut annotations = Map::new();
    for (name, value) in [
        ("iothub-connection-device-id", system.device_id.as_ref().map(|id| id.as_str().to_owned())),
        ("iothub-connection-module-id", system.module_id.as_ref().map(|id| id.as_str().to_owned())),
        ("iothub-connection-auth-method", system.auth_method.clone()),
        ("iothub-connection-auth-generation-id", system.auth_generation_id.clone()),
        ("iothub-message-source", system.message_source.as_ref().map(ToString::to_string)),
        ("dt-subject", system.component.clone()),
        ("dt-dataschema", system.model_id.clone()),
    ] {
        if let Some(value) = value {
            annotations.insert(name.to_owned(), value.into());
        }
    }
    if let Some(time) = system.hub_enqueued_time {
        annotations.insert("iothub-enqueuedtime".to_owned(), time.as_millisecond().into());
    }
    annotations.extend(system.others.iter().map(|(name, value)| (name.clone(), value.clone())));
    json!({
        "sequence_number": system.sequence_number,
        "offset": system.offset,
        "enqueued_ms": system.enqueued_time.as_millisecond(),
        "body_hex": hex(&event.body),
        "message_id": system.message_id,
        "correlation_id": system.correlation_id,
        "user_id": system.user_id,
        "content_type": system.content_type,
        "content_encoding": system.content_encoding,
        "properties": shown_properties(&event.properties),
        "system": annotations,
    })
}
