//! This file carries out the commands of `iothub twin`.

use anyhow::Context as _;
use iothub_models::Identity;

use crate::args::TwinCommand;
use crate::hub::Hub;
use crate::output::print_json;

pub(crate) async fn run(command: TwinCommand, hub: &Hub) -> anyhow::Result<()> {
    let TwinCommand::Show { device, module } = command;
    let identity = Identity::new(device.id()?, module);
    let twin = hub.client.twins().get(identity).await?;
    print_json(&serde_json::to_value(&twin).context("could not write the twin as JSON")?)
}
