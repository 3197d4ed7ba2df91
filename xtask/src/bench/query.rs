//! Queries over twins of about one kilobyte each: pages of a hundred, from a hub in this process and from
//! the same hub over HTTPS, and what a twin takes of memory.
//!
//! One twin in a hundred is in the plant that is asked for, and every second one is on cellular. Each
//! query runs a few times before it is measured: the first two are shown apart, since an index is made
//! when a path is asked for again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use comfy_table::Table;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{DeviceId, TwinPatch};
use iothub_programs::steps::table;
use iothub_rest_service::ServiceClient;
use serde_json::json;

use super::memory::resident;

const POPULATIONS: [usize; 3] = [1_000, 10_000, 100_000];
const PAGE: usize = 100;
const RUNS: usize = 21;

const QUERIES: [(&str, &str); 4] = [
    ("equality, 1 % match", "SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'"),
    (
        "the tutorial's second query",
        "SELECT * FROM devices WHERE tags.location.plant = 'Redmond43' AND properties.reported.connectivity = 'cellular'",
    ),
    ("no index serves it, nothing matches", "SELECT * FROM devices WHERE properties.reported.battery > 100"),
    (
        "COUNT with GROUP BY",
        "SELECT properties.reported.connectivity, COUNT() AS n FROM devices GROUP BY properties.reported.connectivity",
    ),
];

pub(super) async fn measure() -> Result<Table> {
    let mut table = table(&[
        "query",
        "twins",
        "first",
        "second",
        "in process, p50",
        "slowest",
        "over HTTPS, p50",
        "slowest",
    ]);
    let (mut memory, mut hubs) = (Vec::new(), Vec::new());
    for twins in POPULATIONS {
        let hub = LocalHub::builder().start().await.context("no hub")?;
        seed(&hub, twins).await?;
        let before = resident(std::process::id())?;
        for number in 0..twins {
            seed(&hub, number).await?;
        }
        let taken = resident(std::process::id())?.saturating_sub(before) * 1024;
        let json = hub.query("SELECT * FROM devices", PAGE, None).await?.json.len();
        memory.push(format!("{} of {}", taken / twins as u64, json / PAGE));
        let service = ServiceClient::from_connection_string(&hub.connection_string(PolicyName::Service))?;
        for (name, text) in QUERIES {
            let (mut inside, mut outside) = (Vec::new(), Vec::new());
            for _ in 0..RUNS {
                let started = Instant::now();
                hub.query(text, PAGE, None).await?;
                inside.push(started.elapsed());
            }
            for _ in 0..RUNS {
                let started = Instant::now();
                service.query(text).page_size(100).page(None).await?;
                outside.push(started.elapsed());
            }
            let [first, second] = [shown(inside[0]), shown(inside[1])];
            let [inside, outside] = [inside.split_off(2), outside.split_off(2)].map(|mut times| {
                times.sort_unstable();
                [times[times.len() / 2], times[times.len() - 1]].map(shown)
            });
            let mut row = vec![name.to_owned(), twins.to_string(), first, second];
            row.extend(inside);
            row.extend(outside);
            table.add_row(row);
        }
        // Kept, so that the next one has no memory of this one's to use again.
        hubs.push(hub);
    }
    for (twins, taken) in POPULATIONS.iter().zip(memory) {
        table.add_row(["bytes of memory per twin, of JSON", &twins.to_string(), &taken]);
    }
    Ok(table)
}

/// A device whose twin is about a kilobyte of JSON.
async fn seed(hub: &RunningHub, number: usize) -> Result<()> {
    let id: DeviceId = format!("device-{number:06}").parse()?;
    hub.create_device(&id).await?;
    let plant =
        if number.is_multiple_of(100) { "Redmond43".to_owned() } else { format!("Plant{}", number % 97) };
    let patch = TwinPatch::new()
        .tag("location", json!({"region": "US", "plant": plant}))
        .tag("building", number % 50)
        .desired("telemetryInterval", 30)
        .desired("mode", "eco");
    hub.update_twin(&id, &patch).await?;
    let connectivity = if number % 200 < 100 { "cellular" } else { "wifi" };
    let reported = json!({"connectivity": connectivity, "battery": number % 101, "firmware": "2.1.0"});
    hub.report(&id, reported.as_object().context("not an object")?).await?;
    Ok(())
}

fn shown(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
