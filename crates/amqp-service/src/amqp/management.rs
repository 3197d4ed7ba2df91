//! This file asks an event hub about itself: requests to the node `$management`, one at a time.
//!
//! | | |
//! |---|---|
//! | request | application properties `operation` = `READ`, `type`, `name`, `partition`, `security_token` |
//! | answer | correlation id; `status-code` int, 200 if all is well; a map as value |
//!
//! Source: what the official Event Hubs clients send and read.

use std::borrow::Cow;

use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::messaging::{ApplicationProperties, Body, Message, MessageId, Properties};
use fe2o3_amqp_types::primitives::{OrderedMap, SimpleValue};
use jiff::Timestamp;
use serde_amqp::Value;
use uuid::Uuid;

use super::failure::Failure;
use super::value::{integer, text, timestamp};
use crate::endpoint::{Credential, Endpoint};
use crate::error::{Error, ErrorKind};
use crate::event_hub_properties::{EventHubProperties, PartitionProperties};
use crate::refusal::{Refusal, Scope};

const NODE: &str = "$management";

/// Most partitions of an event hub; in Azure 2,000.
const MAX_PARTITIONS: usize = 4096;

/// The pair of links to `$management`.
pub(crate) struct Management {
    sender: Sender,
    receiver: Receiver,
    endpoint: Endpoint,
}

impl Management {
    pub(super) async fn attach(
        session: &mut SessionHandle<()>,
        endpoint: &Endpoint,
    ) -> Result<Self, Failure> {
        // Servers find the way back by this name.
        let reply_to = format!("management-{}", Uuid::new_v4());
        let receiver = Receiver::builder()
            .name(reply_to.as_str())
            .source(NODE)
            .target(reply_to.as_str())
            .attach(session);
        let receiver = receiver.await?;
        let sender = Sender::builder()
            .name(format!("management-sender-{}", Uuid::new_v4()))
            .source(reply_to.as_str())
            .target(NODE)
            .attach(session);
        Ok(Self { sender: sender.await?, receiver, endpoint: endpoint.clone() })
    }

