//! Runs a case with telemetry of which the device set nothing but the body: its event has no AMQP properties at all,
//! and Microsoft's Python reader shows that. Clients fail on a section that lacks what they look for.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use iothub_models::TelemetryMessage;
use iothub_mqtt_device::DeviceClient;
use serde_json::{Value, json};

use super::reader::{Kind, Reader};
use super::{DEFAULT, check, everything_until_now, read_one};
use crate::message::hex;
use crate::site::Site;

const DEVICE: &str = "events-bare";
const BODY: &str = "21";

/// Sends such a message and reads it back; then reads it once more as the last event that is there.
pub(super) async fn read(site: Arc<Site>, kind: Kind) -> Result<()> {
    let identity = site.create_device(&format!("{DEVICE}-{}", kind.language().name())).await?;
    let client = DeviceClient::builder(&site.credential(&identity)?).connect().await?;
    client.send_telemetry(TelemetryMessage::new(BODY)).await?;
    client.shutdown().await?;

    let mut reader = Reader::start(&site, kind, DEFAULT)?;
    let span = everything_until_now(&mut reader).await?;
    let (events, _) = reader.read(&span, false, || {}).await?;
    let own = check::of_device(&events, identity.device_id.as_str())?;
    let event = *own.first().context("the event is missing")?;
    ensure!(event["has_properties"] == false, "the event has AMQP properties: {event}");
    for (name, expected) in [
        ("body_hex", json!(hex(BODY.as_bytes()))),
        ("message_id", Value::Null),
        ("correlation_id", Value::Null),
        ("user_id", Value::Null),
        ("content_type", Value::Null),
        ("content_encoding", Value::Null),
        ("properties", json!({})),
    ] {
        ensure!(event[name] == expected, "{name} is {} and should be {expected}", event[name]);
    }

    let partition = events.iter().find(|(_, events)| events.iter().any(|other| other == event));
    let partition = partition.context("the event is in no partition")?.0.clone();
    let last = span.until[&partition].as_i64().unwrap_or_default();
    let from_the_end = read_one(&mut reader, &partition, &json!("latest_inclusive"), last).await?;
    let begun = from_the_end.first().and_then(|event| event["sequence_number"].as_i64());
    ensure!(begun == Some(last), "from the last event on it began at {begun:?}, not {last}");
    reader.end().await
}
