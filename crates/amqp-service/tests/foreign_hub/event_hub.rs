//! The event hub behind the foreign hub: where it is, what it says about itself, and events to send.

use std::sync::Arc;

use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::definitions::{Error, Fields, LinkError};
use fe2o3_amqp_types::messaging::{
    ApplicationProperties, Body, Data, Message, MessageAnnotations, Outcome, Properties,
};
use fe2o3_amqp_types::performatives::Attach;
use fe2o3_amqp_types::primitives::{Array, Binary, OrderedMap, Symbol, Timestamp};
use serde_amqp::Value;

use crate::hub::{Shared, soon, text};

pub(crate) const EVENT_HUB: &str = "foreign-events";

/// When event 0 was put into its partition, in milliseconds; each next one a second later.
pub(crate) const FIRST_TIME: i64 = 1_700_000_000_000;

/// A link on which the hub sends, as a client attached it.
#[derive(Debug)]
pub(crate) struct Outlet {
    /// The node it reads from.
    pub(crate) address: String,
    pub(crate) attach: Attach,
    pub(crate) sender: Sender,
}

impl Outlet {
    pub(crate) fn new(attach: Attach, sender: Sender) -> Self {
        let address = attach.source.as_ref().and_then(|source| source.address.clone());
        Self { address: address.unwrap_or_default(), attach, sender }
    }

    /// Sends, and waits for the client's verdict, if there is one.
    pub(crate) async fn send(&mut self, message: Message<Body<Value>>) -> Outcome {
        soon(self.sender.send(message)).await.unwrap()
    }

    /// Sends events of these numbers.
    pub(crate) async fn send_events(&mut self, numbers: impl IntoIterator<Item = i64>) {
        for number in numbers {
            self.send(event(number)).await;
        }
    }

    /// Closes the link. The library of this hub takes the answer for an error.
    pub(crate) async fn close_with(self, error: Error) {
        drop(soon(self.sender.close_with_error(error)).await);
    }

    pub(crate) fn partition(&self) -> &str {
        self.address.rsplit_once('/').unwrap().1
    }

    /// Where the client wants to begin.
    pub(crate) fn selector(&self) -> String {
        const NAME: &str = "apache.org:selector-filter:string";
        let filter = self.attach.source.as_ref().unwrap().filter.as_ref().unwrap();
        let Some(Value::Described(described)) = filter.get(&Symbol::from(NAME)) else { panic!("{filter:?}") };
        let Value::String(expression) = &described.value else { panic!("{described:?}") };
        expression.clone()
    }

