//! [`Service`] is the back end's side of digital twins: ours, or a program of Microsoft's client.

use anyhow::Result;
use iothub_models::{DeviceId, DigitalTwinPatch};
use iothub_programs::program::Program;
use iothub_rest_service::{DirectMethodRequest, ErrorKind, Precondition, ServiceClient};
use serde_json::{Value, json};

use crate::language::Language;
use crate::site::Site;
use crate::talk::{LINE, result};

/// The device's answer to a command. Python's client does not show the status.
#[derive(Debug)]
pub(super) struct CommandAnswer {
    pub(super) status: Option<i64>,
    pub(super) payload: Value,
}

/// A back end on any of the clients, and the device it works on.
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
        let program = site.start_back_end(language, "pnp_service", &[])?;
        Ok(Self { device, client: Client::Theirs(Box::new(program)) })
    }

    /// The digital twin as it is on the wire.
    pub(super) async fn get(&mut self) -> Result<Value> {
        match &mut self.client {
            Client::Ours(client) => {
                let (twin, _) = client.digital_twins().get(&self.device).await?;
                Ok(Value::Object(twin.into_document()))
            }
            Client::Theirs(program) => {
                let mut answer = result(program, &json!({"op": "get", "device_id": self.device})).await?;
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
                result(program, &command).await.map(drop)
            }
        }
    }

    /// Calls a command of the root or of a component.
    pub(super) async fn command(
        &mut self,
        component: Option<&str>,
        name: &str,
        payload: &Value,
    ) -> Result<CommandAnswer> {
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
                Ok(CommandAnswer { status: Some(answer.status.into()), payload: answer.payload })
            }
            Client::Theirs(program) => {
                let mut command =
                    json!({"op": "command", "device_id": self.device, "name": name, "payload": payload});
                if let Some(component) = component {
                    command["component"] = component.into();
                }
                let mut answer = result(program, &command).await?;
                Ok(CommandAnswer { status: answer["status"].as_i64(), payload: answer["payload"].take() })
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
