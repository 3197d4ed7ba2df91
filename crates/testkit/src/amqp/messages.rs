//! This file encodes the messages that back ends send, and reads the errors that the hub answers.

use fe2o3_amqp_types::definitions::Error;
use fe2o3_amqp_types::messaging::message::__private::Serializable;
use fe2o3_amqp_types::messaging::{ApplicationProperties, Data, Message, MessageId, Properties};
use fe2o3_amqp_types::primitives::{Binary, Value};

/// The node that takes cloud-to-device messages.
pub const DEVICE_BOUND: &str = "/messages/devicebound";

/// The condition and the description of an error, as a client reads them.
pub type Refusal = (String, String);

/// Returns a message to a device, encoded.
///
/// # Panics
/// If it cannot be encoded.
#[must_use]
pub fn c2d(device: &str, body: &[u8]) -> Vec<u8> {
    c2d_with(&format!("/devices/{device}/messages/devicebound"), body, |_| {})
}

/// Returns a message to an address, encoded after `change` has changed it.
///
/// # Panics
/// If it cannot be encoded.
pub fn c2d_with(to: &str, body: &[u8], change: impl FnOnce(&mut Message<Data>)) -> Vec<u8> {
    let mut message = Message::from(Data(Binary::from(body.to_vec())));
    message.properties = Some(Properties::builder().to(to).build());
    change(&mut message);
    serde_amqp::to_vec(&Serializable(message)).expect("a message can be encoded")
}

/// Returns application properties of text.
#[must_use]
pub fn properties(pairs: &[(&str, &str)]) -> ApplicationProperties {
    pairs
        .iter()
        .fold(ApplicationProperties::builder(), |all, (name, value)| all.insert(*name, *value))
        .build()
}

/// Returns a request to `$cbs` that puts a SAS token for the hub `localhost`, encoded.
///
/// # Panics
/// If it cannot be encoded.
#[must_use]
pub fn put_token(id: Option<MessageId>, token: &str) -> Vec<u8> {
    let kind = "servicebus.windows.net:sastoken";
    request(id, &[("operation", "put-token"), ("type", kind), ("name", "localhost")], token)
}

/// Returns any request to `$cbs`, encoded.
///
/// # Panics
/// If it cannot be encoded.
#[must_use]
pub fn request(id: Option<MessageId>, pairs: &[(&str, &str)], body: &str) -> Vec<u8> {
    value_request(id, pairs, Value::String(body.to_owned()))
}

/// Returns a request with any value as its body, encoded.
pub(super) fn value_request(id: Option<MessageId>, pairs: &[(&str, &str)], body: Value) -> Vec<u8> {
    let mut message = Message::builder().value(body).build();
    message.properties = id.map(|id| Properties::builder().message_id(id).build());
    message.application_properties = Some(properties(pairs));
    serde_amqp::to_vec(&Serializable(message)).expect("a request can be encoded")
}

/// Returns the condition and the description of an error.
///
/// # Panics
/// If it has no description: every refusal of the hub says why.
#[must_use]
pub fn refusal(error: Error) -> Refusal {
    (condition_of(&error), error.description.expect("every refusal says why"))
}

/// Returns the condition of an error, which need not have a description.
///
/// # Panics
/// If the condition is no symbol.
#[must_use]
pub fn condition_of(error: &Error) -> String {
    match serde_amqp::to_value(&error.condition) {
        Ok(Value::Symbol(condition)) => condition.0,
        other => panic!("no condition: {other:?}"),
    }
}

/// Returns the condition of a refusal.
///
/// # Panics
/// If the hub did not refuse.
pub fn condition<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> String {
    outcome.expect_err("the hub refuses this").0
}
