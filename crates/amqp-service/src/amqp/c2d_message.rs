//! This file writes a cloud-to-device message as it travels in AMQP.
//!
//! | field | section | type |
//! |---|---|---|
//! | the device | properties.to | string `/devices/{id}/messages/devicebound`, the id percent-encoded |
//! | `message_id`, `correlation_id` | properties | string |
//! | `user_id` | properties | binary, UTF-8 |
//! | `content_type`, `content_encoding` | properties | symbol |
//! | `expiry_time` | properties.absolute-expiry-time | timestamp |
//! | `ack` | application property `iothub-ack` | string |
//! | application properties | application properties | string |
//! | the body | one data section | binary |
//!
//! The official .NET and Node clients encode the id, the Python and Go clients do not; only encoded,
//! an id with `%` in it cannot be taken for another.
//! Source: *Create and read IoT Hub messages* and the official clients.

use fe2o3_amqp::Sendable;
use fe2o3_amqp_types::messaging::{ApplicationProperties, Data, Message, Properties};
use fe2o3_amqp_types::primitives::{Binary, OrderedMap, SimpleValue, Symbol};
use iothub_models::{C2dMessage, DeviceId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::c2d_sender::ACK_PROPERTY;

/// The characters that the Node client's encodeURIComponent encodes: all but these.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// A message ready to be sent, as often as it takes.
pub(crate) struct EncodedMessage(pub(super) Box<Sendable<Data>>);

impl EncodedMessage {
    pub(crate) fn new(device_id: &DeviceId, message: C2dMessage) -> Self {
        let to =
            format!("/devices/{}/messages/devicebound", utf8_percent_encode(device_id.as_str(), RESERVED));
        let mut properties = Properties::builder().to(to).build();
        properties.message_id = message.message_id.map(Into::into);
        properties.correlation_id = message.correlation_id.map(Into::into);
        properties.user_id = message.user_id.map(|user| Binary::from(user.into_bytes()));
        properties.content_type = message.content_type.map(Symbol::from);
        properties.content_encoding = message.content_encoding.map(Symbol::from);
        properties.absolute_expiry_time = message.expiry_time.map(|time| time.as_millisecond().into());

        let ack = message.ack.map(|ack| (ACK_PROPERTY, ack.as_str()));
        let application: OrderedMap<String, SimpleValue> = ack
            .into_iter()
            .chain(message.properties.iter())
            .map(|(name, value)| (name.to_owned(), SimpleValue::String(value.to_owned())))
            .collect();
        let mut encoded = Message::from(Data(Binary::from(Vec::from(message.body))));
        encoded.properties = Some(properties);
        if !application.is_empty() {
            encoded.application_properties = Some(ApplicationProperties(application));
        }
        Self(Box::new(Sendable::builder().message(encoded).build()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fe2o3_amqp_types::messaging::message::__private::Serializable;
    use iothub_models::Acknowledgement;

    use super::*;

    fn wire(device_id: &str, message: C2dMessage) -> Vec<u8> {
        let encoded = EncodedMessage::new(&device_id.parse().unwrap(), message);
        serde_amqp::to_vec(&Serializable(encoded.0.message)).unwrap()
    }

    /// Typed from the AMQP 1.0 standard: 1.6 (type encodings), 3.2.4 to 3.2.6 (sections).
    #[test]
    fn a_message_with_everything_is_these_bytes() {
        let message = C2dMessage {
            body: Bytes::from_static(b"hi"),
            message_id: Some("m1".into()),
            correlation_id: Some("c1".into()),
            user_id: Some("u1".into()),
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            expiry_time: Some("2023-11-14T22:13:20Z".parse().unwrap()),
            ack: Some(Acknowledgement::Full),
            properties: [("color", "red")].into_iter().collect(),
        };
        let expected: &[&[u8]] = &[
            // properties, descriptor 0x73: list8 of 86 bytes with 9 fields
            b"\x00\x53\x73\xc0\x56\x09",
            b"\xa1\x02m1",                                  // message-id, str8
            b"\xa0\x02u1",                                  // user-id, vbin8
            b"\xa1\x23/devices/d%231/messages/devicebound", // to, str8
            b"\x40\x40",                                    // no subject, no reply-to
            b"\xa1\x02c1",                                  // correlation-id, str8
            b"\xa3\x10application/json",                    // content-type, sym8
            b"\xa3\x05utf-8",                               // content-encoding, sym8
            b"\x83\x00\x00\x01\x8b\xcf\xe5\x68\x00",        // absolute-expiry-time, ms64
            // application properties, descriptor 0x74: map8 of 31 bytes with 4 elements
            b"\x00\x53\x74\xc1\x1f\x04",
            b"\xa1\x0aiothub-ack\xa1\x04full",
            b"\xa1\x05color\xa1\x03red",
            // data, descriptor 0x75: vbin8
            b"\x00\x53\x75\xa0\x02hi",
        ];
        assert_eq!(wire("d#1", message), expected.concat());
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let expected: &[&[u8]] = &[
            // properties: list8 of 36 bytes with 3 fields, the first two null
            b"\x00\x53\x73\xc0\x24\x03\x40\x40",
            b"\xa1\x1f/devices/d/messages/devicebound",
            // no application properties; data: vbin8, empty
            b"\x00\x53\x75\xa0\x00",
        ];
        assert_eq!(wire("d", C2dMessage::default()), expected.concat());
    }

    #[test]
    fn a_body_over_255_bytes_has_a_four_byte_length() {
        let bytes = wire("d", C2dMessage::new(vec![7; 300]));
        let section = [b"\x00\x53\x75\xb0\x00\x00\x01\x2c".as_slice(), &[7; 300]].concat();
        assert!(bytes.ends_with(&section));
    }

    #[test]
    fn the_id_in_the_address_is_encoded_as_encode_uri_component_does() {
        let punctuation = "-:.+%_#*?!(),=@$'";
        let bytes = wire(punctuation, C2dMessage::default());
        let to = "/devices/-%3A.%2B%25_%23*%3F!()%2C%3D%40%24'/messages/devicebound";
        assert!(bytes.windows(to.len()).any(|window| window == to.as_bytes()));
    }
}
