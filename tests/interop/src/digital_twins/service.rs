//! The back end's side of digital twins: ours, or a program of Microsoft's client.

use iothub_programs::program::Program;
use anyhow::{Result, bail};
use iothub_models::{DeviceId, DigitalTwinPatch};
use iothub_rest_service::{DirectMethodRequest, ErrorKind, Precondition, ServiceClient};
use serde_json::{Value, json};

use crate::language::Language;
use crate::ours::{LINE, Site};
use crate::talk::ask;

/// A command's answer; Python's client keeps the status to itself.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Option<i64>,
    pub(super) payload: Value,
}

/// A back end of whichever client, and the device it works on.
pub(super) struct Service {
    device: DeviceId,
    client: Client,
}

enum Client {
    Ours(ServiceClient),
    Theirs(Box<Program>),
}

impl Service {
    pub(super) fn start(site: &Site, language: Language, device: &str) -> Result<Self> {
        let device = device.parse()?;
        if language == Language::Rust {
            return Ok(Self { device, client: Client::Ours(site.service().clone()) });
        }
        let name = language.program("pnp_service");
        let mut command = site.command(&name);
        command.env("IOTHUB_CONNECTION_STRING", site.owner_string());
        Ok(Self { device, client: Client::Theirs(Box::new(Program::start(&name, command)?)) })
    }

    /// The digital twin as it is on the wire.
    pub(super) async fn get(&mut self) -> Result<Value> {
        match &mut self.client {
            Client::Ours(client) => {
                let (twin, _) = client.digital_twins().get(&self.device).await?;
                Ok(Value::Object(twin.into_document()))
            }
            Client::Theirs(program) => {
                let mut answer = call(program, &json!({"op": "get", "device_id": self.device})).await?;
                Ok(answer["twin"].take())
            }
        }
    }

    /// Applies a JSON-Patch.
    pub(super) async fn update(&mut self, patch: &Value) -> Result<()> {
        match &mut self.client {
            Client::Ours(client) => {
                let patch = DigitalTwinPatch::parse(patch.to_string().as_bytes())?;
                let twins = client.digital_twins();
                loop {
                    // The device may report between the two.
                    let precondition = Precondition::IfMatch(twins.get(&self.device).await?.1);
                    match twins.update(&self.device, &patch, precondition).await {
                        Err(error) if error.kind() == ErrorKind::PreconditionFailed => {}
                        outcome => return Ok(outcome.map(drop)?),
                    }
                }
            }
            Client::Theirs(program) => {
                let command = json!({"op": "update", "device_id": self.device, "patch": patch});
                call(program, &command).await.map(drop)
            }
        }
    }

    /// Calls a command of the root or of a component.
    pub(super) async fn command(
        &mut self,
        component: Option<&str>,
        name: &str,
        payload: &Value,
    ) -> Result<Answer> {
        match &mut self.client {
            Client::Ours(client) => {
                let request = DirectMethodRequest::new(name.parse()?).with_payload(payload.clone());
                let twins = client.digital_twins();
                let answer = match component {
                    Some(component) => {
                        twins.invoke_component_command(&self.device, &component.parse()?, &request).await?
                    }
                    None => twins.invoke_command(&self.device, &request).await?,
                };
                Ok(Answer { status: Some(answer.status.into()), payload: answer.payload })
            }
            Client::Theirs(program) => {
                let mut command =
                    json!({"op": "command", "device_id": self.device, "name": name, "payload": payload});
                if let Some(component) = component {
                    command["component"] = component.into();
                }
                let mut answer = call(program, &command).await?;
                Ok(Answer { status: answer["status"].as_i64(), payload: answer["payload"].take() })
            }
        }
    }

    pub(super) async fn end(self) -> Result<()> {
        match self.client {
            Client::Ours(_) => Ok(()),
            Client::Theirs(mut program) => program.end_well(LINE).await,
        }
    }
}

async fn call(program: &mut Program, command: &Value) -> Result<Value> {
    let answer = ask(program, command).await?;
    if answer["event"] != "result" {
        bail!(program.complaint(format!("should have done {}", command["op"])));
    }
    Ok(answer)
}
