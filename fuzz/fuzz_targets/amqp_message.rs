//! Any bytes as a message: what the scanner lets through the decoder reads or refuses, and what it
//! reads it writes readably.
#![no_main]

use bytes::{Bytes, BytesMut};
use iothub_amqp_server::{Message, codec::scan_message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if scan_message(bytes).is_err() {
        return;
    }
    if let Ok(message) = Message::decode(&Bytes::copy_from_slice(bytes)) {
        let mut again = BytesMut::new();
        message.encode(&mut again);
        scan_message(&again).expect("what we write passes our own scan");
        Message::decode(&again.freeze()).expect("what we write we can read");
    }
});
