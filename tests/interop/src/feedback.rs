//! This file runs the cases of feedback, each with the whole life of cloud-to-device messages: each kind of
//! acknowledgement, sent by Microsoft's back ends; messages completed, rejected and abandoned by their Node device over
//! HTTPS and MQTT, expired, and purged. Their Node receiver and ours compare the feedback with a table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use iothub_amqp_service::FeedbackReceiver;
use iothub_programs::program::Program;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::cases::Case;
use super::device::Device;
use super::language::Language;
use super::login::{Login, Transport};
use super::sender::Over;
use super::site::Site;
use super::talk::{self, LINE};

/// The time after which the hub has sent a batch of feedback, and a little more.
const BATCH: Duration = Duration::from_secs(16);
/// The time after which the message that must expire does so, by the hub's clock.
const TTL: Duration = Duration::from_secs(30);
/// The longest wait for a batch once the hub's clock has been set forward.
const SOON: Duration = Duration::from_secs(3);
/// The number of times that the clock is set forward before the case fails for want of feedback.
const PATIENCE: usize = 8;

/// The messages sent to the device over HTTPS: the id, the way in which the device settles the message, the
/// acknowledgement that the sender asks for, and the feedback that results.
const OVER_HTTP: [(&str, &str, &str, Option<&str>); 9] = [
    ("c-none", "complete", "none", None),
    ("c-positive", "complete", "positive", Some("Success")),
    ("c-negative", "complete", "negative", None),
    ("c-full", "complete", "full", Some("Success")),
    ("r-positive", "reject", "positive", None),
    ("r-negative", "reject", "negative", Some("Rejected")),
    ("r-full", "reject", "full", Some("Rejected")),
    ("a-none", "abandon", "none", None),
    ("a-full", "abandon", "full", Some("DeliveryCountExceeded")),
];

pub(super) fn cases() -> Vec<Case> {
    let case = |sender: Language, receiver: Language, over: Over| {
        let word = if over == Over::WebSocket { " over WebSocket" } else { "" };
        let name = format!("feedback {} -> node -> {}{word}", sender.name(), receiver.name());
        let needs = [sender, Language::Node, receiver];
        // It sets the hub's clock forward, and there is one stream of feedback for all.
        Case::new(name, &needs, move |site| whole_life(site, sender, receiver, over)).embedded().alone()
    };
    vec![
        case(Language::Node, Language::Node, Over::Tcp),
        case(Language::Node, Language::Node, Over::WebSocket),
        case(Language::Python, Language::Rust, Over::Tcp),
    ]
}

async fn whole_life(site: Arc<Site>, sender: Language, receiver: Language, over: Over) -> Result<()> {
    let id = |kind: &str| format!("feedback-{}-{over:?}-{kind}", receiver.name());
    let (http, mqtt, away) = (id("http"), id("mqtt"), id("away"));
    let mut receiver = Receiver::start(&site, receiver, over).await?;
    let sender = (sender, over);
    let mut fetching = http_device(&site, &http).await?;
    let mut connected = Device::start(&site, Language::Node, &site.create_device(&mqtt).await?).await?;
    site.create_device(&away).await?;

    // Not in any one order of outcomes, so what is told of each message must be its own.
    let messages = OVER_HTTP.map(|(id, then, ack, _)| message(id, ack, json!({ "then": then })));
    send(&site, sender, &http, &messages).await?;
    send(&site, sender, &mqtt, &[message("m-full", "full", json!({}))]).await?;
    send(&site, sender, &away, &[message("p-negative", "negative", json!({}))]).await?;
    let purged = site.service().devices().purge_c2d_messages(&away.parse()?).await?;
    ensure!(purged == 1, "{purged} messages were purged of 1");
    let mut dying = message("e-full", "full", json!({}));
    dying["expiry_in_s"] = (site.ahead()? + TTL).as_secs().into();
    send(&site, sender, &away, &[dying]).await?;

    let seen = connected.next_c2d().await?;
    ensure!(seen["message_id"] == "m-full", "the device over MQTT saw {seen}");
    settled(&mut fetching).await?;
    site.wait_for_empty_queue(&http).await?;
    site.wait_for_empty_queue(&mqtt).await?;
    telemetry(&site, &mut fetching, &http).await?;

    let mut expected: BTreeMap<(String, String), String> = OVER_HTTP
        .iter()
        .filter_map(|(id, _, _, status)| Some(((http.clone(), (*id).to_owned()), (*status)?.to_owned())))
        .collect();
    expected.insert((mqtt.clone(), "m-full".to_owned()), "Success".to_owned());
    expected.insert((away.clone(), "p-negative".to_owned()), "Purged".to_owned());
    expected.insert((away.clone(), "e-full".to_owned()), "Expired".to_owned());
    site.advance(TTL)?;
    let told = receiver.all(&site, &expected, &[http, mqtt, away]).await?;
    ensure!(told == expected, "the feedback is {told:?}, and should be {expected:?}");

    receiver.stop().await?;
    connected.stop().await?;
    fetching.close_input();
    talk::expect(&mut fetching, "stopped").await?;
    fetching.end_well(LINE).await
}

fn message(id: &str, ack: &str, properties: Value) -> Value {
    json!({ "name": id, "message_id": id, "body_text": id, "ack": ack, "properties": properties })
}

async fn send(site: &Site, (sender, over): (Language, Over), device: &str, messages: &[Value]) -> Result<()> {
    let mut program = site.start_back_end_over(over, sender, "send_c2d", &[device])?;
    program.type_line(&Value::from(messages).to_string()).await?;
    program.close_input();
    for message in messages {
        let sent = talk::expect(&mut program, "sent").await?;
        ensure!(sent["name"] == message["name"], "{sent} answers {message}");
    }
    talk::expect(&mut program, "done").await?;
    program.end_well(LINE).await
}

