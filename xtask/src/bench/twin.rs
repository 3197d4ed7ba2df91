//! Both ways through a twin, one change at a time: the device's report until it is acknowledged, and a
//! back end's change until the device hears of it. Through the hub's program, over TLS on both sides.

use std::time::Instant;

use anyhow::{Context, Result};
use comfy_table::Table;
use hdrhistogram::Histogram;
use iothub_mqtt_device::DeviceClient;
use iothub_programs::steps::table;
use iothub_rest_service::{DeviceId, Precondition, ServiceClient, TwinPatch};
use serde_json::json;

use super::server::{DEVICE, Server};

/// Changes before anything is measured.
const WARM_UP: usize = 200;
const CHANGES: usize = 2000;

pub(super) async fn measure() -> Result<Table> {
    let server = Server::start().await?;
    let device = DeviceClient::connect(server.device_string()?).await?;
    let mut desired = device.desired_properties().await?;
    let back_end = ServiceClient::from_connection_string(server.owner_string()?)?;
    let id: DeviceId = DEVICE.parse()?;

    // Microseconds, up to a minute.
    let histogram = || Histogram::<u64>::new_with_max(60_000_000, 3);
    let (mut reported, mut heard) = (histogram()?, histogram()?);
    for number in 0..WARM_UP + CHANGES {
        let started = Instant::now();
        device.update_reported_properties(&json!({ "number": number })).await?;
        let acknowledged = started.elapsed();

        let started = Instant::now();
        let patch = TwinPatch::new().desired("number", number);
        let hear = async {
            desired.next().await.context("the device has stopped")?;
            anyhow::Ok(started.elapsed())
        };
        let change = async { Ok(back_end.twins().patch(&id, &patch, Precondition::Any).await?) };
        let (notified, _twin) = tokio::try_join!(hear, change)?;
        if number >= WARM_UP {
            reported.record(u64::try_from(acknowledged.as_micros())?)?;
            heard.record(u64::try_from(notified.as_micros())?)?;
        }
    }
    device.shutdown().await?;
    server.stop().await?;

    let mut table = table(&["device twin", "p50", "p99", "slowest"]);
    for (name, times) in [("report to acknowledgement", reported), ("back end's change to device", heard)] {
        let at = |quantile: f64| format!("{} µs", times.value_at_quantile(quantile));
        table.add_row([name, &at(0.5), &at(0.99), &format!("{} µs", times.max())]);
    }
    Ok(table)
}
