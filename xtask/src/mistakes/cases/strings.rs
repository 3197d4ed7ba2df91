//! This file makes mistakes with the settings of a program: variables, connection strings, the CA, the model id.

use anyhow::{Context, Result, bail};
use iothub_local_hub::PolicyName;
use iothub_models::ModelId;

use crate::mistakes::stage::{DEVICE_STRING, SERVICE_STRING, Stage};

pub(super) async fn missing_variable(stage: &Stage) -> Result<String> {
    stage.sample_fails("simulated_device", &[]).await
}

pub(super) async fn unusable_variable(stage: &Stage) -> Result<String> {
    stage.sample_fails("simulated_device", &[(DEVICE_STRING, "my-device")]).await
}

pub(super) async fn hub_string_for_a_device(stage: &Stage) -> Result<String> {
    let string = stage.service(PolicyName::IotHubOwner);
    stage.sample_fails("simulated_device", &[(DEVICE_STRING, &string)]).await
}

pub(super) async fn device_string_for_a_back_end(stage: &Stage) -> Result<String> {
    stage.iothub_fails(&stage.device, "device list").await
}

/// Sets a string without quotes, which a shell ends at the first semicolon.
pub(super) async fn truncated_string(stage: &Stage) -> Result<String> {
    let (host, _) = stage.device.split_once(';').context("the device's string has one part")?;
    stage.sample_fails("simulated_device", &[(DEVICE_STRING, host)]).await
}

/// Sets a string that was marked with the mouse, but for the end of its line.
pub(super) async fn truncated_key(stage: &Stage) -> Result<String> {
    let key = stage.device.find("SharedAccessKey=").context("the device's string has no key")?;
    let half = stage.device.get(..key + "SharedAccessKey=".len() + 21).context("its key is short")?;
    stage.sample_fails("simulated_device", &[(DEVICE_STRING, half)]).await
}

pub(super) async fn quotes(stage: &Stage) -> Result<String> {
    let string = format!("'{}'", stage.device);
    stage.sample_fails("simulated_device", &[(DEVICE_STRING, &string)]).await
}

/// Sets a string out of a mail or a narrow terminal, where a line ends in the middle of the key.
pub(super) async fn line_break(stage: &Stage) -> Result<String> {
    let key = stage.device.find("SharedAccessKey=").context("the device's string has no key")?;
    let (first, second) = stage.device.split_at(key + "SharedAccessKey=".len() + 20);
    let string = format!("{first}\n{second}");
    stage.sample_fails("simulated_device", &[(DEVICE_STRING, &string)]).await
}

pub(super) async fn export(stage: &Stage) -> Result<String> {
    let string = format!("export {SERVICE_STRING}='{}'", stage.service(PolicyName::IotHubOwner));
    stage.iothub_fails(&string, "device list").await
}

pub(super) async fn missing_ca(stage: &Stage) -> Result<String> {
    let string = stage.service(PolicyName::IotHubOwner).replace("ca.pem", "gone.pem");
    stage.iothub_fails(&string, "device list").await
}

/// Sets the string of one hub with the CA of another, as when the folder of the keys was deleted in between.
pub(super) async fn other_ca(stage: &Stage) -> Result<String> {
    let other = Stage::new().await?;
    let (own, others) = (stage.hub.ca_file().display(), other.hub.ca_file().display());
    let string = stage.service(PolicyName::IotHubOwner).replace(&own.to_string(), &others.to_string());
    let told = stage.iothub_fails(&string, "device list").await;
    other.end().await;
    told
}

/// Makes the error that a copy of pnp_thermostat prints, and nothing else, if its `MODEL_ID` has no version. No such
/// copy is built and run for it.
pub(super) async fn bad_model_id(stage: &Stage) -> Result<String> {
    match "dtmi:com:example:Thermostat".parse::<ModelId>() {
        Ok(_) => bail!("a model id without a version is taken"),
        Err(error) => stage.plain("cargo run", &error.to_string()),
    }
}
