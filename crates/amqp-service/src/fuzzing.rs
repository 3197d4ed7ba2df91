//! This file opens the parsers of what a hub sends to the fuzz targets. It exists only while fuzzing.

/// Reads `bytes` as a connection's stream, as a message of every kind, and as a batch of feedback.
pub fn hub_bytes(bytes: &[u8]) {
    crate::amqp::fuzzing::frames(bytes);
    if let Some(body) = crate::amqp::fuzzing::message(bytes) {
        crate::feedback::fuzzing_records(&body);
    }
    crate::feedback::fuzzing_records(bytes);
}
