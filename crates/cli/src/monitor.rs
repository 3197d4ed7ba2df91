//! `iothub monitor-events`: the events of a hub as they come, one line of JSON each.

use anyhow::Context as _;
use iothub_amqp_service::{Event, EventReader};
use serde_json::{Map, Value, json};
use tokio::signal;

use crate::args::MonitorEvents;
use crate::hub::Hub;
use crate::output;

pub(crate) async fn run(monitor: MonitorEvents, hub: Hub) -> anyhow::Result<()> {
    let MonitorEvents { device, from, consumer_group, properties, count } = monitor;
    let reader = EventReader::builder(hub.connection).from(from).consumer_group(consumer_group);
    let mut events = Box::pin(reader.open()).await?;
    output::note("Waiting for events, press Ctrl-C to stop");
    let stop = signal::ctrl_c();
    tokio::pin!(stop);
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        tokio::select! {
            event = events.next() => {
                let event = event.context("the stream of events ended")??;
                if device.is_none() || event.system_properties.device_id == device {
                    output::print(&shown(&event, properties).to_string())?;
                    left -= 1;
                }
            }
            stopped = &mut stop => {
                stopped?;
                break;
            }
        }
    }
    // What was shown is shown, whatever the hub says to the goodbye.
    if let Err(error) = events.close().await {
        output::note(&error.to_string());
    }
    Ok(())
}

/// An event in the shape that users of the Azure CLI know.
fn shown(event: &Event, with_properties: bool) -> Value {
    let system = &event.system_properties;
    // Telemetry is JSON more often than not, and says so less often than it is.
    let payload: Value =
        serde_json::from_slice(&event.body).unwrap_or_else(|_| event.body_text().as_ref().into());
    let mut shown = json!({
        "event": {
            "origin": system.device_id,
            "module": system.module_id,
            "component": system.component,
            "source": system.message_source.as_ref().map(|source| source.as_str()),
            "payload": payload,
        }
    });
    if with_properties {
        let application: Map<String, Value> =
            event.properties.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let system: Map<String, Value> =
            system.fields().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        shown["properties"] = json!({ "application": application, "system": system });
    }
    shown
}
