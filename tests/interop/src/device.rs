//! [`Device`] is the device's side of cloud-to-device messages and telemetry: ours, or a program on one of Microsoft's
//! clients. The cases of pairings, telemetry, feedback and events use it, and the recorder.

use anyhow::{Context, Result, bail, ensure};
use iothub_models::{C2dMessage, DeviceIdentity, TelemetryMessage};
use iothub_mqtt_device::{C2dMessages, DeviceClient};
use iothub_programs::program::Program;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::language::Language;
use super::login::Login;
use super::message::{MessageCase, hex, shown_properties};
use super::site::Site;
use super::talk::{self, LINE};

/// A device on any of the clients, connected and listening.
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
        Self::with_login(site, language, &Login::from(&site.credential(identity)?)).await
    }

    /// Starts a device or module on one of Microsoft's clients, which connects as its login says.
    pub(super) async fn with_login(site: &Site, language: Language, login: &Login) -> Result<Self> {
        let mut program = site.start_device(language, "device", &[], login)?;
        talk::expect(&mut program, "connected").await?;
        Ok(Self::Theirs(Box::new(program)))
    }

    /// Returns the program of a device on one of Microsoft's clients.
    pub(super) fn program(&mut self) -> Result<&mut Program> {
        match self {
            Self::Ours { .. } => bail!("our device is no program"),
            Self::Theirs(program) => Ok(program),
        }
    }

    /// Waits for the next cloud-to-device message and acknowledges it.
    pub(super) async fn next_c2d(&mut self) -> Result<Value> {
        match self {
            Self::Theirs(program) => talk::expect(program, "c2d").await,
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
        match self {
            Self::Ours { client, .. } => {
                let message = TelemetryMessage {
                    body: case.body().into(),
                    message_id: case.text("message_id"),
                    correlation_id: case.text("correlation_id"),
                    user_id: case.text("user_id"),
                    content_type: case.text("content_type"),
                    content_encoding: case.text("content_encoding"),
                    properties: case.properties(),
                    ..TelemetryMessage::default()
                };
                Ok(client.send_telemetry(message).await.with_context(|| case.name().to_owned())?)
            }
            Self::Theirs(program) => {
                let mut command = case.message();
                command.insert("cmd".to_owned(), "telemetry".into());
                command.insert("tag".to_owned(), case.name().into());
                program.type_line(&Value::Object(command).to_string()).await?;
                let sent = talk::expect(program, "sent").await?;
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

    /// Disconnects the device.
    pub(super) async fn stop(self) -> Result<()> {
        match self {
            Self::Ours { client, .. } => Ok(client.shutdown().await?),
            Self::Theirs(mut program) => program.end_well(LINE).await,
        }
    }
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
