//! Carries out the commands of `iothub method`. The device's answer is the result, whatever its status.

use std::time::Duration;

use iothub_models::DirectMethodRequest;
use iothub_rest_service::Target;
use serde::Serialize;

use crate::args::MethodCommand;
use crate::hub::Hub;
use crate::output::{Json, json, print_json};

pub(crate) async fn run(command: MethodCommand, hub: &Hub) -> anyhow::Result<()> {
    let MethodCommand::Invoke { device, name, module, payload, response_timeout, connect_timeout } = command;
    let request = DirectMethodRequest::new(name)
        .with_payload_json(&payload.json())?
        .with_response_timeout(Duration::from_secs(response_timeout))?
        .with_connect_timeout(Duration::from_secs(connect_timeout))?;
    let target = Target::new(&device, module.as_ref());
    let answer = hub.client.invoke_method(target, &request).await?;
    print_json(&Answer { status: answer.status, payload: json(&answer.payload_json())? })
}

/// The device's answer as it is printed.
#[derive(Serialize)]
struct Answer {
    status: i32,
    payload: Json,
}
