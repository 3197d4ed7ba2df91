//! A back end that writes tags and desired properties into a device twin, and queries twins.
//!
//! # What you will see
//! The device is tagged with its plant, and a query for that plant finds it. A second query asks which of
//! them report a cellular network: none, until `report_connectivity` has run as that device.
//!
//! # What explains it
//! `docs/tutorials/twins.md`: every step below under the same number, and what travels over the wire.
//!
//! # What to set
//! - `IOTHUB_CONNECTION_STRING`: the hub's service connection string, of the policy `iothubowner` or of one
//!   that has service connect and registry write.
//! - `IOTHUB_DEVICE_ID`: the device to tag.
//!
//! # How to run
//! `cargo xtask hub` in one terminal; then here, with the variables set: `cargo run -p add_tags_and_query`.
//! For a real hub only the string differs: the portal shows it under "Shared access policies".
//!
//! # Expected output
//! ```text
//! Starting the Rust IoT Hub Device Twin service sample...
//!
//! Devices in Redmond43 plant: my-device
//!
//! Devices in Redmond43 plant using cellular network:
//! ```

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use futures_util::TryStreamExt;
use serde_json::json;
use tokio::{signal, time};
use tracing_subscriber::{EnvFilter, fmt};

use iothub_rest_service::{
    DeviceId, Error, Precondition, Report, ServiceClient, ServiceConnectionString, SettingError, TwinPatch,
    from_env,
};

/// The devices of the plant.
const IN_PLANT: &str = "SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'";
/// How long the hub's index of twins may take until it knows the new tags.
const INDEX_DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait between two looks: a small hub answers 20 queries a minute.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> ExitCode {
    // What the client tells goes to standard error: here the story of the connection, or what RUST_LOG asks for.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,iothub_rest_service=info".into());
    let log = fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    log.with_ansi(false).with_target(false).init();
    let (hub, device) = match settings() {
        Ok(settings) => settings,
        Err(error) => return Report::new(&error).exit(io::stderr()),
    };
    let ended = tokio::select! {
        ended = run(hub, &device) => ended,
        stopped = signal::ctrl_c() => stopped
            .and_then(|()| writeln!(io::stdout(), "IoT Hub Device Twin service sample stopped"))
            .map_err(anyhow::Error::from),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Report::new(error.as_ref()).after("Unexpected error ").exit(io::stdout()),
    }
}

fn settings() -> Result<(ServiceConnectionString, DeviceId), SettingError> {
    // 1. Read which hub, and which device.
    // ANCHOR: settings
    let hub = from_env("IOTHUB_CONNECTION_STRING")?;
    let device = from_env("IOTHUB_DEVICE_ID")?;
    // ANCHOR_END: settings
    Ok((hub, device))
}

async fn run(hub: ServiceConnectionString, device: &DeviceId) -> anyhow::Result<()> {
    writeln!(io::stdout(), "Starting the Rust IoT Hub Device Twin service sample...\n")?;

    // 2. Make a client. It connects with the first call, and keeps that connection for the next ones.
    // ANCHOR: client
    let client = ServiceClient::builder(hub).build()?;
    // ANCHOR_END: client

    // 3. Write tags and a desired property. The patch is laid over what is there; with the ETag, the hub
    //    refuses it if another back end has changed the twin since it was read.
    // ANCHOR: patch
    let twin = client.twins().get(device).await?;
    let location = json!({"region": "US", "plant": "Redmond43"});
    let patch = TwinPatch::new().tag("location", location).desired("power_level", 1);
    client.twins().patch(device, &patch, Precondition::IfMatch(twin.etag)).await?;
    // ANCHOR_END: patch

    // 4. Query for the plant. A real hub answers from an index that follows the twins with some delay, so
    //    look again until the device is there.
    // ANCHOR: plant
    let listed = async {
        loop {
            match devices(&client, IN_PLANT).await {
                Ok(devices) if !devices.contains(device) => time::sleep(LOOK_INTERVAL).await,
                result => return result,
            }
        }
    };
    let in_plant = time::timeout(INDEX_DEADLINE, listed).await.with_context(|| {
        format!("the hub's index does not know the tags of device {device} yet: run this again")
    })??;
    writeln!(io::stdout(), "Devices in Redmond43 plant: {}\n", in_plant.join(", "))?;
    // ANCHOR_END: plant

    // 5. Query for the devices that are on a cellular network as well. They report it themselves.
    // ANCHOR: cellular
    let query = format!("{IN_PLANT} AND properties.reported.connectivity = 'cellular'");
    let on_cellular = devices(&client, &query).await?;
    writeln!(io::stdout(), "Devices in Redmond43 plant using cellular network: {}", on_cellular.join(", "))?;
    // ANCHOR_END: cellular
    Ok(())
}

// ANCHOR: devices
/// The devices whose twins a query finds. The hub gives them page by page; `rows` asks for the pages.
async fn devices(client: &ServiceClient, query: &str) -> Result<Vec<DeviceId>, Error> {
    client.query_twins(query).rows().map_ok(|twin| twin.device_id).try_collect().await
}
// ANCHOR_END: devices
