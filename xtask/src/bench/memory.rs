//! What a hub occupies: idle, and with a thousand devices that are connected over TLS and say nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::Table;
use futures_util::{StreamExt as _, TryStreamExt as _};
use iothub_auth::ServiceConnectionString;
use iothub_models::{DeviceId, DeviceIdentity};
use iothub_mqtt_device::{DeviceClient, DeviceConnectionString};
use iothub_programs::steps::table;
use iothub_rest_service::ServiceClient;

use super::server::{self, Server};

const DEVICES: usize = 1000;
/// Connecting at once.
const AT_ONCE: usize = 16;
/// Long enough for buffers of the handshakes to be given back.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) async fn measure() -> Result<Table> {
    let server = Server::start().await?;
    let process = server.program.id().context("the hub has ended")?;
    let owner: ServiceConnectionString = server.owner_string()?.parse()?;
    let service = ServiceClient::builder(owner.clone()).build()?;
    tokio::time::sleep(SETTLE).await;
    let idle = resident(process)?;

    let create = |number: usize| {
        let service = service.clone();
        async move {
            let id: DeviceId = format!("device-{number}").parse()?;
            anyhow::Ok(service.devices().create(DeviceIdentity::new(id)).await?)
        }
    };
    let identities: Vec<DeviceIdentity> =
        futures_util::stream::iter(0..DEVICES).map(create).buffer_unordered(AT_ONCE).try_collect().await?;
    tokio::time::sleep(SETTLE).await;
    let registered = resident(process)?;

    let connect = |identity: DeviceIdentity| {
        let address = owner.address.clone();
        async move {
            let keys = identity.authentication.symmetric_key.and_then(|keys| keys.primary_key);
            let key = keys.context("a device without a key")?;
            let string = DeviceConnectionString::new(address, identity.device_id, key);
            anyhow::Ok(DeviceClient::builder(&string).connect().await?)
        }
    };
    let devices: Vec<DeviceClient> =
        futures_util::stream::iter(identities).map(connect).buffer_unordered(AT_ONCE).try_collect().await?;
    tokio::time::sleep(SETTLE).await;
    let connected = resident(process)?;

    let mut table = table(&["resident memory of the hub", "MB", "kB per device"]);
    let mega = |kilobytes: u64| format!("{:.1}", kilobytes as f64 / 1024.0);
    let each = |more: u64, than: u64| format!("{:.1}", more.saturating_sub(than) as f64 / DEVICES as f64);
    table.add_row(["idle", &mega(idle), ""]);
    table.add_row([&format!("{DEVICES} devices registered"), &mega(registered), &each(registered, idle)]);
    table.add_row([
        &format!("{DEVICES} devices connected, idle"),
        &mega(connected),
        &each(connected, registered),
    ]);
    let size = std::fs::metadata(server::path()).context("the hub's program is gone")?.len();
    table.add_row(["size of the program", &mega(size / 1024), ""]);

    drop(devices);
    server.stop().await?;
    Ok(table)
}

/// Resident memory in kB, as the kernel counts it.
pub(super) fn resident(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status =
        std::fs::read_to_string(&path).with_context(|| format!("{path} cannot be read; this needs Linux"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}
