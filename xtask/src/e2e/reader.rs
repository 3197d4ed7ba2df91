//! [`Reader`] is the reader of a tutorial: it does one step after the other, prints the outcome of each, and tidies up
//! at the end.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use iothub_programs::steps::{Status, Step, human};
use iothub_programs::workspace;
use iothub_rest_service::{ErrorKind, Precondition, ServiceClient};
use tokio::process::Command;

use super::hub::Hub;
pub(super) use crate::variables::{DEVICE_ID, DEVICE_STRING, SERVICE_STRING};

/// The end of patience for one step, on any hub.
const STEP_DEADLINE: Duration = Duration::from_secs(90);

/// The end of patience for one answer or one line.
pub(super) const SOON: Duration = Duration::from_secs(30);

pub(super) struct Reader {
    steps: Vec<Step>,
    device_prefix: String,
    /// Devices that may be on the hub.
    devices: BTreeSet<String>,
}

impl Reader {
    pub(super) const fn new(device_prefix: String) -> Self {
        Self { steps: Vec::new(), device_prefix, devices: BTreeSet::new() }
    }

    /// Does one step and says how it went. `None` after a failure, so that `?` ends the walk.
    pub(super) async fn step<T>(&mut self, name: &str, work: impl Future<Output = Result<T>>) -> Option<T> {
        let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        let started = Instant::now();
        let outcome = match tokio::time::timeout(STEP_DEADLINE, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow!("not done after {}", human(STEP_DEADLINE))),
        };
        bar.finish_and_clear();
        let status = if outcome.is_ok() { Status::Passed } else { Status::Failed };
        self.note(name, status, started.elapsed());
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                println!("{error:#}");
                None
            }
        }
    }

    fn note(&mut self, name: &str, status: Status, took: Duration) {
        println!("  {}  {:>8}  {name}", status.as_str(), human(took));
        self.steps.push(Step { name: name.to_owned(), status, took });
    }

    /// A step that cannot be done here, and why.
    pub(super) fn skip(&mut self, name: &str, why: &str) {
        println!("{why}");
        self.note(name, Status::Skipped, Duration::ZERO);
    }

    /// Steps that a failure, or Ctrl-C, kept from being done.
    pub(super) fn skip_what_is_left(&mut self, plan: &[&str]) {
        for name in plan {
            if !self.steps.iter().any(|step| step.name == *name) {
                self.note(name, Status::Skipped, Duration::ZERO);
            }
        }
    }

    /// The id for a new device, which will be removed at the end.
    pub(super) fn new_device(&mut self, name: &str) -> String {
        let id = format!("{}{name}", self.device_prefix);
        self.devices.insert(id.clone());
        id
    }

    /// Removes what this run registered, or was about to register when it was interrupted.
    pub(super) async fn remove_devices(&mut self, hub: &Hub) {
        let devices = std::mem::take(&mut self.devices);
        if devices.is_empty() {
            return;
        }
        let removed = async {
            let service = ServiceClient::from_connection_string(hub.owner())?;
            for id in &devices {
                match service.devices().delete(&id.parse()?, Precondition::Any).await {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
            Ok(())
        };
        self.step("remove the device", removed).await;
    }

    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps
    }
}

/// Returns a command for one of the programs, with only these of the variables it reads.
pub(super) fn command(name: &str, variables: &[(&str, &str)]) -> Command {
    with_variables(Command::new(workspace::program(name)), variables)
}

/// Returns a command whose programs see only these of the variables they read.
pub(super) fn with_variables(mut command: Command, variables: &[(&str, &str)]) -> Command {
    crate::variables::set(&mut command, variables);
    command
}