async fn http_device(site: &Site, id: &str) -> Result<Program> {
    let identity = site.create_device(id).await?;
    let login = Login { transport: Transport::Http, ..Login::from(&site.credential(&identity)?) };
    let mut program = site.start_device(Language::Node, "device", &[], login)?;
    talk::expect(&mut program, "connected").await?;
    Ok(program)
}

/// Waits until the device has settled each message as the table says, as often as that takes.
async fn settled(device: &mut Program) -> Result<()> {
    let of = |then: &str| OVER_HTTP.iter().filter(|(_, action, _, _)| *action == then).count();
    let mut left = BTreeMap::from([
        ("MessageCompleted", of("complete")),
        ("MessageRejected", of("reject")),
        // The hub gives it out ten times.
        ("MessageAbandoned", of("abandon") * 10),
    ]);
    while left.values().any(|count| *count > 0) {
        let settled = talk::expect(device, "settled").await?;
        ensure!(settled["body_text"] == settled["message_id"], "a message was changed: {settled}");
        let count = settled["result"].as_str().and_then(|result| left.get_mut(result));
        match count {
            Some(count) if *count > 0 => *count -= 1,
            _ => bail!("one too many, or no result at all: {settled}"),
        }
    }
    Ok(())
}

/// Telemetry over HTTPS: a message of its own, then a batch.
async fn telemetry(site: &Site, device: &mut Program, id: &str) -> Result<()> {
    let message =
        |n: u32| json!({"body_text": format!("h\u{e9}llo {n}"), "properties": {"number": n.to_string()}});
    let mut one = message(0);
    one["cmd"] = "telemetry".into();
    let batch = json!({"cmd": "telemetry_batch", "messages": [message(1), message(2)]});
    for command in [one, batch] {
        device.type_line(&command.to_string()).await?;
        talk::expect(device, "sent").await?;
    }
    let seen = site.telemetry_of(id)?;
    ensure!(seen.len() == 3, "the hub took {} messages of 3", seen.len());
    for (n, seen) in seen.iter().enumerate() {
        let body = super::message::hex(format!("h\u{e9}llo {n}").as_bytes());
        ensure!(seen["body_hex"] == body, "message {n} is {seen}");
        ensure!(seen["properties"] == json!({"number": n.to_string()}), "message {n} is {seen}");
    }
    Ok(())
}

/// The receiver of the feedback. It abandons the first batch, which must come again.
enum Receiver {
    Ours(FeedbackReceiver),
    Theirs(Box<Program>),
}

impl Receiver {
    async fn start(site: &Site, language: Language, over: Over) -> Result<Self> {
        if language == Language::Rust {
            return Ok(Self::Ours(FeedbackReceiver::builder(site.owner().clone()).connect().await?));
        }
        let mut program = site.start_back_end_over(over, language, "feedback", &["--abandon", "1"])?;
        talk::expect(&mut program, "connected").await?;
        Ok(Self::Theirs(Box::new(program)))
    }

    /// Returns the feedback about these devices once there is as much as expected. The clock is set forward while
    /// nothing comes.
    async fn all(
        &mut self,
        site: &Site,
        expected: &BTreeMap<(String, String), String>,
        devices: &[String],
    ) -> Result<BTreeMap<(String, String), String>> {
        let mut told = BTreeMap::new();
        let mut abandoned: Option<Vec<Value>> = None;
        let mut came_again = false;
        for _ in 0..PATIENCE {
            site.advance(BATCH)?;
            while let Ok(next) = timeout(SOON, self.next(abandoned.is_none())).await {
                let records = next?;
                let Some(first) = &abandoned else {
                    abandoned = Some(records);
                    continue;
                };
                // Another batch may have been under way already.
                came_again |= *first == records;
                for record in records {
                    let text =
                        |name: &str| record[name].as_str().map(str::to_owned).context("a field is missing");
                    ensure!(record["description"] == record["statusCode"], "{record}");
                    let device = text("deviceId")?;
                    if devices.contains(&device) {
                        let known = told.insert((device, text("originalMessageId")?), text("statusCode")?);
                        ensure!(known.is_none(), "{record} was told twice");
                    }
                }
                if came_again && told.len() >= expected.len() {
                    return Ok(told);
                }
            }
        }
        ensure!(came_again, "what was abandoned did not come again: {abandoned:?}");
        Ok(told)
    }

    /// The records of the next batch, which is abandoned or completed.
    async fn next(&mut self, abandons: bool) -> Result<Vec<Value>> {
        match self {
            Self::Ours(receiver) => {
                let batch = receiver.next().await.context("our receiver has ended")??;
                let records = batch.records().iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
                if abandons {
                    batch.abandon().await?
                } else {
                    batch.complete().await?
                }
                Ok(records)
            }
            Self::Theirs(program) => {
                let line = talk::expect(program, "feedback").await?;
                let result = if abandons { "MessageAbandoned" } else { "MessageCompleted" };
                ensure!(line["result"] == result, "{line} where {result} belongs");
                Ok(line["records"].as_array().cloned().context("no records")?)
            }
        }
    }

    async fn stop(self) -> Result<()> {
        match self {
            Self::Ours(receiver) => Ok(receiver.close().await?),
            Self::Theirs(mut program) => {
                program.close_input();
                talk::expect(&mut program, "stopped").await?;
                program.end_well(LINE).await
            }
        }
    }
}
