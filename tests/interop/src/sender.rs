//! [`send`] is the back end's side of cloud-to-device messages: our sender, or a program on one of Microsoft's clients.
//! The cases of pairings use it, and the recorder.

use anyhow::{Result, bail, ensure};
use iothub_amqp_service::C2dSender;
use iothub_models::{C2dMessage, DeviceId};
use jiff::Timestamp;
use serde_json::Value;

use super::language::Language;
use super::message::MessageCase;
use super::site::Site;
use super::talk::{LINE, hear};

/// The outcome of a message that was sent.
pub(super) enum SendOutcome {
    /// The hub took it.
    Sent {
        /// The expiry that the sender asked for, in milliseconds since 1970.
        expiry_ms: Option<i64>,
    },
    /// Client or hub refused it, with this error.
    Refused(String),
}

/// The way in which one of Microsoft's back ends speaks AMQP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// TLS, on the port of AMQP.
    Tcp,
    /// WebSocket, on the port of HTTPS.
    WebSocket,
}

/// Sends the messages to a device, one after the other, with the sender of a language.
pub(super) async fn send(
    site: &Site,
    sender: Language,
    over: Over,
    id: &str,
    cases: &[MessageCase],
) -> Result<Vec<SendOutcome>> {
    if sender == Language::Rust {
        send_ours(site, id, cases).await
    } else {
        send_theirs(site, sender, over, id, cases).await
    }
}

async fn send_ours(site: &Site, id: &str, cases: &[MessageCase]) -> Result<Vec<SendOutcome>> {
    let device: DeviceId = id.parse()?;
    let sender = C2dSender::builder(site.owner().clone()).connect().await?;
    let mut outcomes = Vec::new();
    for case in cases {
        let expiry_ms = case.expiry_in_s().map(|seconds| Timestamp::now().as_millisecond() + seconds * 1000);
        let message = C2dMessage {
            body: case.body().into(),
            message_id: case.text("message_id"),
            correlation_id: case.text("correlation_id"),
            user_id: case.text("user_id"),
            content_type: case.text("content_type"),
            content_encoding: case.text("content_encoding"),
            expiry_time: expiry_ms.map(Timestamp::from_millisecond).transpose()?,
            ack: case.text("ack").map(|ack| ack.parse()).transpose()?,
            properties: case.properties(),
        };
        outcomes.push(match sender.send(&device, message).await {
            Ok(()) => SendOutcome::Sent { expiry_ms },
            Err(error) => SendOutcome::Refused(format!("{:#}", anyhow::Error::from(error))),
        });
    }
    sender.close().await?;
    Ok(outcomes)
}

async fn send_theirs(
    site: &Site,
    sender: Language,
    over: Over,
    id: &str,
    cases: &[MessageCase],
) -> Result<Vec<SendOutcome>> {
    let mut program = site.start_back_end_over(over, sender, "send_c2d", &[id])?;
    let messages: Vec<Value> = cases.iter().map(|case| Value::Object(case.message())).collect();
    program.type_line(&Value::Array(messages).to_string()).await?;
    program.close_input();
    let mut outcomes = Vec::new();
    loop {
        let line = hear(&mut program).await?;
        let in_turn = line["index"].as_u64() == u64::try_from(outcomes.len()).ok();
        match line["event"].as_str() {
            Some("sent") if in_turn => {
                outcomes.push(SendOutcome::Sent { expiry_ms: line["expiry_ms"].as_i64() })
            }
            Some("error") if in_turn => {
                outcomes.push(SendOutcome::Refused(line["message"].as_str().unwrap_or_default().to_owned()));
            }
            Some("done") => break,
            _ => bail!(program.complaint("printed something else than the outcome of a message".to_owned())),
        }
    }
    program.end_well(LINE).await?;
    let (told, sent) = (outcomes.len(), cases.len());
    ensure!(told == sent, program.complaint(format!("spoke of {told} messages of {sent}")));
    Ok(outcomes)
}