    pub(crate) fn owner_level(&self) -> Option<i64> {
        match self.attach.properties.as_ref()?.get(&Symbol::from("com.microsoft:epoch"))? {
            Value::Long(level) => Some(*level),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn empty() -> Message<Body<Value>> {
    Message {
        header: None,
        delivery_annotations: None,
        message_annotations: None,
        properties: None,
        application_properties: None,
        body: Body::Empty,
        footer: None,
    }
}

pub(crate) fn data(bytes: &[u8]) -> Body<Value> {
    Body::Data(vec![Data(Binary::from(bytes.to_vec()))].into())
}

pub(crate) fn annotations(pairs: &[(&str, Value)]) -> MessageAnnotations {
    let mut annotations = MessageAnnotations::default();
    for (name, value) in pairs {
        annotations.insert(Symbol::from(*name).into(), value.clone());
    }
    annotations
}

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// An event of this number, whose body is the number.
pub(crate) fn event(number: i64) -> Message<Body<Value>> {
    Message {
        message_annotations: Some(annotations(&[
            ("x-opt-sequence-number", Value::Long(number)),
            ("x-opt-offset", string(&(number * 100).to_string())),
            (
                "x-opt-enqueued-time",
                Value::Timestamp(Timestamp::from_milliseconds(FIRST_TIME + number * 1000)),
            ),
        ])),
        body: data(number.to_string().as_bytes()),
        ..empty()
    }
}

/// Telemetry with all that IoT Hub adds.
pub(crate) fn telemetry(number: i64) -> Message<Body<Value>> {
    let mut message = event(number);
    for (name, value) in annotations(&[
        ("iothub-connection-device-id", string("my-pnp-device")),
        ("iothub-connection-module-id", string("camera")),
        ("iothub-connection-auth-method", string(r#"{"scope":"device","type":"sas"}"#)),
        ("iothub-connection-auth-generation-id", string("637388858939631652")),
        ("iothub-enqueuedtime", Value::Timestamp(Timestamp::from_milliseconds(1_603_289_127_844))),
        ("iothub-message-source", string("Telemetry")),
        ("dt-subject", string("thermostat1")),
        ("dt-dataschema", string("dtmi:com:example:TemperatureController;1")),
        ("x-opt-new", Value::Int(7)),
    ])
    .0
    {
        message.message_annotations.as_mut().unwrap().insert(name, value);
    }
    message.properties = Some(
        Properties::builder()
            .message_id("m1".to_owned())
            .user_id(Binary::from(b"user".to_vec()))
            .to("/devices/my-pnp-device/messages/events".to_owned())
            .correlation_id("c1".to_owned())
            .content_type("application/json")
            .content_encoding("utf-8")
            .build(),
    );
    message.application_properties =
        Some(ApplicationProperties::builder().insert("alarm", "yes").insert("level", 3_i32).build());
    message.body = data(br#"{"temperature": 45}"#);
    message
}

/// Where the events are: the same server, whose port it does not know.
pub(crate) fn redirect() -> Error {
    let info: Fields = [
        ("hostname", string("localhost")),
        ("network-host", string("localhost")),
        ("port", Value::Int(5671)),
        ("address", string(&format!("amqps://localhost:5671/{EVENT_HUB}/"))),
    ]
    .into_iter()
    .map(|(name, value)| (Symbol::from(name), value))
    .collect();
    Error::new(LinkError::Redirect, Some("elsewhere".to_owned()), Some(info))
}

/// Answers questions about the event hub.
pub(crate) async fn management(mut requests: Receiver, mut replies: Sender, shared: Arc<Shared>) {
    while let Ok(request) = requests.recv::<Body<Value>>().await {
        requests.accept(&request).await.unwrap();
        let partitions = shared.behaviour.lock().unwrap().partitions.clone();
        let request = request.into_message();
        assert_eq!(text(&request, "operation"), Some("READ"));
        assert_eq!(text(&request, "name"), Some(EVENT_HUB));
        assert!(text(&request, "security_token").unwrap().starts_with("SharedAccessSignature "));
        let answer = match text(&request, "type").unwrap() {
            "com.microsoft:eventhub" => Some(hub_properties(partitions.len())),
            _ => {
                let id = text(&request, "partition").unwrap();
                id.parse()
                    .ok()
                    .and_then(|index: usize| partitions.get(index))
                    .map(|ends| partition(id, *ends))
            }
        };
        let (status, map) = answer.map_or((404_i32, OrderedMap::new()), |map| (200, map));
        let id = request.properties.and_then(|properties| properties.message_id);
        let reply = Message::builder()
            .properties(Properties { correlation_id: id, ..Properties::default() })
            .application_properties(
                ApplicationProperties::builder()
                    .insert("status-code", status)
                    .insert("status-description", "as it is")
                    .build(),
            )
            .value(Value::Map(map))
            .build();
        if replies.send(reply).await.is_err() {
            return;
        }
    }
}

type Map = OrderedMap<Value, Value>;

fn map<const N: usize>(pairs: [(&str, Value); N]) -> Map {
    pairs.into_iter().map(|(name, value)| (string(name), value)).collect()
}

fn hub_properties(partitions: usize) -> Map {
    let ids: Vec<Value> = (0..partitions).map(|id| string(&id.to_string())).collect();
    map([
        ("name", string(EVENT_HUB)),
        ("type", string("com.microsoft:eventhub")),
        ("created_at", Value::Timestamp(Timestamp::from_milliseconds(FIRST_TIME))),
        ("partition_count", Value::Int(i32::try_from(partitions).unwrap())),
        ("partition_ids", Value::Array(Array::from(ids))),
    ])
}

fn partition(id: &str, (first, last): (i64, i64)) -> Map {
    let is_empty = last < first;
    let time = if last < 0 { -62_135_596_800_000 } else { FIRST_TIME + last * 1000 };
    map([
        ("name", string(EVENT_HUB)),
        ("type", string("com.microsoft:partition")),
        ("partition", string(id)),
        ("begin_sequence_number", Value::Long(first)),
        ("last_enqueued_sequence_number", Value::Long(last)),
        ("last_enqueued_offset", string(&if last < 0 { "-1".to_owned() } else { (last * 100).to_string() })),
        ("last_enqueued_time_utc", Value::Timestamp(Timestamp::from_milliseconds(time))),
        ("is_partition_empty", Value::Bool(is_empty)),
    ])
}
