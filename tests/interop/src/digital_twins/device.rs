//! [`Device`] is a Plug and Play device: one of our samples, or a program of Microsoft's client.

use anyhow::{Context, Result, bail};
use iothub_programs::program::Program;
use iothub_programs::workspace;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::language::Language;
use crate::site::Site;
use crate::talk::{LINE, hear};

/// A running device that follows the conventions.
pub(super) enum Device {
    /// A sample. It prints a sentence for each thing that happens, and its telemetry in between.
    Sample(Program),
    /// A program, which prints JSON.
    Theirs(Program),
}

impl Device {
    /// Starts a thermostat or a controller of two, and waits until it is connected and has reported all its
    /// properties.
    pub(super) async fn start(site: &Site, language: Language, id: &str, kind: &str) -> Result<Self> {
        let identity = site.create_device(id).await?;
        if language == Language::Rust {
            let name = if kind == "thermostat" { "pnp_thermostat" } else { "pnp_temperature_controller" };
            let mut command = Command::new(workspace::program(name));
            command.env("IOTHUB_DEVICE_CONNECTION_STRING", site.credential(&identity)?.reveal());
            let mut program = Program::start(name, command)?;
            sentence(&mut program, "Waiting for property writes and commands, press Ctrl-C to exit").await?;
            return Ok(Self::Sample(program));
        }
        let mut program = site.start_device(language, "pnp_device", &[kind], &site.credential(&identity)?)?;
        line(&mut program, "connected", &json!({})).await?;
        Ok(Self::Theirs(program))
    }

    /// The target it has when nothing was ever desired.
    pub(super) const fn default_target(&self) -> f64 {
        match self {
            Self::Sample(_) => 20.0,
            Self::Theirs(_) => 20.5,
        }
    }

    /// The words of its acknowledgements.
    pub(super) const fn acknowledges_with(&self) -> &'static str {
        match self {
            Self::Sample(_) => "the new target",
            Self::Theirs(_) => "now the target",
        }
    }

    /// Waits until the device has been told of a property and has acknowledged it.
    pub(super) async fn was_written(
        &mut self,
        component: Option<&str>,
        property: &str,
        value: &Value,
    ) -> Result<()> {
        match self {
            Self::Sample(program) => {
                let name = name(component, property);
                sentence(program, &format!("Property {name} written: {value}, answered with 200")).await
            }
            Self::Theirs(program) => {
                let told = json!({"component": component, "property": property, "value": value});
                line(program, "desired", &told).await?;
                line(program, "acknowledged", &told).await
            }
        }
    }

    /// Waits until the device has been told of a property, which it may refuse.
    pub(super) async fn was_told(
        &mut self,
        component: Option<&str>,
        property: &str,
        value: &Value,
    ) -> Result<()> {
        match self {
            Self::Sample(program) => {
                let name = name(component, property);
                sentence(program, &format!("Property {name} written: {value}, ")).await
            }
            Self::Theirs(program) => {
                let told = json!({"component": component, "property": property, "value": value});
                line(program, "desired", &told).await
            }
        }
    }

    /// Waits until the device has answered a command with this status.
    pub(super) async fn was_called(&mut self, name: &str, payload: &Value, status: u16) -> Result<()> {
        match self {
            Self::Sample(program) => {
                sentence(program, &format!("Command {name} called, answered with {status}")).await
            }
            Self::Theirs(program) => {
                line(program, "command", &json!({"name": name, "payload": payload})).await
            }
        }
    }

    pub(super) async fn stop(self) -> Result<()> {
        match self {
            Self::Sample(mut program) => {
                program.interrupt()?;
                program.end_well(LINE).await
            }
            Self::Theirs(mut program) => program.end_well(LINE).await,
        }
    }
}

/// Returns the name of a property as a sample prints it.
fn name(component: Option<&str>, property: &str) -> String {
    component.map_or(property.to_owned(), |component| format!("{component}.{property}"))
}

/// The next sentence of a sample, but for its telemetry, begins like this.
async fn sentence(program: &mut Program, wanted: &str) -> Result<()> {
    loop {
        let line = program.next_line(LINE).await.with_context(|| format!("waiting for {wanted:?}"))?;
        match line {
            Some(line) if line.starts_with(wanted) => return Ok(()),
            Some(line)
                if ["Starting", "Connected", "Properties", "Sending"]
                    .iter()
                    .any(|word| line.starts_with(word)) => {}
            _ => bail!(program.complaint(format!("should have said {wanted:?}"))),
        }
    }
}

/// The next line is of this kind, and has these members.
async fn line(program: &mut Program, kind: &str, members: &Value) -> Result<()> {
    let line = hear(program).await.with_context(|| format!("waiting for {kind:?}"))?;
    let has = |(name, value): (&String, &Value)| line[name] == *value;
    if line["event"] != kind || !members.as_object().into_iter().flatten().all(has) {
        bail!(program.complaint(format!("should have said {kind:?} with {members}")));
    }
    Ok(())
}
