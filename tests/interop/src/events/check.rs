//! This file checks that the events that a reader saw are the messages that the devices sent: no event missing or
//! repeated, each device's order kept, and every property as it was.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::reader::Events;
use super::sending::{Sends, Source, file, numbered_message};
use crate::language::Language;
use crate::message::hex;

/// The system properties of telemetry, and the AMQP type of each.
const SYSTEM: &[(&str, &str)] = &[
    ("iothub-connection-auth-generation-id", "String"),
    ("iothub-connection-auth-method", "String"),
    ("iothub-connection-device-id", "String"),
    ("iothub-enqueuedtime", "TimeStamp"),
    ("iothub-message-source", "String"),
];

/// The system properties that an event has beside these if a Plug and Play device named a component.
const COMPONENT: &[(&str, &str)] = &[("dt-dataschema", "String"), ("dt-subject", "String")];
/// The model of the controller.
const MODEL_ID: &str = "dtmi:com:example:TemperatureController;1";

/// Checks that the numbers of each partition go up by one from `first`, and that times never go back.
pub(super) fn in_sequence(events: &Events, first: &Value) -> Result<()> {
    for (partition, events) in events {
        let mut time = 0;
        for (next, event) in (first.as_i64().unwrap_or_default()..).zip(events) {
            let number = event["sequence_number"].as_i64();
            ensure!(number == Some(next), "partition {partition} has {number:?} where {next} belongs");
            let enqueued = event["enqueued_ms"].as_i64().context("an event without enqueued time")?;
            ensure!(enqueued >= time, "partition {partition}: the time of {number:?} is before the last one");
            time = enqueued;
        }
    }
    Ok(())
}

/// Returns the events of a device, which are all in one partition.
pub(super) fn of_device<'a>(events: &'a Events, id: &str) -> Result<Vec<&'a Value>> {
    let mut found: Option<Vec<&Value>> = None;
    for events in events.values() {
        let own: Vec<&Value> =
            events.iter().filter(|event| event["system"]["iothub-connection-device-id"] == id).collect();
        if !own.is_empty() {
            ensure!(found.is_none(), "{id} is in two partitions");
            found = Some(own);
        }
    }
    found.with_context(|| format!("nothing of {id}"))
}

/// Checks that all messages of a device are there, in its order.
pub(super) fn complete(events: &Events, source: &Source) -> Result<()> {
    let own = of_device(events, &source.id)?;
    match source.sends {
        Sends::Numbered(count) => {
            ensure!(own.len() == count, "{} events of {} and {count} messages", own.len(), source.id);
            for (n, event) in own.iter().enumerate() {
                same_as_numbered(n, event).with_context(|| format!("{} message {n}", source.id))?;
            }
        }
        Sends::Components => {
            let parts: Vec<&Value> = own.iter().map(|event| &event["system"]["dt-subject"]).collect();
            ensure!(parts == ["thermostat1", "thermostat2"], "components {parts:?}");
            for event in &own {
                ensure!(event["system"]["dt-dataschema"] == MODEL_ID, "model {}", event["system"]);
                ensure!(event["content_type"] == "application/json", "no JSON");
                ensure!(event["properties"] == json!({}), "properties {}", event["properties"]);
            }
        }
        Sends::File => {
            let cases = file()?;
            ensure!(own.len() == cases.len(), "{} events and {} messages", own.len(), cases.len());
            for (case, event) in cases.iter().zip(&own) {
                if let Some(difference) = case.difference(event, Language::Node, None) {
                    bail!("{}, {}: {difference}", source.id, case.name());
                }
            }
        }
    }
    for event in own {
        system_properties(event, source)
            .with_context(|| format!("system properties: {}", event["system"]))?;
    }
    Ok(())
}

fn same_as_numbered(n: usize, event: &Value) -> Result<()> {
    let message = numbered_message(n);
    let expected = json!({
        "body_hex": hex(&message.body),
        "message_id": message.message_id,
        "correlation_id": null,
        "user_id": null,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "properties": {"n": n.to_string()},
    });
    for (name, value) in expected.as_object().into_iter().flatten() {
        ensure!(event[name] == *value, "{name} is {} and should be {value}", event[name]);
    }
    Ok(())
}

fn system_properties(event: &Value, source: &Source) -> Result<()> {
    let system = event["system"].as_object().context("none")?;
    let more = if matches!(source.sends, Sends::Components) { COMPONENT } else { &[] };
    let expected = || SYSTEM.iter().chain(more);
    for (name, kind) in expected() {
        ensure!(system.contains_key(*name), "{name} is missing");
        if let Some(types) = event["types"].as_object() {
            ensure!(types[*name] == *kind, "{name} is of type {}", types[*name]);
        }
    }
    if let Some(more) = system.keys().find(|name| !expected().any(|(known, _)| known == name)) {
        bail!("{more} does not belong there");
    }
    ensure!(system["iothub-message-source"] == "Telemetry", "another source");
    ensure!(system["iothub-connection-auth-generation-id"] == source.generation_id.as_str(), "generation id");
    let method = system["iothub-connection-auth-method"].as_str().context("the method is no text")?;
    let method: Value = serde_json::from_str(method).context("the method is not JSON")?;
    ensure!(
        method["scope"] == "device" && method["type"] == "sas" && method["issuer"] == "iothub",
        "authentication method {method}"
    );
    let time = system["iothub-enqueuedtime"].as_i64().context("the time is no number")?;
    let enqueued = event["enqueued_ms"].as_i64().unwrap_or_default();
    ensure!((enqueued - time).abs() < 60_000, "enqueued at {time} by one account, {enqueued} by the other");
    Ok(())
}
