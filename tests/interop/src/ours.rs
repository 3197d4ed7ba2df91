//! The hub of a run and our side of every pairing: our registry client, our sender and our device, beside
//! the same three as programs of Microsoft's clients.

use std::path::PathBuf;
use std::time::Duration;

use iothub_programs::program::Program;
use anyhow::{Context, Result, bail, ensure};
use iothub_amqp_service::C2dSender;
use iothub_auth::{AdjustableClock, DeviceConnectionString, HubAddress, ServiceConnectionString};
use iothub_local_hub::RunningHub;
use iothub_models::{
    C2dMessage, DeviceId, DeviceIdentity, DeviceStatus, ModuleId, ModuleIdentity, Properties,
    TelemetryMessage,
};
use iothub_mqtt_device::{C2dMessages, DeviceClient};
use iothub_rest_service::{ErrorKind, Precondition, ServiceClient};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use super::language::{self, Language};
use super::message::{self, MessageCase, hex};

/// The end of patience for one line or one answer. Microsoft's clients try a refusal again before they
/// say so.
pub(super) const LINE: Duration = Duration::from_secs(75);

/// Where Microsoft's Rust client finds the endpoint without TLS, since it can be told in no string.
pub(super) const PLAIN_ENDPOINT: &str = "amqp://127.0.0.1:5672";

/// The hub under test and what clients need to know of it.
pub(super) struct Site {
    installed: PathBuf,
    ca: PathBuf,
    owner: ServiceConnectionString,
    registry: ServiceClient,
    embedded: Option<RunningHub>,
    /// The embedded hub's.
    time: Option<AdjustableClock>,
}

impl Site {
    pub(super) fn new(
        installed: PathBuf,
        ca: PathBuf,
        owner: ServiceConnectionString,
        embedded: Option<RunningHub>,
    ) -> Result<Self> {
        let address = HubAddress { trusted_ca_file: Some(ca.clone()), ..HubAddress::new("localhost") };
        let owner = ServiceConnectionString { address, ..owner };
        let registry = ServiceClient::builder(owner.clone()).build()?;
        Ok(Self { installed, ca, owner, registry, embedded, time: None })
    }

    /// With the hands of the embedded hub's clock.
    pub(super) fn with_time(self, time: AdjustableClock) -> Self {
        Self { time: Some(time), ..self }
    }

    /// Sets the embedded hub's clock forward.
    pub(super) fn advance(&self, by: Duration) -> Result<()> {
        self.time.as_ref().context("the hub's clock is the machine's")?.advance(by);
        Ok(())
    }

    /// How far the embedded hub's clock is ahead of the machine's.
    pub(super) fn ahead(&self) -> Result<Duration> {
        let time = self.time.as_ref().context("the hub's clock is the machine's")?;
        Ok(time.clock().now().duration_since(Timestamp::now()).try_into().unwrap_or_default())
    }

    pub(super) fn into_embedded(self) -> Option<RunningHub> {
        self.embedded
    }

    /// One of Microsoft's clients, ready to find and trust this hub.
    pub(super) fn command(&self, program: &str) -> Command {
        language::command(program, &self.installed, &self.ca)
    }

    /// The owner's string as a real hub's would look: none of our own keys, which others do not know.
    pub(super) fn owner_string(&self) -> String {
        ServiceConnectionString { address: HubAddress::new("localhost"), ..self.owner.clone() }.reveal()
    }

    /// The owner's string for our own clients.
    pub(super) const fn owner(&self) -> &ServiceConnectionString {
        &self.owner
    }

    /// What official clients of Event Hubs connect with: over TLS, or plain as to an emulator.
    pub(super) fn event_hubs_string(&self, plain: bool) -> Result<String> {
        let hub = self.embedded.as_ref().context("the hub is not embedded")?;
        Ok(if plain {
            hub.plain_event_hubs_connection_string()
        } else {
            hub.standard_event_hubs_connection_string()
        })
    }

