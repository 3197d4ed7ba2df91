//! These tests send the largest and the oddest telemetry that the hub accepts, by every way in: our reader of events
//! can read all of it, and so can the hub itself.

use iothub_amqp_service::{Event, EventPosition, EventReader, EventSource};
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{Properties, TelemetryMessage};
use iothub_mqtt_device::DeviceClient;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::device_client::{device, soon};
use crate::foreign_http::{ForeignHttp, exchange};

/// The largest size of one message, or of a batch: bodies, system property values, application properties.
const LIMIT: usize = 256 * 1024;
const EVENTS: &str = "/devices/d1/messages/events";
const BATCH: &str = "application/vnd.microsoft.iothub.json";

/// The parts of one message as a reader must see them.
#[derive(Debug, PartialEq)]
struct Expected {
    body: Vec<u8>,
    properties: Properties,
    content_type: Option<String>,
    message_id: Option<String>,
}

impl Expected {
    fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), properties: Properties::new(), content_type: None, message_id: None }
    }

    fn of(event: &Event) -> Self {
        let system = &event.system_properties;
        Self {
            body: event.body.to_vec(),
            properties: event.properties.clone(),
            content_type: system.content_type.clone(),
            message_id: system.message_id.clone(),
        }
    }

    fn size(&self) -> usize {
        let texts = [&self.content_type, &self.message_id].into_iter().flatten();
        self.body.len() + self.properties.size() + texts.map(String::len).sum::<usize>()
    }

    /// Returns the message as an entry of a batch; the body must be text.
    fn entry(&self) -> Value {
        let mut properties: Map<String, Value> = self
            .properties
            .iter()
            .map(|(name, value)| (format!("iothub-app-{name}"), value.into()))
            .collect();
        for (name, value) in
            [("iothub-contenttype", &self.content_type), ("iothub-messageid", &self.message_id)]
        {
            if let Some(value) = value {
                properties.insert(name.to_owned(), value.as_str().into());
            }
        }
        let body = String::from_utf8(self.body.clone()).unwrap();
        json!({"body": body, "base64Encoded": false, "properties": properties})
    }
}

/// Returns 1,000 properties of `each` bytes.
fn thousand(each: usize) -> Properties {
    (0..1000).map(|n| (format!("p{n:04}"), "v".repeat(each - 5))).collect()
}

async fn accepted(hub: &RunningHub, batch: &[Expected]) {
    let http = ForeignHttp::new(hub);
    let entries: Vec<Value> = batch.iter().map(Expected::entry).collect();
    let request = http.bare(&Method::POST, EVENTS).header("Authorization", http.token(PolicyName::Device));
    let request = request.header("Content-Type", BATCH).body(serde_json::to_vec(&entries).unwrap());
    let answer = exchange(request).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
}

/// Reads all events from the first, and has the hub read them too.
async fn read_as_sent(hub: &RunningHub, sent: &[Expected]) {
    let source: EventSource = hub.connection_string(PolicyName::Service).parse().unwrap();
    let mut events = soon(EventReader::builder(source).from(EventPosition::Earliest).open()).await.unwrap();
    for (number, expected) in sent.iter().enumerate() {
        let event = soon(events.next()).await.unwrap().unwrap();
        assert!(Expected::of(&event) == *expected, "message {number} came as another");
    }
    assert_eq!(events.missed_events(), 0);
    assert_eq!(hub.telemetry().len(), sent.len());
}

#[tokio::test]
async fn what_a_batch_may_hold_can_be_read() {
    let hub = LocalHub::builder().device(device()).start().await.unwrap();
    let mut sent = Vec::new();
    // 1,000 properties, and every byte that there may be.
    let mut many = Expected { properties: thousand(250), ..Expected::new("") };
    many.body = vec![b'b'; LIMIT - many.size()];
    // One text of each kind that fills a message by itself.
    let long = || Some("t".repeat(LIMIT));
    let content_type = Expected { content_type: long(), ..Expected::new("") };
    let message_id = Expected { message_id: long(), ..Expected::new("") };
    let mut value = Expected::new("");
    value.properties.insert("p", "v".repeat(LIMIT - 1));
    let mut name = Expected::new("");
    name.properties.insert("n".repeat(LIMIT), "");
    for full in [many, content_type, message_id, value, name, Expected::new(vec![b'b'; LIMIT])] {
        assert_eq!(full.size(), LIMIT);
        accepted(&hub, std::slice::from_ref(&full)).await;
        sent.push(full);
    }
    // As many messages as a batch may have.
    let batch: Vec<_> = (0..500).map(|n| Expected::new(n.to_string())).collect();
    accepted(&hub, &batch).await;
    sent.extend(batch);
    read_as_sent(&hub, &sent).await;
}

/// Texts of every length around those at which AMQP writes lengths in four bytes, with characters of every width.
#[tokio::test]
async fn odd_texts_can_be_read() {
    let hub = LocalHub::builder().device(device()).start().await.unwrap();
    let mut batch = Vec::new();
    for character in ["a", "\u{0}", "\n", "\u{7f}", "\u{e4}", "\u{20ac}", "\u{1f680}", "\"", "\\"] {
        for length in [0, 1, 63, 64, 85, 86, 127, 128, 254, 255, 256, 257] {
            let text = character.repeat(length);
            let mut message = Expected {
                content_type: Some(text.clone()),
                message_id: Some(text.clone()),
                ..Expected::new(text.as_bytes())
            };
            message.properties.insert("value", text.as_str());
            message.properties.insert(format!("name {text}"), "");
            batch.push(message);
        }
    }
    let mut sent = Vec::new();
    while !batch.is_empty() {
        let rest = batch.split_off(batch.len().min(24));
        accepted(&hub, &batch).await;
        sent.append(&mut batch);
        batch = rest;
    }
    read_as_sent(&hub, &sent).await;
}

#[tokio::test]
async fn what_a_topic_or_headers_may_hold_can_be_read() {
    let hub = LocalHub::builder().device(device()).start().await.unwrap();
    let string = hub.device_connection_string(&device()).unwrap();
    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    // 1,000 properties, in a topic of nearly the 65,535 bytes that there may be.
    let mut over_mqtt = Expected { properties: thousand(62), ..Expected::new("") };
    over_mqtt.body = vec![0xff; LIMIT - over_mqtt.size()];
    let message = TelemetryMessage {
        properties: over_mqtt.properties.clone(),
        ..TelemetryMessage::new(over_mqtt.body.clone())
    };
    soon(client.send_telemetry(message)).await.unwrap();
    soon(client.shutdown()).await.unwrap();

    // The head of a request holds 16 KB.
    let http = ForeignHttp::new(&hub);
    let mut over_https = Expected { content_type: Some("c".repeat(4_000)), ..Expected::new("") };
    over_https.properties.insert("n".repeat(4_000), "v".repeat(4_000));
    over_https.body = vec![0xfe; LIMIT - over_https.size()];
    let mut request =
        http.bare(&Method::POST, EVENTS).header("Authorization", http.token(PolicyName::Device));
    request = request.header("iothub-contenttype", "c".repeat(4_000));
    for (name, value) in over_https.properties.iter() {
        request = request.header(format!("iothub-app-{name}"), value);
    }
    let answer = exchange(request.body(over_https.body.clone())).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    read_as_sent(&hub, &[over_mqtt, over_https]).await;
}
