//! This file carries out the commands of `iothub twin`.

use anyhow::Context as _;
use iothub_rest_service::Target;

use crate::args::TwinCommand;
use crate::hub::Hub;
use crate::output::print_json;

pub(crate) async fn run(command: TwinCommand, hub: &Hub) -> anyhow::Result<()> {
    let TwinCommand::Show { target, module } = command;
    let device = target.id()?;
    let twin = hub.client.twins().get(Target::new(&device, module.as_ref())).await?;
    print_json(&serde_json::to_value(&twin).context("could not write the twin as JSON")?)
}
