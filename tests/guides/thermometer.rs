//! This file is the program of docs/guides/write-your-own-device.md, which that page pastes from here, with the test
//! that runs it against a hub.

// ANCHOR: program
use std::env;
use std::time::Duration;

use anyhow::Context as _;
use iothub_mqtt_device::serde_json::{Map, Value, json};
use iothub_mqtt_device::{DeviceClient, DirectMethodResponse, TelemetryMessage};
use tokio::time;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let connection_string = env::var("IOTHUB_DEVICE_CONNECTION_STRING")
        .context("set IOTHUB_DEVICE_CONNECTION_STRING to the device's connection string")?;
    let client = DeviceClient::connect(&connection_string).await?;
    println!("{} is connected", client.device_id());
    tokio::select! {
        ended = run(&client) => ended?,
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    client.shutdown().await?;
    Ok(())
}

/// Measures, does what back ends ask for, and reports, until the client is shut down.
async fn run(client: &DeviceClient) -> anyhow::Result<()> {
    let mut messages = client.c2d_messages().await?;
    let mut calls = client.direct_methods().await?;
    let mut desired = client.desired_properties().await?;

    let mut temperature = 28.0;
    let mut ticks = time::interval(interval_in(&desired.initial().properties));
    loop {
        // An operation that fails does not end the device: the client connects again by itself.
        let outcome = tokio::select! {
            _ = ticks.tick() => {
                temperature += 0.5;
                println!("{temperature} degrees");
                let reading = TelemetryMessage::json(json!({ "temperature": temperature }))?;
                client.send_telemetry(reading.property("unit", "celsius")).await
            }
            Some(call) = calls.next() => {
                println!("a back end calls {}", call.method());
                let answer = match call.method().as_str() {
                    "cool" => {
                        temperature = 20.0;
                        DirectMethodResponse::new(200, json!({ "temperature": temperature }))
                    }
                    other => DirectMethodResponse::new(404, format!("there is no method {other}")),
                };
                call.respond(answer)
            }
            message = messages.next() => {
                // Every stream ends with the client.
                let Some(message) = message else { return Ok(()) };
                println!("a back end says {}", message.body_text());
                message.complete()
            }
            Some(change) = desired.next() => {
                let interval = interval_in(change.properties());
                ticks = time::interval(interval);
                let report = json!({ "intervalSeconds": interval.as_secs() });
                client.update_reported_properties(&report).await.map(drop)
            }
        };
        if let Err(error) = outcome {
            eprintln!("{error}");
        }
    }
}

/// How often to measure: what a back end desires, or every two seconds.
fn interval_in(desired: &Map<String, Value>) -> Duration {
    let seconds = desired.get("intervalSeconds").and_then(Value::as_u64).unwrap_or(2);
    Duration::from_secs(seconds.clamp(1, 3600))
}
// ANCHOR_END: program

use iothub_local_hub::{LocalHub, TwinPatch};
use iothub_mqtt_device::{C2dMessage, DeviceId};
use iothub_rest_service::DirectMethodRequest;

use crate::device_client::soon;

#[tokio::test]
async fn it_does_what_the_page_says() {
    let hub = LocalHub::builder().start().await.unwrap();
    let id: DeviceId = "my-device".parse().unwrap();
    let client = DeviceClient::connect(&hub.create_device(&id).await.unwrap()).await.unwrap();
    let running = {
        let client = client.clone();
        tokio::spawn(async move { run(&client).await })
    };

    soon(hub.wait_until(|hub| !hub.telemetry().is_empty())).await;
    let first = &hub.telemetry()[0].message;
    assert_eq!(first.body, r#"{"temperature":28.5}"#);
    assert_eq!(first.properties.get("unit"), Some("celsius"));
    assert_eq!(first.content_type.as_deref(), Some("application/json"));

    let call = |name: &str| DirectMethodRequest::new(name.parse().unwrap());
    let cooled = soon(hub.invoke_method(&id, &call("cool"))).await.unwrap();
    assert_eq!((cooled.status, cooled.payload), (200, json!({"temperature": 20.0})));
    assert_eq!(soon(hub.invoke_method(&id, &call("heat"))).await.unwrap().status, 404);

    hub.update_twin(&id, &TwinPatch::new().desired("intervalSeconds", 60)).await.unwrap();
    let reported = |hub: &iothub_local_hub::RunningHub| hub.twin(&id).unwrap().properties.reported.properties;
    soon(hub.wait_until(|hub| reported(hub).get("intervalSeconds") == Some(&json!(60)))).await;

    hub.send_c2d(&id, C2dMessage::new("well done")).await.unwrap();
    soon(hub.wait_until(|hub| hub.pending_c2d(&id) == 0)).await;

    soon(client.shutdown()).await.unwrap();
    soon(running).await.unwrap().unwrap();
}
