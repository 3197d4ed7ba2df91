//! Measures a hub that is beset by peers which prove nothing: whether devices still get in, how fast, and how much
//! stays of the memory that the peers took.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use comfy_table::Table;
use iothub_mqtt_device::DeviceClient;
use iothub_programs::steps::table;
use iothub_testkit::tls::{Trust, try_tcp};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::memory::resident;
use super::server::Server;

/// Peers under TLS that keep the hub's MQTT port busy; each comes back when it is cut.
const TLS_STRANGERS: usize = 1500;
const LOGINS: usize = 98;
/// The longest that a device tries to get in.
const PATIENCE: Duration = Duration::from_secs(90);
/// Idle peers of a hub with few file descriptors.
const IDLE: usize = 234;
const FEW: u32 = 256;
/// Connections that send nothing, to see what stays of their memory.
const HALF_OPEN: usize = 10_000;
/// The number of them at a time: this process has a limit of file descriptors too.
const AT_ONCE: usize = 2000;
/// A wait that is longer than any stranger is kept.
const SETTLE: Duration = Duration::from_secs(20);

pub(super) async fn measure() -> Result<Table> {
    let mut table = table(&["strangers", "measured"]);
    let server = Server::start().await?;
    let (failed, slowest) = logins_among_strangers(&server).await?;
    table.add_row([
        &format!("{LOGINS} logins among {TLS_STRANGERS} strangers under TLS"),
        &format!("{failed} failed, the slowest took {:.0} ms", slowest.as_secs_f64() * 1000.0),
    ]);
    server.stop().await?;

    let server = Server::start_with_file_descriptors(FEW).await?;
    let idle = idle(server.port("https")?, IDLE).await;
    let took = login(&server).await?;
    table.add_row([
        &format!("a login with {IDLE} idle on HTTPS, {FEW} file descriptors"),
        &format!("{:.0} ms", took.as_secs_f64() * 1000.0),
    ]);
    drop(idle);
    server.stop().await?;

    let server = Server::start().await?;
    let process = server.program.id().context("the hub has ended")?;
    login(&server).await?;
    let before = resident(process)?;
    let mut peak = before;
    let ports = [server.port("mqtts")?, server.port("https")?, server.port("amqps")?, server.port("amqp")?];
    for batch in 0..HALF_OPEN / AT_ONCE {
        let held = idle_on(&ports, AT_ONCE, batch).await;
        peak = peak.max(resident(process)?);
        drop(held);
    }
    tokio::time::sleep(SETTLE).await;
    let after = resident(process)?;
    let mega = |kilobytes: u64| format!("{:.1} MB", kilobytes as f64 / 1024.0);
    table.add_row([
        &format!("memory before, during and after {HALF_OPEN} half-open connections"),
        &format!("{}, {}, {}", mega(before), mega(peak), mega(after)),
    ]);
    server.stop().await?;
    Ok(table)
}

/// Returns the number of logins that failed, and the time that the slowest took.
async fn logins_among_strangers(server: &Server) -> Result<(usize, Duration)> {
    let port = server.port("mqtts")?;
    let trust = Trust::in_file(Path::new(server.ca_file()?))?;
    let mut strangers = JoinSet::<()>::new();
    for _ in 0..TLS_STRANGERS {
        let trust = trust.clone();
        strangers.spawn(async move {
            loop {
                // One that cannot connect, or is cut, comes again.
                let _cut = stranger(&trust, port).await;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (mut failed, mut slowest) = (0, Duration::ZERO);
    for _ in 0..LOGINS {
        match login_once(server).await {
            Ok(took) => slowest = slowest.max(took),
            Err(_) => failed += 1,
        }
    }
    Ok((failed, slowest))
}

async fn stranger(trust: &Trust, port: u16) -> Result<()> {
    let mut stream = trust.try_connect(port).await?;
    // The hub says nothing to a stranger; this waits until it is cut.
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// Connects the hub's own device once. Returns the time that it took.
async fn login_once(server: &Server) -> Result<Duration> {
    let start = Instant::now();
    let client = DeviceClient::builder(server.device_string()?).connect().await?;
    let took = start.elapsed();
    client.shutdown().await?;
    Ok(took)
}

/// Connects the hub's own device, however often it must try. Returns the time that it took.
async fn login(server: &Server) -> Result<Duration> {
    let start = Instant::now();
    while let Err(error) = login_once(server).await {
        anyhow::ensure!(start.elapsed() < PATIENCE, "no login in {PATIENCE:?}: {error:#}");
    }
    Ok(start.elapsed())
}

async fn idle(port: u16, count: usize) -> Vec<TcpStream> {
    idle_on(&[port], count, 0).await
}

/// Connections that send nothing, or one byte.
async fn idle_on(ports: &[u16], count: usize, batch: usize) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(count);
    for number in 0..count {
        let port = ports[(batch + number) % ports.len()];
        if let Ok(stream) = try_tcp(port).await {
            // The hub may have cut it already.
            stream.try_write(&[0x16]).ok();
            held.push(stream);
        }
    }
    held
}
