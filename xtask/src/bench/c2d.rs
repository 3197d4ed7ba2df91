//! From `send` on the back end to the handler on the device, through the hub's program over TLS on both
//! sides: one message at a time, so that nothing but the path itself is measured.

use std::time::Instant;

use anyhow::{Context, Result};
use comfy_table::Table;
use hdrhistogram::Histogram;
use iothub_amqp_service::{C2dMessage, C2dSender, DeviceId};
use iothub_mqtt_device::DeviceClient;
use iothub_programs::steps::table;

use super::server::{DEVICE, Server};

/// Messages before anything is measured: caches, buffers and TCP windows find their size.
const WARM_UP: usize = 500;
const MESSAGES: usize = 5000;

pub(super) async fn measure() -> Result<Table> {
    let server = Server::start().await?;
    let device = DeviceClient::connect(server.device_string()?).await?;
    let mut messages = device.c2d_messages().await?;
    let sender = C2dSender::connect(server.owner_string()?).await?;
    let to: DeviceId = DEVICE.parse()?;

    // Microseconds, up to a minute.
    let histogram = || Histogram::<u64>::new_with_max(60_000_000, 3);
    let mut arrived = histogram()?;
    let mut accepted = histogram()?;
    for number in 0..WARM_UP + MESSAGES {
        let started = Instant::now();
        let receive = async {
            let message = messages.next().await.context("the device has stopped")?;
            let took = started.elapsed();
            message.complete()?;
            anyhow::Ok(took)
        };
        let send = async {
            sender.send(&to, C2dMessage::new("twenty bytes of body")).await?;
            anyhow::Ok(started.elapsed())
        };
        let (handler, hub) = tokio::try_join!(receive, send)?;
        if number >= WARM_UP {
            arrived.record(u64::try_from(handler.as_micros())?)?;
            accepted.record(u64::try_from(hub.as_micros())?)?;
        }
    }
    sender.close().await?;
    device.shutdown().await?;
    server.stop().await?;

    let mut table = table(&["cloud-to-device message", "p50", "p99", "slowest"]);
    for (name, times) in [("sender to handler", arrived), ("sender to hub and back", accepted)] {
        let at = |quantile: f64| format!("{} µs", times.value_at_quantile(quantile));
        table.add_row([name, &at(0.5), &at(0.99), &format!("{} µs", times.max())]);
    }
    Ok(table)
}
