//! The device's side of twins: ours, or a program of Microsoft's client.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};
use iothub_auth::DeviceConnectionString;
use iothub_mqtt_device::DeviceClient;
use serde_json::{Map, Value, json};

use crate::interop::language::Language;
use crate::interop::ours::{LINE, Site};
use crate::program::Program;

/// A program of Microsoft's client, connected and listening.
pub(super) struct Theirs {
    program: Program,
    /// Changes it told of while another answer was awaited.
    changes: VecDeque<Value>,
}

/// A device or a module of whichever client.
pub(super) enum Device {
    Theirs(Box<Theirs>),
}

impl Device {
    pub(super) async fn start(
        site: &Site,
        language: Language,
        credential: &DeviceConnectionString,
    ) -> Result<Self> {
        let program = language.program("twin_device");
        let mut command = site.command(&program);
        command.env("IOTHUB_DEVICE_CONNECTION_STRING", site.as_official(credential));
        let program = Program::start(&program, command)?;
        let mut theirs = Theirs { program, changes: VecDeque::new() };
        theirs.event("connected").await?;
        Ok(Self::Theirs(Box::new(theirs)))
    }

    /// The device's twin: `desired` and `reported`.
    pub(super) async fn twin(&mut self) -> Result<Value> {
        match self {
            Self::Theirs(theirs) => {
                theirs.say(json!({"cmd": "get_twin"})).await?;
                Ok(theirs.event("twin").await?["twin"].take())
            }
        }
    }

    /// Lays a patch over the reported properties; whether the hub took it.
    pub(super) async fn report(&mut self, patch: &Map<String, Value>) -> Result<bool> {
        match self {
            Self::Theirs(theirs) => {
                theirs.say(json!({"cmd": "report", "patch": patch})).await?;
                let answer = theirs.event_or_error("reported").await?;
                ensure!(
                    answer["event"] == "reported" || answer["step"] == "report",
                    theirs.program.complaint("failed at something else".to_owned())
                );
                Ok(answer["event"] == "reported")
            }
        }
    }

    /// The change of desired properties to this version. A client may tell older ones again, as a part
    /// of what it reads anew; what comes is never newer than asked for.
    pub(super) async fn change(&mut self, version: i64) -> Result<Value> {
        match self {
            Self::Theirs(theirs) => loop {
                let mut change = theirs.event("desired").await?;
                let told = change["patch"]["$version"].as_i64().context("a change without $version")?;
                ensure!(told <= version, "version {told} was told where {version} was expected");
                if told == version {
                    return Ok(change["patch"].take());
                }
            },
        }
    }

    /// Falls asleep, and another connection of the same identity takes its place.
    pub(super) async fn sleep(&mut self, credential: &DeviceConnectionString) -> Result<()> {
        match self {
            Self::Theirs(theirs) => theirs.program.sleep()?,
        }
        let other = DeviceClient::builder(credential).connect().await.context("the other connection")?;
        Ok(other.shutdown().await?)
    }

    /// Wakes up and connects again.
    pub(super) async fn wake(&mut self) -> Result<()> {
        match self {
            Self::Theirs(theirs) => {
                theirs.program.wake()?;
                loop {
                    let event = theirs.event_or_error("connection").await?;
                    // Python tells the loss of a connection as an error of its own too.
                    let lost = event["event"] == "error" && event["step"] == "background";
                    ensure!(lost || event["event"] == "connection", "woke up to {event}");
                    if event["connected"] == true {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn stop(self) -> Result<()> {
        match self {
            Self::Theirs(mut theirs) => {
                theirs.program.close_input();
                theirs.program.end_well(LINE).await
            }
        }
    }
}

impl Theirs {
    async fn say(&mut self, command: Value) -> Result<()> {
        self.program.type_line(&command.to_string()).await
    }

    /// The next event of this kind; an error ends the case.
    async fn event(&mut self, kind: &str) -> Result<Value> {
        let event = self.event_or_error(kind).await?;
        if event["event"] != kind {
            bail!(self.program.complaint(format!("failed where {kind:?} was expected")));
        }
        Ok(event)
    }

    /// The next event of this kind, or the next error. Changes of desired properties wait to be asked
    /// for; those of the connection are passed over.
    async fn event_or_error(&mut self, kind: &str) -> Result<Value> {
        if kind == "desired"
            && let Some(change) = self.changes.pop_front()
        {
            return Ok(change);
        }
        loop {
            let line = self.program.next_line(LINE).await.with_context(|| format!("waiting for {kind:?}"))?;
            let Some(line) = line else {
                bail!(self.program.complaint(format!("ended before it printed {kind:?}")));
            };
            let event: Value = serde_json::from_str(&line).context("a line that is not JSON")?;
            match event["event"].as_str() {
                Some(name) if name == kind || name == "error" => return Ok(event),
                Some("desired") => self.changes.push_back(event),
                Some("connection") => {}
                _ => bail!(self.program.complaint(format!("printed something else than {kind:?}"))),
            }
        }
    }
}
