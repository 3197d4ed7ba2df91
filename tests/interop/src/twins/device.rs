//! [`Device`] is the device's side of twins: ours, or a program of Microsoft's client.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};
use iothub_auth::DeviceConnectionString;
use iothub_models::TwinSection;
use iothub_mqtt_device::{DesiredChange, DesiredProperties, DeviceClient, ErrorKind, ModuleClient};
use iothub_programs::program::Program;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::steps::properties;
use crate::language::Language;
use crate::login::Login;
use crate::site::Site;
use crate::talk::{LINE, hear};

/// Our client, connected and listening. It takes a device's string too, as in the tutorial of twins.
pub(super) struct Ours {
    client: ModuleClient,
    changes: DesiredProperties,
}

/// A program of Microsoft's client, connected and listening.
pub(super) struct Theirs {
    program: Program,
    /// The changes that it told of while another answer was awaited.
    changes: VecDeque<Value>,
}

/// A device or module on any of the clients.
pub(super) enum Device {
    Ours(Box<Ours>),
    Theirs(Box<Theirs>),
}

impl Device {
    pub(super) async fn start(
        site: &Site,
        language: Language,
        credential: &DeviceConnectionString,
    ) -> Result<Self> {
        if language == Language::Rust {
            let client = ModuleClient::connect(credential).await?;
            let changes = client.desired_properties().await?;
            return Ok(Self::Ours(Box::new(Ours { client, changes })));
        }
        Self::with_login(site, language, credential.into()).await
    }

    /// Starts a device or module on one of Microsoft's clients, which connects as its login says.
    pub(super) async fn with_login(site: &Site, language: Language, login: Login) -> Result<Self> {
        let program = site.start_device(language, "twin_device", &[], login)?;
        let mut theirs = Theirs { program, changes: VecDeque::new() };
        theirs.event("connected").await?;
        Ok(Self::Theirs(Box::new(theirs)))
    }

    /// The device's twin: `desired` and `reported`.
    pub(super) async fn twin(&mut self) -> Result<Value> {
        match self {
            Self::Ours(ours) => Ok(serde_json::to_value(ours.client.twin().await?)?),
            Self::Theirs(theirs) => {
                theirs.say(json!({"cmd": "get_twin"})).await?;
                Ok(theirs.event("twin").await?["twin"].take())
            }
        }
    }

    /// Lays a patch over the reported properties; whether the hub took it.
    pub(super) async fn report(&mut self, patch: &Map<String, Value>) -> Result<bool> {
        match self {
            Self::Ours(ours) => match ours.client.update_reported_properties(patch).await {
                Ok(_) => Ok(true),
                Err(error) => match error.kind() {
                    ErrorKind::InvalidArgument | ErrorKind::TooLarge => Ok(false),
                    _ => Err(error.into()),
                },
            },
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

    /// The change of desired properties to this version. Node tells older ones again, as a part of what
    /// it reads anew; what comes is never newer than asked for, and from ours never older.
    pub(super) async fn change(&mut self, version: i64) -> Result<Value> {
        match self {
            Self::Ours(ours) => {
                let change = ours.next().await?;
                let told = change.version();
                ensure!(told == version, "version {told} was told where {version} was expected");
                serde_json::from_str(&change.to_string()).context("a change is not shown as JSON")
            }
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

    /// The desired properties as this client keeps them for a program that knew `known`: ours by applying
    /// the change to this version, Node's in its own twin, which is not read again. Python's client keeps
    /// none.
    pub(super) async fn kept(
        &mut self,
        known: &Map<String, Value>,
        version: i64,
    ) -> Result<Map<String, Value>> {
        match self {
            Self::Ours(_) => self.caught_up(known, version).await,
            Self::Theirs(_) => {
                self.change(version).await?;
                let Self::Theirs(theirs) = self else { bail!("another client") };
                theirs.say(json!({"cmd": "known_twin"})).await?;
                Ok(properties(&theirs.event("twin").await?["twin"]["desired"]))
            }
        }
    }

    /// The desired properties of this version, as a program has them that knew these when the connection
    /// was lost and brings them up to date with what it was told since.
    pub(super) async fn caught_up(
        &mut self,
        known: &Map<String, Value>,
        version: i64,
    ) -> Result<Map<String, Value>> {
        match self {
            Self::Ours(ours) => {
                let mut section = TwinSection { properties: known.clone(), ..TwinSection::default() };
                while section.version < version {
                    let change = ours.next().await?;
                    ensure!(change.version() > section.version, "version {} came again", change.version());
                    change.apply_to(&mut section);
                }
                ensure!(section.version == version, "version {} is none there was", section.version);
                Ok(section.properties)
            }
            // They tell the whole section in the form of a patch, which does not say what is gone.
            Self::Theirs(_) => Ok(properties(&self.change(version).await?)),
        }
    }

    /// Falls asleep, and another connection of the same identity takes its place.
    pub(super) async fn sleep(&mut self, credential: &DeviceConnectionString) -> Result<()> {
        match self {
            // What is in our own process cannot be held: it fights for its place at once, and wins.
            Self::Ours(_) => {}
            Self::Theirs(theirs) => theirs.program.sleep().await?,
        }
        let other = DeviceClient::builder(credential).connect().await.context("the other connection")?;
        Ok(other.shutdown().await?)
    }

    /// Wakes up and connects again.
    pub(super) async fn wake(&mut self) -> Result<()> {
        match self {
            // Its calls wait for the connection.
            Self::Ours(_) => Ok(()),
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

    /// Disconnects the device.
    pub(super) async fn stop(self) -> Result<()> {
        match self {
            Self::Ours(ours) => Ok(ours.client.shutdown().await?),
            Self::Theirs(mut theirs) => theirs.program.end_well(LINE).await,
        }
    }
}

impl Ours {
    async fn next(&mut self) -> Result<DesiredChange> {
        let next = timeout(LINE, self.changes.next()).await.context("our device was told nothing")?;
        next.context("our device has stopped")
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
            let event = hear(&mut self.program).await.with_context(|| format!("waiting for {kind:?}"))?;
            match event["event"].as_str() {
                Some(name) if name == kind || name == "error" => return Ok(event),
                Some("desired") => self.changes.push_back(event),
                Some("connection") => {}
                _ => bail!(self.program.complaint(format!("printed something else than {kind:?}"))),
            }
        }
    }
}
