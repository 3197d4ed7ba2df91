//! This file carries out the commands of `iothub method`. It prints the response of the device whatever its status; a
//! response that says that the device did not do what it was asked also makes the command fail.

use std::time::Duration;

use anyhow::ensure;
use iothub_models::{DirectMethodRequest, Identity};
use serde::Serialize;

use crate::args::MethodCommand;
use crate::hub::Hub;
use crate::output::{Json, json, print_json};

pub(crate) async fn run(command: MethodCommand, hub: &Hub) -> anyhow::Result<()> {
    let MethodCommand::Invoke { call, module, payload, response_timeout, connect_timeout } = command;
    let request = DirectMethodRequest::new(call.name.clone())
        .with_payload_json(&payload.json())?
        .with_response_timeout(Duration::from_secs(response_timeout))?
        .with_connect_timeout(Duration::from_secs(connect_timeout))?;
    let identity = Identity::new(call.device, module);
    let response = hub.client.invoke_method(identity, &request).await?;
    print_json(&PrintedResponse { status: response.status, payload: json(&response.payload_json())? })?;
    ensure!(
        response.status < FIRST_ERROR_STATUS,
        "the device answered the method {} with the status {}: it did not do what was asked",
        call.name,
        response.status
    );
    Ok(())
}

/// The lowest status that says that a device did not do what it was asked. Devices choose their statuses freely, and
/// most follow HTTP.
const FIRST_ERROR_STATUS: i32 = 400;

/// The response of the device or module as it is printed.
#[derive(Serialize)]
struct PrintedResponse {
    status: i32,
    payload: Json,
}
