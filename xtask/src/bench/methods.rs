//! Direct methods, from the back end to the device's handler and back, with one and with a hundred in flight.
//! Through the hub's program, over TLS on both sides.

use std::time::Instant;

use anyhow::{Result, ensure};
use comfy_table::Table;
use hdrhistogram::Histogram;
use iothub_mqtt_device::{DeviceClient, DirectMethodResponse};
use iothub_programs::steps::table;
use iothub_rest_service::{DeviceId, DirectMethodRequest, ServiceClient};
use tokio::task::JoinSet;

use super::server::{DEVICE, Server};

/// Calls before anything is measured: connections are made, buffers find their size.
const WARM_UP: usize = 500;
const CALLS: usize = 5000;

pub(super) async fn measure() -> Result<Table> {
    let server = Server::start().await?;
    let device = DeviceClient::connect(server.device_string()?).await?;
    let mut calls = device.direct_methods().await?;
    let answering = tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            let payload = call.payload().clone();
            call.respond(DirectMethodResponse::new(200, payload))?;
        }
        anyhow::Ok(())
    });
    let back_end = ServiceClient::from_connection_string(server.owner_string()?)?;

    let mut table = table(&["direct method, there and back", "p50", "p99", "slowest", "calls per second"]);
    for in_flight in [1, 100] {
        call(&back_end, in_flight, WARM_UP).await?;
        let started = Instant::now();
        let times = call(&back_end, in_flight, CALLS).await?;
        let rate = CALLS as f64 / started.elapsed().as_secs_f64();
        let at = |quantile: f64| format!("{} µs", times.value_at_quantile(quantile));
        let slowest = format!("{} µs", times.max());
        table.add_row([
            &format!("{in_flight} in flight"),
            &at(0.5),
            &at(0.99),
            &slowest,
            &format!("{rate:.0}"),
        ]);
    }
    device.shutdown().await?;
    answering.await??;
    server.stop().await?;
    Ok(table)
}

/// Makes so many calls, so many of them at a time; how long each took, in microseconds.
async fn call(back_end: &ServiceClient, in_flight: usize, calls: usize) -> Result<Histogram<u64>> {
    let id: DeviceId = DEVICE.parse()?;
    // Up to a minute.
    let histogram = || Histogram::<u64>::new_with_max(60_000_000, 3);
    let mut callers = JoinSet::new();
    for caller in 0..in_flight {
        let (back_end, id, mut times) = (back_end.clone(), id.clone(), histogram()?);
        callers.spawn(async move {
            for _ in 0..calls / in_flight {
                let request = DirectMethodRequest::new("echo".parse()?).with_payload(caller);
                let started = Instant::now();
                let answer = back_end.invoke_method(&id, &request).await?;
                times.record(u64::try_from(started.elapsed().as_micros())?)?;
                ensure!(answer.payload == caller, "another call's answer came");
            }
            anyhow::Ok(times)
        });
    }
    let mut times = histogram()?;
    while let Some(ended) = callers.join_next().await {
        times.add(ended??)?;
    }
    Ok(times)
}
