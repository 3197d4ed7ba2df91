//! This file opens the parsers of what a hub sends to the fuzz targets. It exists only while fuzzing.

use fe2o3_amqp_types::messaging::Body;
use fe2o3_amqp_types::messaging::message::DecodeIntoMessage as _;
use serde_amqp::Value;

use super::inbound::{self, Inbound};
use super::{event, management};

/// The largest frame of the connections of this crate.
const MAX_FRAME: usize = 64 * 1024;

/// Looks through `bytes` as the stream of a connection. What is not whole is not counted.
pub(crate) fn frames(bytes: &[u8]) {
    let mut inbound = Inbound::default();
    let mut rest = bytes;
    while let Ok(whole) = inbound.whole_frames(rest, MAX_FRAME)
        && whole > 0
    {
        rest = &rest[whole..];
    }
}

/// Reads `bytes` as a message, if the look through them lets them pass: as an event, and as an answer of the
/// management node. Returns its body, if it has one.
pub(crate) fn message(bytes: &[u8]) -> Option<Vec<u8>> {
    inbound::check_values(bytes).ok()?;
    let read = || <Body<Value>>::decode_message_from_reader(serde_amqp::read::IoReader::new(bytes)).ok();
    drop(event::event(read()?, &"0".into()));
    drop(management::answer(read()?));
    event::body(read()?.body)
}
