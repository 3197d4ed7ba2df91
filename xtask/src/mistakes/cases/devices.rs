//! This file makes the mistakes that the hub refuses: ids, keys, policies, disabled devices, clocks, and one device in
//! two programs.

use std::time::Duration;

use anyhow::Result;
use iothub_local_hub::PolicyName;
use iothub_models::DeviceStatus;
use iothub_mqtt_device::DeviceConnectionString;
use iothub_programs::program::Program;
use iothub_rest_service::ServiceClient;

use crate::mistakes::stage::{DEVICE_ID, DEVICE_STRING, MY_DEVICE, SERVICE_STRING, SOON, Stage, id};

/// The time by which the clocks of hub and programs differ.
const THREE_DAYS: Duration = Duration::from_secs(3 * 24 * 60 * 60);

pub(super) async fn typo_in_an_id(stage: &Stage) -> Result<String> {
    let string = stage.service(PolicyName::Service);
    stage.sample_fails("send_c2d", &[(SERVICE_STRING, &string), (DEVICE_ID, "My-Device")]).await
}

pub(super) async fn unregistered(stage: &Stage) -> Result<String> {
    let other = id("my-devise")?;
    let string = stage.altered(|string| string.device_id = other)?;
    stage.sample_fails("simulated_device", &[(DEVICE_STRING, &string)]).await
}

pub(super) async fn wrong_key(stage: &Stage) -> Result<String> {
    let other = stage.hub.create_device(&id("my-other-device")?).await?;
    let other: DeviceConnectionString = other.parse()?;
    let string = stage.altered(|string| string.credential = other.credential)?;
    let told = stage.sample_fails("simulated_device", &[(DEVICE_STRING, &string)]).await;
    stage.hub.delete_device(&id("my-other-device")?).await?;
    told
}

pub(super) async fn wrong_policy(stage: &Stage) -> Result<String> {
    stage.iothub_fails(&stage.service(PolicyName::Service), "device create my-other-device").await
}

pub(super) async fn wrong_policy_of_a_sender(stage: &Stage) -> Result<String> {
    let string = stage.service(PolicyName::RegistryRead);
    stage.sample_fails("send_c2d", &[(SERVICE_STRING, &string), (DEVICE_ID, MY_DEVICE)]).await
}

pub(super) async fn disabled() -> Result<String> {
    let stage = with_disabled_device().await?;
    let told = stage.sample_fails("simulated_device", &[(DEVICE_STRING, &stage.device)]).await;
    stage.end().await;
    told
}

pub(super) async fn message_for_a_disabled() -> Result<String> {
    let stage = with_disabled_device().await?;
    let string = stage.service(PolicyName::Service);
    let told = stage.sample_fails("send_c2d", &[(SERVICE_STRING, &string), (DEVICE_ID, MY_DEVICE)]).await;
    stage.end().await;
    told
}

async fn with_disabled_device() -> Result<Stage> {
    let stage = Stage::new().await?;
    let client = ServiceClient::from_connection_string(&stage.service(PolicyName::IotHubOwner))?;
    let mut identity = client.devices().get(&id(MY_DEVICE)?).await?;
    identity.status = DeviceStatus::Disabled;
    client.devices().update(&identity).await?;
    Ok(stage)
}

/// Returns the message of the first of two programs when the second one connects.
pub(super) async fn twice(stage: &Stage) -> Result<String> {
    const SHOWN: &str = "cargo run -p simulated_device";
    let start =
        || Program::start(SHOWN, stage.command("simulated_device", &[(DEVICE_STRING, &stage.device)]));
    let ready = |line: &str| line.starts_with("Waiting for C2D messages");
    let mut first = start()?;
    first.until("the first to be connected", SOON, ready).await?;
    let before = first.errors().len();
    let mut second = start()?;
    second.until("the second to be connected", SOON, ready).await?;
    let told = first.until_error("a lost connection", SOON, before).await?;
    first.interrupt_and_wait(SOON).await?;
    second.interrupt_and_wait(SOON).await?;
    stage.plain(SHOWN, &first.lines().into_iter().take(2).chain([told]).collect::<Vec<_>>().join("\n"))
}

pub(super) async fn wrong_clock() -> Result<String> {
    let stage = Stage::new().await?;
    stage.hands.advance(THREE_DAYS);
    let told = stage.sample_fails("simulated_device", &[(DEVICE_STRING, &stage.device)]).await;
    stage.end().await;
    told
}

pub(super) async fn wrong_clock_of_a_back_end() -> Result<String> {
    let stage = Stage::new().await?;
    stage.hands.advance(THREE_DAYS);
    let told = stage.iothub_fails(&stage.service(PolicyName::IotHubOwner), "device list").await;
    stage.end().await;
    told
}
