//! This file is the program of docs/guides/write-your-own-back-end.md, which that page pastes from here, with the tests
//! that run it against a hub and a device.

// ANCHOR: program
use std::env;

use anyhow::Context as _;
use iothub_amqp_service::serde_json::{self, Value};
use iothub_amqp_service::{C2dMessage, C2dSender, DeviceId, EventReader};
use iothub_rest_service::{DeviceIdentity, DirectMethodRequest, ErrorKind, ServiceClient};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let hub = env::var("IOTHUB_CONNECTION_STRING")
        .context("set IOTHUB_CONNECTION_STRING to the hub's connection string")?;
    tokio::select! {
        ended = run(&hub) => ended,
        stopped = tokio::signal::ctrl_c() => Ok(stopped?),
    }
}

/// Registers the device, then reads what devices measure and cools those that are too hot.
async fn run(hub: &str) -> anyhow::Result<()> {
    let client = ServiceClient::from_connection_string(hub)?;
    let sender = C2dSender::connect(hub).await?;
    let mut events = EventReader::open(hub).await?;

    let device = register(&client, "my-device".parse()?).await?;
    let device_string = client.devices().connection_string(&device)?;
    println!("export IOTHUB_DEVICE_CONNECTION_STRING='{}'", device_string.reveal());

    while let Some(event) = events.next().await {
        let event = event?;
        let Some(device) = &event.system_properties.device_id else { continue };
        let reading: Value = serde_json::from_slice(&event.body).unwrap_or_default();
        let Some(temperature) = reading["temperature"].as_f64() else { continue };
        println!("{device} measured {temperature}");
        if temperature > 30.0
            && let Err(error) = cool(&client, &sender, device, temperature).await
        {
            eprintln!("{device} was not cooled: {error:#}");
        }
    }
    Ok(())
}

/// The identity of the device, which is made if the hub does not know it yet.
async fn register(client: &ServiceClient, id: DeviceId) -> anyhow::Result<DeviceIdentity> {
    match client.devices().create(DeviceIdentity::new(id.clone())).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(client.devices().get(&id).await?),
        created => Ok(created?),
    }
}

/// Calls the device's method with what it measured, or leaves it a message if it does not listen now.
async fn cool(
    client: &ServiceClient,
    sender: &C2dSender,
    device: &DeviceId,
    temperature: f64,
) -> anyhow::Result<()> {
    let cool = DirectMethodRequest::new("cool".parse()?).with_payload(temperature);
    match client.invoke_method(device, &cool).await {
        Ok(answer) => println!("{device} answered {}: {}", answer.status, answer.payload),
        Err(error) if error.kind() == ErrorKind::DeviceNotOnline => {
            sender.send(device, C2dMessage::new("too hot").property("urgency", "high")).await?;
            println!("{device} has a message");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
// ANCHOR_END: program

use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_mqtt_device::{DeviceClient, DirectMethodResponse, TelemetryMessage};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::device_client::soon;

/// Starts a hub and the program, and connects the device that the program registered.
async fn setup() -> (RunningHub, JoinHandle<anyhow::Result<()>>, DeviceId, DeviceClient) {
    let hub = LocalHub::builder().start().await.unwrap();
    let owner = hub.connection_string(PolicyName::IotHubOwner);
    let program = tokio::spawn(async move { run(&owner).await });
    let id: DeviceId = "my-device".parse().unwrap();
    soon(hub.wait_until(|hub| hub.device_ids().contains(&id))).await;
    let client = DeviceClient::connect(&hub.device_connection_string(&id).unwrap()).await.unwrap();
    (hub, program, id, client)
}

async fn measure(client: &DeviceClient, temperature: f64) {
    let reading = TelemetryMessage::json(json!({ "temperature": temperature })).unwrap();
    soon(client.send_telemetry(reading)).await.unwrap();
}

#[tokio::test]
async fn a_hot_device_is_cooled_and_a_cool_one_is_left_alone() {
    let (_hub, program, _, client) = setup().await;
    let mut calls = soon(client.direct_methods()).await.unwrap();
    soon(client.send_telemetry(TelemetryMessage::new("not JSON"))).await.unwrap();
    measure(&client, 29.0).await;
    measure(&client, 31.5).await;
    let call = soon(calls.next()).await.unwrap();
    assert_eq!((call.method().as_str(), call.payload()), ("cool", &json!(31.5)));
    call.respond(DirectMethodResponse::new(200, json!({"temperature": 20}))).unwrap();
    // The program goes on after the answer: the next hot reading is the next call.
    measure(&client, 32.0).await;
    assert_eq!(soon(calls.next()).await.unwrap().payload(), &json!(32.0));
    program.abort();
}

#[tokio::test]
async fn a_device_that_takes_no_calls_gets_a_message() {
    let (hub, program, id, client) = setup().await;
    measure(&client, 31.5).await;
    soon(hub.wait_until(|hub| hub.pending_c2d(&id) == 1)).await;
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    let message = soon(messages.next()).await.unwrap();
    assert_eq!((&*message.body_text(), message.properties.get("urgency")), ("too hot", Some("high")));
    message.complete().unwrap();
    program.abort();
}
