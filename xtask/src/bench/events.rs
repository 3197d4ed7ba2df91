//! Telemetry from devices to readers: how fast it is taken, how fast it is read, and how long one message
//! is under way. Devices and the first reader are bytes on TLS sockets, so that the hub is measured and not
//! a client; the other readers are whole clients, ours and, where `cargo xtask interop` installed them,
//! Microsoft's.

mod device;
mod fleet;
mod official;
mod reader;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use hdrhistogram::Histogram;
use iothub_amqp_service::{EventPosition, EventReader};
use iothub_auth::EventHubsConnectionString;

use self::device::Device;
use self::fleet::BODY;
pub(super) use self::fleet::Fleet;
use self::reader::RawReader;
use super::memory::resident;
use super::server::Server;
use iothub_programs::steps::table;

/// Messages of each round of taking.
const TAKEN: usize = 200_000;
const DEVICES: usize = 50;
/// Messages one at a time, a thousand a second, and those before anything is measured.
const PACED: usize = 10_000;
const WARM_UP: usize = 1_000;
const PARTITIONS: u32 = 4;
/// The end of patience for one round.
const DEADLINE: Duration = Duration::from_secs(120);

pub(super) async fn measure() -> Result<Table> {
    let mut table = table(&["telemetry to events", "result", "memory of the hub"]);
    let late = |round| format!("{round} did not end within {} s", DEADLINE.as_secs());

    let server = Server::start().await?;
    let latency = tokio::time::timeout(DEADLINE, latency(&server)).await.context(late("latency"))??;
    let at = |quantile: f64| format!("{:.2} ms", latency.value_at_quantile(quantile) as f64 / 1000.0);
    let result = format!("p50 {}, p99 {}", at(0.5), at(0.99));
    table.add_row(["device to reader, 1,000 messages a second", &result, &megabytes(&server)?]);
    server.stop().await?;

    for devices in [1, DEVICES] {
        let server = Server::start().await?;
        let rate =
            tokio::time::timeout(DEADLINE, ingest(&server, devices)).await.context(late("taking"))??;
        let name = format!("{TAKEN} messages of {BODY} bytes taken from {devices} over TLS");
        table.add_row([&name, &per_second(rate), &megabytes(&server)?]);
        if devices == DEVICES {
            readers(&server, &mut table).await?;
        }
        server.stop().await?;
    }
    Ok(table)
}

/// How fast what is there is read, by one client after the other.
async fn readers(server: &Server, table: &mut Table) -> Result<()> {
    let late = || format!("a reader did not end within {} s", DEADLINE.as_secs());
    let raw = tokio::time::timeout(DEADLINE, read_raw(server)).await.with_context(late)??;
    table.add_row(["read as bytes, over TLS", &per_second(raw), &megabytes(server)?]);
    let ours = tokio::time::timeout(DEADLINE, read_ours(server)).await.with_context(late)??;
    table.add_row(["read by EventReader, over TLS", &per_second(ours), &megabytes(server)?]);
    for client in official::ALL {
        let rate =
            match tokio::time::timeout(DEADLINE, client.read(server, TAKEN)).await.with_context(late)?? {
                Some(rate) => per_second(rate),
                None => "not installed".to_owned(),
            };
        table.add_row([client.name, &rate, &megabytes(server)?]);
    }
    Ok(())
}

fn per_second(rate: f64) -> String {
    format!("{rate:.0} messages/s")
}

fn megabytes(server: &Server) -> Result<String> {
    let process = server.program.id().context("the hub has ended")?;
    Ok(format!("{:.1} MB", resident(process)? as f64 / 1024.0))
}

fn rate(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

/// Microseconds from the device's write to the reader's read, at a thousand messages a second.
async fn latency(server: &Server) -> Result<Histogram<u64>> {
    let mut device = Device::connect(&server.device_string()?.parse()?).await?;
    let mut reader = RawReader::connect(&event_hubs(server)?).await?;
    reader.read_all(PARTITIONS).await?;
    let epoch = Instant::now();
    let sending = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        for _ in 0..WARM_UP + PACED {
            ticks.tick().await;
            let sent = u64::try_from(epoch.elapsed().as_micros())?;
            device.publish(&sent.to_be_bytes()).await?;
        }
        device.acknowledged().await
    });
    let mut histogram = Histogram::<u64>::new_with_max(60_000_000, 3)?;
    for number in 0..WARM_UP + PACED {
        let end = reader.event().await?;
        let now = u64::try_from(epoch.elapsed().as_micros())?;
        if number >= WARM_UP {
            histogram.record(now.saturating_sub(u64::from_be_bytes(end)))?;
        }
    }
    sending.await.context("the device's task failed")??;
    Ok(histogram)
}

/// Returns the messages a second, from the first message to the last acknowledgement.
async fn ingest(server: &Server, count: usize) -> Result<f64> {
    let mut fleet = Fleet::connect(server, count).await?;
    let started = Instant::now();
    fleet.push(TAKEN).await?;
    Ok(rate(TAKEN, started))
}

async fn read_raw(server: &Server) -> Result<f64> {
    let mut reader = RawReader::connect(&event_hubs(server)?).await?;
    let started = Instant::now();
    reader.read_all(PARTITIONS).await?;
    for _ in 0..TAKEN {
        reader.event().await?;
    }
    Ok(rate(TAKEN, started))
}

async fn read_ours(server: &Server) -> Result<f64> {
    let started = Instant::now();
    let builder = EventReader::builder(event_hubs(server)?).from(EventPosition::Earliest);
    let mut reader = builder.open().await?;
    for _ in 0..TAKEN {
        if reader.next().await.is_none_or(|event| event.is_err()) {
            bail!("the reader stopped");
        }
    }
    let rate = rate(TAKEN, started);
    reader.close().await?;
    Ok(rate)
}

fn event_hubs(server: &Server) -> Result<EventHubsConnectionString> {
    Ok(server.event_hubs_string("connectionString")?.parse()?)
}
