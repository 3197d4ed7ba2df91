//! This file talks to the nodes that answer requests: to `$cbs`, where a peer puts its token, and to `$management`, which
//! describes the partitions of the event stream.

use fe2o3_amqp_types::definitions::Handle;
use fe2o3_amqp_types::messaging::message::__private::Deserializable;
use fe2o3_amqp_types::messaging::{ApplicationProperties, Body, Message, MessageId};
use fe2o3_amqp_types::performatives::Performative;
use fe2o3_amqp_types::primitives::{SimpleValue, Value};

use super::messages::value_request;
use super::{AmqpPeer, put_token};

/// An answer on `$cbs`.
#[derive(Debug, PartialEq)]
pub struct CbsAnswer {
    /// The status code, as in HTTP.
    pub status: i32,
    /// The hub's description of the status.
    pub description: String,
    /// The message id of the request, if that had one.
    pub correlation_id: Option<MessageId>,
}

/// An answer on `$management`.
#[derive(Debug)]
pub struct Managed {
    /// The status code, as in HTTP.
    pub status: i32,
    /// The condition of an error.
    pub condition: Option<String>,
    /// The message id of the request.
    pub correlation_id: Option<MessageId>,
    /// The body, which is a map.
    pub body: Value,
}

impl Managed {
    /// Returns a value of the map that is the body.
    ///
    /// # Panics
    /// If the body is no map.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let Value::Map(map) = &self.body else { panic!("no map: {:?}", self.body) };
        map.get(&Value::String(name.to_owned()))
    }
}

/// Returns the status and its description. Clients take no other types than these.
fn status(properties: &ApplicationProperties) -> (i32, String) {
    match (property(properties, "status-code"), property(properties, "status-description")) {
        (Some(SimpleValue::Int(status)), Some(SimpleValue::String(description))) => {
            (*status, description.clone())
        }
        _ => panic!("no status: {properties:?}"),
    }
}

fn property<'a>(properties: &'a ApplicationProperties, wanted: &str) -> Option<&'a SimpleValue> {
    properties.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

impl AmqpPeer {
    /// Attaches the links to `$cbs`: the peer sends on handle 0 and receives on handle 1.
    ///
    /// # Panics
    /// If the hub refuses them.
    pub async fn attach_cbs(&mut self) {
        self.attach_receiver(1, "$cbs").await.expect("the hub has $cbs");
        self.attach_sender(0, "$cbs").await.expect("the hub has $cbs");
    }

    /// Puts a token, after [`attach_cbs`](Self::attach_cbs), and returns the answer.
    ///
    /// # Panics
    /// As [`cbs_answer`](Self::cbs_answer).
    pub async fn put_token(&mut self, token: &str) -> CbsAnswer {
        self.post(0, &put_token(Some(MessageId::Ulong(7)), token)).await;
        self.cbs_answer().await
    }

    /// Returns the next answer on `$cbs`. Frames that are no transfers are dropped.
    ///
    /// # Panics
    /// If a transfer of another link comes, or the answer has no status.
    pub async fn cbs_answer(&mut self) -> CbsAnswer {
        loop {
            let (Performative::Transfer(transfer), payload) = self.recv().await else { continue };
            assert_eq!((transfer.handle, transfer.more), (Handle(1), false));
            let Deserializable(answer): Deserializable<Message<Body<Value>>> =
                serde_amqp::from_slice(&payload).expect("a message");
            let properties = answer.application_properties.expect("an answer has a status");
            let (status, description) = status(&properties);
            let correlation_id = answer.properties.and_then(|properties| properties.correlation_id);
            return CbsAnswer { status, description, correlation_id };
        }
    }

    /// Attaches the links to `$management`: the peer sends on handle 10 and receives on handle 11.
    ///
    /// # Panics
    /// If the hub refuses them.
    pub async fn attach_management(&mut self) {
        self.attach_receiver(11, "$management").await.expect("the hub has $management");
        self.attach_sender(10, "$management").await.expect("the hub has $management");
    }

    /// Sends one request to `$management`, after [`attach_management`](Self::attach_management), and returns the answer.
    ///
    /// # Panics
    /// If another message comes than the answer, or the answer has no status or no value.
    pub async fn manage(&mut self, pairs: &[(&str, &str)]) -> Managed {
        self.post(10, &value_request(Some(MessageId::Ulong(9)), pairs, Value::Null)).await;
        let answer = self.event().await;
        assert_eq!(answer.handle, 11);
        let properties = answer.message.application_properties.expect("an answer has a status");
        let Body::Value(body) = answer.message.body else { panic!("no value") };
        Managed {
            status: status(&properties).0,
            condition: property(&properties, "error-condition").map(|value| match value {
                SimpleValue::Symbol(condition) => condition.0.clone(),
                other => panic!("no symbol: {other:?}"),
            }),
            correlation_id: answer.message.properties.and_then(|properties| properties.correlation_id),
            body: body.0,
        }
    }
}
