//! This file carries out the commands of `iothub method`. It prints the device's answer whatever its status; an
//! answer that says that the device did not do it also makes the command fail.

use std::time::Duration;

use anyhow::ensure;
use iothub_models::DirectMethodRequest;
use iothub_rest_service::Target;
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
    let target = Target::new(&call.device, module.as_ref());
    let answer = hub.client.invoke_method(target, &request).await?;
    print_json(&Answer { status: answer.status, payload: json(&answer.payload_json())? })?;
    ensure!(
        answer.status < FIRST_ERROR_STATUS,
        "the device answered the method {} with the status {}: it did not do what was asked",
        call.name,
        answer.status
    );
    Ok(())
}

/// The lowest status that says that a device did not do what it was asked. Devices choose their statuses freely,
/// and most follow HTTP.
const FIRST_ERROR_STATUS: i32 = 400;

/// The device's answer as it is printed.
#[derive(Serialize)]
struct Answer {
    status: i32,
    payload: Json,
}
