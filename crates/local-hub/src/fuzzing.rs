//! The parsers that strangers' bytes reach, for the fuzz targets. Exists only while fuzzing.

use bytes::BytesMut;
use iothub_models::DeviceId;

/// Reads `text` as what an MQTT client chooses: client id, user name, topics, filters, property bags.
pub fn mqtt_text(text: &str) {
    let (first, second) = text.split_once('\n').unwrap_or((text, text));
    crate::mqtt::fuzzing::text(first, second);
}

/// Reads `text` as the topic of an answer to a direct method, and as the body of a call.
pub fn method_text(text: &str) {
    crate::mqtt::fuzzing::method_answer(text);
    crate::https::fuzzing_method(text.as_bytes());
}

/// Reads `bytes` as MQTT packets, before and after the CONNECT.
pub fn mqtt_packets(bytes: &[u8]) {
    crate::mqtt::fuzzing::packets(&BytesMut::from(bytes));
}

/// Reads `text` as the filter that says where a reader of events begins.
pub fn amqp_selector(text: &str) {
    crate::amqp::fuzzing_selector(text);
}

/// Reads `text` as the address of an AMQP message, and as the id in it.
pub fn amqp_address(text: &str) {
    crate::amqp::fuzzing_address(text);
    drop(text.parse::<DeviceId>());
}