    /// Returns the properties of the event hub.
    pub(crate) async fn hub(&mut self) -> Result<EventHubProperties, Error> {
        let map = self.ask("com.microsoft:eventhub", None).await?;
        let partition_ids = match field(&map, "partition_ids") {
            Some(Value::Array(ids)) => ids.iter().filter_map(text).map(str::to_owned).collect(),
            Some(Value::List(ids)) => ids.iter().filter_map(text).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        if partition_ids.is_empty() || partition_ids.len() > MAX_PARTITIONS {
            let why = format!("it says that it has {} partitions", partition_ids.len());
            return Err(Failure::known(ErrorKind::Protocol, why).into_error(TRIED, Scope::Link));
        }
        Ok(EventHubProperties {
            name: field(&map, "name").and_then(text).unwrap_or_default().to_owned(),
            created_at: field(&map, "created_at").and_then(timestamp),
            partition_ids,
        })
    }

    /// Returns the properties of one of its partitions.
    pub(crate) async fn partition(&mut self, id: &str) -> Result<PartitionProperties, Error> {
        let map = self.ask("com.microsoft:partition", Some(id)).await?;
        let number = |name| field(&map, name).and_then(integer);
        let last = number("last_enqueued_sequence_number");
        let beginning = number("begin_sequence_number");
        let (Some(last), Some(beginning)) = (last, beginning) else {
            let why = "the answer lacks the sequence numbers of the partition";
            return Err(Failure::known(ErrorKind::Protocol, why).into_error(TRIED, Scope::Link));
        };
        let is_empty = match field(&map, "is_partition_empty") {
            Some(Value::Bool(is_empty)) => *is_empty,
            _ => last < beginning,
        };
        Ok(PartitionProperties {
            id: id.to_owned(),
            is_empty,
            beginning_sequence_number: beginning,
            last_enqueued_sequence_number: last,
            last_enqueued_offset: field(&map, "last_enqueued_offset")
                .and_then(text)
                .unwrap_or("-1")
                .to_owned(),
            // A partition that never had an event names the year 1.
            last_enqueued_time: field(&map, "last_enqueued_time_utc")
                .and_then(timestamp)
                .filter(|time| *time > Timestamp::UNIX_EPOCH),
        })
    }

    async fn ask(&mut self, kind: &str, partition: Option<&str>) -> Result<Map, Error> {
        self.try_ask(kind, partition).await.map_err(|failure| failure.into_error(TRIED, Scope::Partition))
    }

    async fn try_ask(&mut self, kind: &str, partition: Option<&str>) -> Result<Map, Failure> {
        let timing = &self.endpoint.timing;
        let token = self
            .endpoint
            .credential
            .sas_token(timing.clock.now(), timing.token_lifetime)
            .map_err(|error| Failure::known(ErrorKind::InvalidArgument, error.to_string()))?;
        let id = MessageId::from(Uuid::new_v4().to_string());
        let mut properties = ApplicationProperties::builder()
            .insert("operation", "READ")
            .insert("type", kind)
            .insert("name", entity(&self.endpoint.credential).into_owned())
            .insert("security_token", token.reveal());
        if let Some(partition) = partition {
            properties = properties.insert("partition", partition);
        }
        let request = Message::builder()
            .properties(Properties::builder().message_id(id.clone()).reply_to(self.receiver.name()).build())
            .application_properties(properties.build())
            .value(Value::Null)
            .build();
        let _settled = self.sender.send_batchable(request).await?;
        loop {
            let reply = self.receiver.recv::<Body<Value>>().await?;
            self.receiver.accept(&reply).await?;
            let correlation =
                reply.message().properties.as_ref().and_then(|found| found.correlation_id.as_ref());
            if correlation.is_none_or(|correlation| *correlation == id) {
                return answer(reply.into_message());
            }
            tracing::debug!("an answer to an earlier request came late");
        }
    }
}

const TRIED: &str = "asking the event hub about itself failed";

type Map = OrderedMap<Value, Value>;

pub(super) fn entity(credential: &Credential) -> Cow<'_, str> {
    match credential {
        Credential::Events(events) => events.entity_path.as_deref().unwrap_or_default().into(),
        // Never asked: a hub is resolved first.
        Credential::Hub(_) => "".into(),
    }
}

fn field<'m>(map: &'m Map, name: &str) -> Option<&'m Value> {
    map.iter().find_map(|(key, value)| (text(key) == Some(name)).then_some(value))
}

pub(super) fn answer(reply: Message<Body<Value>>) -> Result<Map, Failure> {
    let properties = reply.application_properties.unwrap_or_default();
    let property = |name| properties.iter().find_map(|(key, value)| (key == name).then_some(value));
    let said = |name| match property(name) {
        Some(SimpleValue::String(text)) => Some(text.as_str()),
        Some(SimpleValue::Symbol(symbol)) => Some(symbol.as_str()),
        _ => None,
    };
    let status = match property("status-code").or_else(|| property("statusCode")) {
        Some(SimpleValue::Int(status)) => *status,
        _ => return Err(Failure::known(ErrorKind::Protocol, "the answer has no status-code")),
    };
    if !(200..300).contains(&status) {
        let description = said("status-description").or_else(|| said("statusDescription"));
        let condition = said("error-condition").or_else(|| said("errorCondition"));
        let told = condition.map_or_else(|| format!("status {status}"), str::to_owned);
        let refusal = Refusal::new(&told, description, None);
        return Err(match status {
            401 | 403 => Failure::known(ErrorKind::NotAuthorized, refusal.to_string()),
            404 => Failure::known(ErrorKind::NotFound, refusal.to_string()),
            429 => Failure::known(ErrorKind::Throttled, refusal.to_string()),
            500.. => Failure::known(ErrorKind::Unavailable, refusal.to_string()),
            _ => Failure::Refused(refusal),
        });
    }
    match reply.body {
        Body::Value(value) => match value.0 {
            Value::Map(map) => Ok(map),
            _ => Err(Failure::known(ErrorKind::Protocol, "the answer is no map")),
        },
        _ => Err(Failure::known(ErrorKind::Protocol, "the answer is no map")),
    }
}
