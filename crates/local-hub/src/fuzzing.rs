//! This file gives the fuzz targets access to the parsers that foreign bytes reach. It exists only while fuzzing.

use bytes::BytesMut;
use iothub_models::{DeviceId, Identity};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::core::refusal::{HubError, Precondition};
use crate::core::twins::{TwinWrite, Twins, Written};

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

/// Reads `body` as the body of every HTTPS request that has one: identities, twins, event batches, calls. A write
/// of a twin that the hub takes leaves a twin that it can read.
pub fn https_body(body: &[u8]) {
    for write in crate::https::fuzzing_bodies(body) {
        let mut twins = Twins::default();
        let id = Identity::device("d1".parse().expect("it is an id"));
        twins.create(id.clone(), Timestamp::UNIX_EPOCH);
        let _taken = taken(&mut twins, &id, &write);
        twins.get(&id).expect("what was written can be read");
        report(&mut twins, &id, body);
        // The same desired properties are written again over the twin that has them.
        let _taken = taken(&mut twins, &id, &TwinWrite { tags: None, ..write });
        twins.get(&id).expect("what was written twice can be read");
    }
}

/// Makes a back end's change, or refuses it.
fn taken(twins: &mut Twins, id: &Identity, write: &TwinWrite) -> Result<Written, HubError> {
    twins.edit(id)?.write(write, &Precondition::None, Timestamp::UNIX_EPOCH, true)
}

/// Makes a device's change of its reported properties, or refuses it.
fn report(twins: &mut Twins, id: &Identity, body: &[u8]) {
    if let Ok(patch) = serde_json::from_slice::<Map<String, Value>>(body) {
        let _taken = twins.report(id, &patch, None, Timestamp::UNIX_EPOCH, true);
        twins.get(id).expect("what was reported can be read");
    }
}

/// Reads lines of `name: value` as the headers of a message to a device and of one from it. What is taken can be
/// written as headers for a device.
pub fn https_headers(text: &str) {
    crate::https::fuzzing_headers(text);
}

/// Reads the line after the first as the place where the next page of the query in the first begins.
pub fn continuation(text: &str) {
    let (query, token) = text.split_once('\n').unwrap_or(("", text));
    crate::core::continuation::fuzzing(query, token);
}

/// Reads `text` as the state file of a hub, from a folder, as a hub does when it starts.
pub fn state_file(text: &[u8]) {
    crate::state_dir::fuzzing(text);
}

/// Reads `bytes` as MQTT packets, before and after the CONNECT.
pub fn mqtt_packets(bytes: &[u8]) {
    crate::mqtt::fuzzing::packets(&BytesMut::from(bytes));
}

/// Reads `bytes` as the frames of a WebSocket client, in whole and in pieces.
pub fn websocket_frames(bytes: &[u8]) {
    crate::websocket::fuzzing::frames(bytes);
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

/// Reads `bytes` as what a device presents in its handshake, and as a CA file. The bytes are one certificate, and also
/// several: in front of each stands its length, in two bytes.
pub fn device_certificates(bytes: &[u8]) {
    crate::authorize::fuzzing_certificates(vec![bytes.to_vec()]);
    let (mut chain, mut rest) = (Vec::new(), bytes);
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (own, next) = after.split_at(after.len().min(u16::from_be_bytes(*length).into()));
        chain.push(own.to_vec());
        rest = next;
    }
    if !chain.is_empty() {
        crate::authorize::fuzzing_certificates(chain);
    }
}
