//! This file opens the parsers of MQTT text and packets to the fuzz targets. It exists only while fuzzing.

use bytes::BytesMut;
use iothub_models::{DeviceId, Identity};

use super::{codec, filters, method, property_bag, topics, user_name};

/// Reads two texts as everything that a text of a client may be.
pub(crate) fn text(first: &str, second: &str) {
    drop(user_name::parse(first, second));
    drop(property_bag::read(first));
    if let Ok(device) = second.parse::<DeviceId>() {
        let id = Identity::device(device);
        drop(topics::parse_publish(first, &id));
        if filters::check(first, &id).is_ok() {
            let _opens = filters::opens_anything(first);
            assert!(!filters::covers(first, "devices/another device/messages/devicebound/x"), "{first}");
        }
    }
}

/// Reads the topic of an answer to a method, and checks that a number that is read stands in it.
pub(crate) fn method_answer(rest: &str) {
    if let Ok(method::MethodResponse { number: Some(number), .. }) = method::parse(rest) {
        assert!(rest.contains(&format!("$rid={number:x}")), "{rest}");
    }
}

/// Reads bytes as a CONNECT and as the packets after it.
pub(crate) fn packets(bytes: &BytesMut) {
    drop(codec::read_connect(&mut bytes.clone()));
    let mut rest = bytes.clone();
    while let Ok(Some(_packet)) = codec::read(&mut rest, 256 * 1024) {}
}
