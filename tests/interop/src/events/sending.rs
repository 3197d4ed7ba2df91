//! [`Sent`] sends the events for all readers, once: many numbered messages from a device on each client, every
//! message of `tests/interop/messages.json`, and the measurements of a Plug and Play device's components.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use iothub_models::{DeviceIdentity, TelemetryMessage};
use iothub_mqtt_device::DeviceClient;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::device::Device;
use crate::language::Language;
use crate::message::{self, MessageCase};
use crate::site::Site;
use crate::talk::{LINE, expect};

/// Devices of each client, and how many messages each of them sends: 10,000 together.
const DEVICES: &[(Language, usize, usize)] =
    &[(Language::Python, 2, 1000), (Language::Node, 2, 2000), (Language::Rust, 4, 1000)];
/// The number of messages that our device has under way at once.
const UNDER_WAY: usize = 200;

/// A device that sent, and the kind of its messages.
pub(super) struct Source {
    pub(super) id: String,
    pub(super) generation_id: String,
    pub(super) sends: Sends,
}

/// The messages of a device.
#[derive(Clone, Copy)]
pub(super) enum Sends {
    /// That many numbered messages.
    Numbered(usize),
    /// The messages of `messages.json` that a device can send.
    File,
    /// The temperatures of a controller's two thermostats.
    Components,
}

/// The devices that have sent, once they have.
#[derive(Clone, Default)]
pub(super) struct Sent(Arc<OnceCell<Vec<Source>>>);

impl Sent {
    /// Sends everything, unless that has been done.
    pub(super) async fn all(&self, site: &Site) -> Result<&[Source]> {
        Ok(self.0.get_or_try_init(|| send_all(site)).await?)
    }

    /// Returns the languages of the devices that send.
    pub(super) fn needs() -> [Language; 3] {
        Language::ALL
    }
}

async fn send_all(site: &Site) -> Result<Vec<Source>> {
    let mut sending = Vec::new();
    for (language, devices, count) in DEVICES {
        for n in 0..*devices {
            let id = format!("events-{}-{n}", language.name());
            sending.push(one(site, *language, id, Sends::Numbered(*count)));
        }
        sending.push(one(site, *language, format!("events-{}-file", language.name()), Sends::File));
    }
    for language in Language::OFFICIAL {
        let id = format!("events-{}-components", language.name());
        sending.push(one(site, language, id, Sends::Components));
    }
    future::try_join_all(sending).await
}

/// Starts a device and lets it send its messages.
async fn one(site: &Site, language: Language, id: String, sends: Sends) -> Result<Source> {
    let identity = site.create_device(&id).await?;
    let sent = async {
        match sends {
            Sends::Numbered(count) if language == Language::Rust => {
                let client = DeviceClient::builder(&site.credential(&identity)?).connect().await?;
                let messages = (0..count).map(|n| client.send_telemetry(numbered_message(n)));
                stream::iter(messages).buffered(UNDER_WAY).try_for_each(|()| future::ready(Ok(()))).await?;
                anyhow::Ok(client.shutdown().await?)
            }
            Sends::Numbered(count) => {
                let command = json!({"cmd": "telemetry_many", "count": count});
                told(site, language, "device", &[], &identity, &command).await
            }
            Sends::Components => {
                let command = json!({"cmd": "telemetry"});
                told(site, language, "pnp_device", &["controller"], &identity, &command).await
            }
            Sends::File => {
                let mut device = Device::start(site, language, &identity).await?;
                for case in file()? {
                    device.send_telemetry(&case).await?;
                }
                device.stop().await
            }
        }
    };
    sent.await.with_context(|| format!("{id} could not send"))?;
    Ok(Source { id, generation_id: identity.generation_id, sends })
}

/// Starts a program that sends once it is told to, and waits until it has sent.
async fn told(
    site: &Site,
    language: Language,
    program: &str,
    arguments: &[&str],
    identity: &DeviceIdentity,
    command: &Value,
) -> Result<()> {
    let mut program = site.start_device(language, program, arguments, &site.credential(identity)?)?;
    expect(&mut program, "connected").await?;
    program.type_line(&command.to_string()).await?;
    expect(&mut program, "sent").await?;
    program.end_well(LINE).await
}

/// Returns message `n`, as the programs make it too.
pub(super) fn numbered_message(n: usize) -> TelemetryMessage {
    TelemetryMessage {
        body: json!({"n": n}).to_string().into(),
        message_id: Some(format!("m-{n}")),
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("utf-8".to_owned()),
        properties: [("n".to_owned(), n.to_string())].into_iter().collect(),
        ..TelemetryMessage::default()
    }
}

/// Returns the messages of `messages.json` that a device can send.
pub(super) fn file() -> Result<Vec<MessageCase>> {
    let mut cases = message::cases()?;
    cases.retain(MessageCase::is_telemetry);
    ensure!(!cases.is_empty(), "messages.json has no telemetry");
    Ok(cases)
}
