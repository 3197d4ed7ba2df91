//! This file carries out `iothub monitor-events`, which prints the events of a hub as they come, one line of JSON
//! each.

use anyhow::Context as _;
use iothub_amqp_service::{Event, EventReader};
use iothub_models::{DeviceId, ModuleId};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::signal;

use crate::args::MonitorEvents;
use crate::hub::Hub;
use crate::output::{self, Json, json as read_json};

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
                    output::print(&serde_json::to_string(&shown(&event, properties))?)?;
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

/// A line of output: an event in the shape that users of the Azure CLI know.
#[derive(Serialize)]
struct Line<'e> {
    event: Shown<'e>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Value>,
}

#[derive(Serialize)]
struct Shown<'e> {
    origin: Option<&'e DeviceId>,
    module: Option<&'e ModuleId>,
    component: Option<&'e str>,
    source: Option<&'e str>,
    payload: Json,
}

fn shown(event: &Event, with_properties: bool) -> Line<'_> {
    let system = &event.system_properties;
    // Telemetry is JSON more often than not, and says so less often than it is.
    let payload = std::str::from_utf8(&event.body).ok().and_then(|text| read_json(text).ok());
    let payload = payload.unwrap_or_else(|| Json::Value(event.body_text().as_ref().into()));
    let properties = with_properties.then(|| {
        let application: Map<String, Value> =
            event.properties.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let system: Map<String, Value> =
            system.fields().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        json!({ "application": application, "system": system })
    });
    let event = Shown {
        origin: system.device_id.as_ref(),
        module: system.module_id.as_ref(),
        component: system.component.as_deref(),
        source: system.message_source.as_ref().map(|source| source.as_str()),
        payload,
    };
    Line { event, properties }
}