    /// The same for our own client.
    pub(super) fn own_event_hubs_string(&self) -> Result<String> {
        let hub = self.embedded.as_ref().context("the hub is not embedded")?;
        Ok(hub.event_hubs_connection_string())
    }

    /// Cuts the embedded hub's AMQP connections, as a network does.
    pub(super) fn drop_amqp_connections(&self) -> Result<()> {
        self.embedded.as_ref().context("the hub is not embedded")?.drop_amqp_connections();
        Ok(())
    }

    /// The same of a device.
    pub(super) fn device_string(&self, identity: &DeviceIdentity) -> Result<String> {
        Ok(self.as_official(&self.credential(identity)?))
    }

    /// A connection string as a real hub's would look.
    pub(super) fn as_official(&self, credential: &DeviceConnectionString) -> String {
        DeviceConnectionString { address: HubAddress::new("localhost"), ..credential.clone() }.reveal()
    }

    /// Our own client of this hub.
    pub(super) const fn service(&self) -> &ServiceClient {
        &self.registry
    }

    pub(super) async fn create_module(&self, device: &str, module: &str) -> Result<()> {
        let identity = ModuleIdentity::new(device.parse()?, module.parse()?);
        self.registry.modules().create(identity).await?;
        Ok(())
    }

    /// What a module connects with.
    pub(super) async fn module_credential(
        &self,
        device: &DeviceId,
        module: &ModuleId,
    ) -> Result<DeviceConnectionString> {
        let identity = self.registry.modules().get(device, module).await?;
        let keys = identity.authentication.symmetric_key;
        let key = keys.and_then(|keys| keys.primary_key).context("the module has no key")?;
        let device = DeviceConnectionString::new(self.owner.address.clone(), device.clone(), key);
        Ok(DeviceConnectionString { module_id: Some(module.clone()), ..device })
    }

    pub(super) fn credential(&self, identity: &DeviceIdentity) -> Result<DeviceConnectionString> {
        let keys = identity.authentication.symmetric_key.clone();
        let key = keys.and_then(|keys| keys.primary_key).context("the device has no key")?;
        Ok(DeviceConnectionString::new(self.owner.address.clone(), identity.device_id.clone(), key))
    }

    pub(super) async fn create_device(&self, id: &str) -> Result<DeviceIdentity> {
        Ok(self.registry.devices().create(DeviceIdentity::new(id.parse()?)).await?)
    }

    /// Sends a message past every protocol, from inside the embedded hub.
    pub(super) async fn send_c2d(&self, id: &str, message: C2dMessage) -> Result<()> {
        let hub = self.embedded.as_ref().context("the hub is not embedded")?;
        Ok(hub.send_c2d(&id.parse()?, message).await?)
    }

    pub(super) async fn get_device(&self, id: &str) -> Result<DeviceIdentity> {
        Ok(self.registry.devices().get(&id.parse()?).await?)
    }

