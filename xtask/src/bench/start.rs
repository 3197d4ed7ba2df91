//! How long a hub takes from nothing to its first accepted device: what a test that starts one pays.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use comfy_table::Table;
use iothub_local_hub::LocalHub;
use iothub_mqtt_device::{DeviceClient, DeviceId};
use iothub_programs::steps::table;

use super::server::{DEVICE, Server};

const ROUNDS: usize = 21;

pub(super) async fn measure() -> Result<Table> {
    let mut in_process = Vec::new();
    let mut fresh = Vec::new();
    let mut again = Vec::new();
    for _ in 0..ROUNDS {
        in_process.push(embedded().await?);
        let state = tempfile::tempdir().context("no temporary folder")?;
        fresh.push(program(state.path()).await?);
        again.push(program(state.path()).await?);
    }
    let mut table = table(&["start to first CONNACK", "median", "fastest", "slowest"]);
    for (name, mut times) in [
        ("in process", in_process),
        ("program, new state folder", fresh),
        ("program, known state folder", again),
    ] {
        times.sort_unstable();
        let shown = |time: Option<&Duration>| time.map_or_else(String::new, |time| milliseconds(*time));
        table.add_row([
            name,
            &shown(times.get(times.len() / 2)),
            &shown(times.first()),
            &shown(times.last()),
        ]);
    }
    Ok(table)
}

pub(super) fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

async fn embedded() -> Result<Duration> {
    let started = Instant::now();
    let id: DeviceId = DEVICE.parse()?;
    let hub = LocalHub::builder().device(id.clone()).start().await?;
    let string = hub.device_connection_string(&id).context("the device has no string")?;
    let device = DeviceClient::connect(&string).await?;
    let took = started.elapsed();
    device.shutdown().await?;
    hub.shutdown().await;
    Ok(took)
}

async fn program(state: &std::path::Path) -> Result<Duration> {
    let started = Instant::now();
    let server = Server::start_in(state).await?;
    let device = DeviceClient::connect(server.device_string()?).await?;
    let took = started.elapsed();
    device.shutdown().await?;
    server.stop().await?;
    Ok(took)
}