    pub(super) async fn has_device(&self, id: &str) -> Result<bool> {
        match self.registry.devices().get(&id.parse()?).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn disable_device(&self, identity: &DeviceIdentity) -> Result<()> {
        let mut disabled = identity.clone();
        disabled.status = DeviceStatus::Disabled;
        self.registry.devices().update(&disabled).await?;
        Ok(())
    }

    pub(super) async fn delete_device(&self, id: &str) -> Result<()> {
        Ok(self.registry.devices().delete(&id.parse()?, Precondition::Any).await?)
    }

    /// Waits until the device has acknowledged everything it was sent: that is when the hub forgets it.
    pub(super) async fn wait_for_empty_queue(&self, id: &str) -> Result<()> {
        let empty = async {
            while self.get_device(id).await?.cloud_to_device_message_count > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        timeout(LINE, empty).await.context("the device acknowledged not everything it saw")?
    }

    /// What the hub took from a device, in the form of the programs' lines.
    pub(super) fn telemetry_of(&self, id: &str) -> Result<Vec<Value>> {
        let hub = self.embedded.as_ref().context("the hub is not embedded")?;
        let of_device = hub.telemetry().into_iter().filter(|event| event.device_id.as_str() == id);
        Ok(of_device.map(|event| shown_telemetry(&event.message)).collect())
    }
}

fn shown_telemetry(message: &TelemetryMessage) -> Value {
    json!({
        "body_hex": hex(&message.body),
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "user_id": message.user_id,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "properties": shown_properties(&message.properties),
    })
}

fn shown_c2d(message: &C2dMessage) -> Value {
    json!({
        "body_hex": hex(&message.body),
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "user_id": message.user_id,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "expiry": message.expiry_time.map(|time| time.to_string()),
        "ack": message.ack.map(|ack| ack.to_string()),
        "properties": shown_properties(&message.properties),
    })
}

fn shown_properties(properties: &Properties) -> Value {
    properties.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// A device of whichever client, connected and listening.
pub(super) enum Device {
    Ours { client: DeviceClient, messages: C2dMessages },
    Theirs(Box<Program>),
}

impl Device {
    pub(super) async fn start(site: &Site, language: Language, identity: &DeviceIdentity) -> Result<Self> {
        if language == Language::Rust {
            let client = DeviceClient::builder(&site.credential(identity)?).connect().await?;
            let messages = client.c2d_messages().await?;
            return Ok(Self::Ours { client, messages });
        }
        let program = language.program("device");
        let mut command = site.command(&program);
        command.env("IOTHUB_DEVICE_CONNECTION_STRING", site.device_string(identity)?);
        let mut device = Self::Theirs(Box::new(Program::start(&program, command)?));
        device.event("connected").await?;
        Ok(device)
    }

    /// The next cloud-to-device message, acknowledged.
    pub(super) async fn next_c2d(&mut self) -> Result<Value> {
        match self {
            Self::Theirs(_) => self.event("c2d").await,
            Self::Ours { messages, .. } => {
                let next =
                    timeout(LINE, messages.next()).await.context("our device saw no further message")?;
                let message = next.context("our device has stopped")?;
                let shown = shown_c2d(&message);
                message.complete()?;
                Ok(shown)
            }
        }
    }

    /// Sends telemetry, and returns once the hub has acknowledged it.
    pub(super) async fn send_telemetry(&mut self, case: &MessageCase) -> Result<()> {
        let message = case.message();
        match self {
            Self::Ours { client, .. } => {
                let text = |field: &str| message.get(field).and_then(Value::as_str).map(str::to_owned);
                let message = TelemetryMessage {
                    body: case.body(),
                    message_id: text("message_id"),
                    correlation_id: text("correlation_id"),
                    user_id: text("user_id"),
                    content_type: text("content_type"),
                    content_encoding: text("content_encoding"),
                    properties: properties(&message),
                    ..TelemetryMessage::default()
                };
                Ok(client.send_telemetry(message).await.with_context(|| case.name().to_owned())?)
            }
            Self::Theirs(program) => {
                let mut command = message;
                command.insert("cmd".to_owned(), "telemetry".into());
                command.insert("tag".to_owned(), case.name().into());
                program.type_line(&Value::Object(command).to_string()).await?;
                let sent = self.event("sent").await?;
                ensure!(
                    sent["tag"] == case.name(),
                    "{} was acknowledged instead of {}",
                    sent["tag"],
                    case.name()
                );
                Ok(())
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn stop(self) -> Result<()> {
        match self {
            Self::Ours { client, .. } => Ok(client.shutdown().await?),
            Self::Theirs(mut program) => {
                program.close_input();
                program.end_well(LINE).await
            }
        }
    }

    /// The next line of this kind; changes of the connection are passed over, errors are not.
    async fn event(&mut self, kind: &str) -> Result<Value> {
        let Self::Theirs(program) = self else { bail!("our device prints no lines") };
        loop {
            let Some(line) =
                program.next_line(LINE).await.with_context(|| format!("waiting for {kind:?}"))?
            else {
                bail!(program.complaint(format!("ended before it printed {kind:?}")));
            };
            let event: Value = serde_json::from_str(&line).context("a line that is not JSON")?;
            match event["event"].as_str() {
                Some(name) if name == kind => return Ok(event),
                Some("connection") => {}
                _ => bail!(program.complaint(format!("printed something else than {kind:?}"))),
            }
        }
    }
}

/// What became of a message that was sent.
pub(super) enum Outcome {
    /// The hub took it. The expiry asked for, if any, in milliseconds since 1970.
    Sent {
        expiry_ms: Option<i64>,
    },
    Refused(String),
}

/// Sends the messages to a device, one after the other, with the sender of a language.
pub(super) async fn send(
    site: &Site,
    sender: Language,
    id: &str,
    cases: &[MessageCase],
) -> Result<Vec<Outcome>> {
    if sender == Language::Rust {
        send_ours(site, id, cases).await
    } else {
        send_theirs(site, sender, id, cases).await
    }
}

async fn send_ours(site: &Site, id: &str, cases: &[MessageCase]) -> Result<Vec<Outcome>> {
    let device: DeviceId = id.parse()?;
    let sender = C2dSender::builder(site.owner.clone()).connect().await?;
    let mut outcomes = Vec::new();
    for case in cases {
        let source = case.message();
        let text = |field: &str| source.get(field).and_then(Value::as_str).map(str::to_owned);
        let expiry_ms = case.expiry_in_s().map(|seconds| Timestamp::now().as_millisecond() + seconds * 1000);
        let message = C2dMessage {
            body: message::body(&Value::Object(source.clone())),
            message_id: text("message_id"),
            correlation_id: text("correlation_id"),
            user_id: text("user_id"),
            content_type: text("content_type"),
            content_encoding: text("content_encoding"),
            expiry_time: expiry_ms.map(Timestamp::from_millisecond).transpose()?,
            ack: text("ack").map(|ack| ack.parse()).transpose()?,
            properties: properties(&source),
        };
        outcomes.push(match sender.send(&device, message).await {
            Ok(()) => Outcome::Sent { expiry_ms },
            Err(error) => Outcome::Refused(format!("{:#}", anyhow::Error::from(error))),
        });
    }
    sender.close().await?;
    Ok(outcomes)
}

async fn send_theirs(site: &Site, sender: Language, id: &str, cases: &[MessageCase]) -> Result<Vec<Outcome>> {
    let program = sender.program("send_c2d");
    let mut command = site.command(&program);
    command.arg(id).env("IOTHUB_CONNECTION_STRING", site.owner_string());
    let mut running = Program::start(&program, command)?;
    let messages: Vec<Value> = cases.iter().map(|case| Value::Object(case.message())).collect();
    running.type_line(&Value::Array(messages).to_string()).await?;
    running.close_input();
    let mut outcomes = Vec::new();
    loop {
        let Some(line) = running.next_line(LINE).await? else {
            bail!(running.complaint("ended before it was done".to_owned()));
        };
        let line: Value = serde_json::from_str(&line).context("a line that is not JSON")?;
        let in_turn = line["index"].as_u64() == u64::try_from(outcomes.len()).ok();
        match line["event"].as_str() {
            Some("sent") if in_turn => outcomes.push(Outcome::Sent { expiry_ms: line["expiry_ms"].as_i64() }),
            Some("error") if in_turn => {
                outcomes.push(Outcome::Refused(line["message"].as_str().unwrap_or_default().to_owned()));
            }
            Some("done") => break,
            _ => bail!(running.complaint("printed something else than what became of a message".to_owned())),
        }
    }
    running.end_well(LINE).await?;
    ensure!(
        outcomes.len() == cases.len(),
        "{program} spoke of {} messages of {}",
        outcomes.len(),
        cases.len()
    );
    Ok(outcomes)
}

fn properties(message: &serde_json::Map<String, Value>) -> Properties {
    let properties = message.get("properties").and_then(Value::as_object).into_iter().flatten();
    properties.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
