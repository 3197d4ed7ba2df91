//! The scanner and the codec: on any bytes, and against another implementation of the same types.

// A test may stop at the first surprise, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::messaging;
use iothub_amqp_server::{
    Array, Body, DecodeError, Encode, Header, Map, Message, MessageId, MessageWriter, Properties, Symbol,
    Timestamp, Value,
    codec::{MAX_DEPTH, scan_message, scan_value},
};
use proptest::prelude::*;
use serde_amqp::{from_slice, to_vec};

fn encoded(value: &Value) -> BytesMut {
    let mut out = BytesMut::new();
    value.encode(&mut out);
    out
}

/// Reads one value through the only public way in: as the body of a message.
fn decoded(value: &[u8]) -> Result<Value, DecodeError> {
    let message = Bytes::from([&[0x00, 0x53, 0x77], value].concat());
    scan_message(&message)?;
    match Message::decode(&message)?.body {
        Body::Value(value) => Ok(value),
        other => panic!("{other:?}"),
    }
}

fn values() -> impl Strategy<Value = Value> {
    // Arrays of ASCII, and not empty: the other implementation counts characters where the standard
    // counts bytes, and loses its place after an empty one.
    let texts = prop::collection::vec("[ -~]{0,300}", 1..4);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u8>().prop_map(Value::Ubyte),
        any::<u16>().prop_map(Value::Ushort),
        prop_oneof![0..300u32, any::<u32>()].prop_map(Value::Uint),
        prop_oneof![0..300u64, any::<u64>()].prop_map(Value::Ulong),
        any::<i8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Short),
        prop_oneof![-200..200i32, any::<i32>()].prop_map(Value::Int),
        prop_oneof![-200..200i64, any::<i64>()].prop_map(Value::Long),
        (-1e9..1e9f32).prop_map(Value::Float),
        (-1e9..1e9f64).prop_map(Value::Double),
        any::<char>().prop_map(Value::Char),
        any::<i64>().prop_map(|ms| Value::Timestamp(Timestamp(ms))),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        any::<[u8; 16]>().prop_map(Value::Decimal128),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Binary(bytes.into())),
        ".{0,300}".prop_map(Value::String),
        "[ -~]{0,300}".prop_map(|text| Value::Symbol(text.into())),
        texts.prop_map(|texts| Value::Array(Array::of_strings(texts))),
        prop::collection::vec("[a-z]{1,9}", 1..4).prop_map(|names| Value::Array(Array::of_symbols(names))),
    ];
    // Keys and descriptors as they occur: the other implementation reads no others.
    let key = prop_oneof![
        any::<u64>().prop_map(Value::Ulong),
        "[a-z]{1,9}".prop_map(|name| Value::Symbol(name.into()))
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            prop::collection::vec((key.clone(), inner.clone()), 0..4)
                .prop_map(|entries| Value::Map(entries.into_iter().collect::<Map>())),
            (key.clone(), inner).prop_map(|both| Value::Described(Box::new(both))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(value in values()) {
        let bytes = encoded(&value);
        prop_assert_eq!(scan_value(&bytes), Ok(bytes.len()));
        prop_assert_eq!(decoded(&bytes), Ok(value));
    }

    #[test]
    fn another_implementation_reads_what_is_written(value in values()) {
        let bytes = encoded(&value);
        let theirs: serde_amqp::Value = from_slice(&bytes).unwrap();
        // And what it writes is read the same, in whatever form it chose.
        prop_assert_eq!(decoded(&to_vec(&theirs).unwrap()), Ok(value));
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(len) = scan_value(&bytes) {
            prop_assert!(len <= bytes.len());
            // Only text and characters can still be wrong.
            let read = decoded(&bytes[..len]);
            prop_assert!(matches!(read, Ok(_) | Err(DecodeError::NotUnicode | DecodeError::WrongType(_))), "{read:?}");
        }
        // Unscanned bytes must not harm either.
        drop(Message::decode(&bytes.into()));
    }

    #[test]
    fn a_damaged_value_is_refused_or_read(value in values(), at: prop::sample::Index, to: u8, cut: bool) {
        let mut bytes = encoded(&value);
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
            prop_assert!(scan_value(&bytes).is_err());
        } else {
            bytes[at] = to;
            if let Ok(len) = scan_value(&bytes) {
                let read = decoded(&bytes[..len]);
                prop_assert!(
                    matches!(read, Ok(_) | Err(DecodeError::NotUnicode | DecodeError::WrongType(_))),
                    "{read:?}"
                );
            }
        }
    }
}

#[test]
fn depth_is_bounded_exactly() {
    // The message's section and each list are one level; the innermost value sits in the last.
    let nested = |depth: usize| {
        let mut value = vec![0x40];
        for _ in 0..depth {
            let size = u32::try_from(value.len() + 4).unwrap();
            value = [&[0xd0][..], &size.to_be_bytes(), &[0, 0, 0, 1], &value].concat();
        }
        value
    };
    assert!(scan_value(&nested(MAX_DEPTH - 1)).is_ok());
    assert_eq!(scan_value(&nested(MAX_DEPTH)), Err(DecodeError::TooDeep));
    assert_eq!(scan_value(&nested(10_000)), Err(DecodeError::TooDeep));
    assert_eq!(scan_value(&[0x00; 10_000]), Err(DecodeError::TooDeep));
    assert!(decoded(&nested(MAX_DEPTH - 2)).is_ok());

    // The empty list has a short form of its own and is a level all the same: what passes the scan must
    // pass it again in the form that we write.
    let ending_in_list0 = |depth: usize| {
        let mut value = vec![0x45];
        for _ in 1..depth {
            let size = u32::try_from(value.len() + 4).unwrap();
            value = [&[0xd0], &size.to_be_bytes()[..], &1u32.to_be_bytes(), &value].concat();
        }
        value
    };
    let deepest = decoded(&ending_in_list0(MAX_DEPTH - 2)).unwrap();
    assert_eq!(decoded(&encoded(&deepest)), Ok(deepest));
    assert_eq!(scan_value(&ending_in_list0(MAX_DEPTH)), Err(DecodeError::TooDeep));
}

#[test]
fn forged_sizes_and_counts_are_refused() {
    for (bytes, expected) in [
        (&b"\xb0\xff\xff\xff\xff"[..], DecodeError::Truncated),
        (b"\xd0\xff\xff\xff\xff\x00\x00\x00\x01\x40", DecodeError::Truncated),
        // An inner value may not end beyond its list.
        (b"\xc0\x03\x01\xa1\x05hello", DecodeError::Truncated),
        (b"\xc0\x02\x02\x40\x40", DecodeError::Truncated),
        (b"\xc0\x03\x01\x40\x40", DecodeError::SizeMismatch),
        (b"\xc1\x04\x03\x40\x40\x40", DecodeError::SizeMismatch),
        // Four billion elements of no width.
        (b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40", DecodeError::SizeMismatch),
        (b"\xe0\x03\x01\x00\x40", DecodeError::UnknownConstructor(0)),
        (b"\x4f", DecodeError::UnknownConstructor(0x4f)),
        (b"", DecodeError::Truncated),
    ] {
        assert_eq!(scan_value(bytes), Err(expected), "{bytes:02x?}");
    }
    let many = [&[0xd0][..], &20_004u32.to_be_bytes(), &20_000u32.to_be_bytes(), &[0x40; 20_000]].concat();
    assert_eq!(scan_value(&many), Err(DecodeError::TooManyValues));
}

fn full_message() -> Message {
    Message {
        header: Header { durable: true, ttl: Some(5), delivery_count: 2, ..Header::default() },
        delivery_annotations: Map::new().with(Symbol::from("lock"), MessageId::Uuid([7; 16])),
        message_annotations: Map::new()
            .with(Symbol::from("x-opt-sequence-number"), 300i64)
            .with(Symbol::from("x-opt-enqueued-time"), Timestamp(1_700_000_000_000)),
        properties: Properties {
            message_id: Some(MessageId::Ulong(7)),
            user_id: Some(Bytes::from_static(b"me")),
            to: Some("/devices/d/messages".into()),
            correlation_id: Some(MessageId::Uuid([9; 16])),
            content_type: Some("application/json".into()),
            absolute_expiry_time: Some(Timestamp(-1)),
            group_sequence: Some(1),
            reply_to_group_id: Some("g".into()),
            ..Properties::default()
        },
        application_properties: Map::new().with("status-code", 200i32).with("status-description", "OK"),
        body: Body::data(&b"body"[..]),
        footer: Map::new(),
    }
}

#[test]
fn messages_survive_and_another_implementation_reads_them() {
    let message = full_message();
    let mut out = BytesMut::new();
    message.encode(&mut out);
    let bytes = out.freeze();
    scan_message(&bytes).unwrap();
    assert_eq!(Message::decode(&bytes).unwrap(), message);

    type Theirs =
        messaging::message::__private::Deserializable<messaging::Message<messaging::Body<serde_amqp::Value>>>;
    let theirs = from_slice::<Theirs>(&bytes).unwrap().0;
    let properties = theirs.properties.as_ref().unwrap();
    assert_eq!(properties.message_id, Some(messaging::MessageId::Ulong(7)));
    assert_eq!(properties.content_type.as_ref().map(|symbol| symbol.0.as_str()), Some("application/json"));
    assert_eq!(
        theirs.application_properties.as_ref().unwrap().0.get("status-code"),
        Some(&fe2o3_amqp_types::primitives::SimpleValue::Int(200))
    );
    // Trimmed lists and other forms, as this implementation writes them, read the same.
    let again = Bytes::from(to_vec(&messaging::message::__private::Serializable(theirs)).unwrap());
    assert_eq!(Message::decode(&again).unwrap(), message);
}

#[test]
fn the_writer_writes_what_the_message_does() {
    let message = full_message();
    let (mut built, mut written) = (BytesMut::new(), BytesMut::new());
    message.encode(&mut built);
    let mut writer = MessageWriter::new(&mut written);
    writer.header(&message.header);
    writer.delivery_annotations(&message.delivery_annotations);
    writer.message_annotations(|map| {
        map.symbol("x-opt-sequence-number", 300i64);
        map.symbol("x-opt-enqueued-time", Timestamp(1_700_000_000_000));
    });
    writer.properties(&message.properties);
    writer.application_properties(|map| {
        map.entry("status-code", 200i32).entry("status-description", "OK");
    });
    writer.data(b"body");
    assert_eq!(built, written);
}

#[test]
fn bodies_of_several_sections_and_of_none() {
    let batch = Message {
        body: Body::Data(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]),
        ..Message::default()
    };
    let mut out = BytesMut::new();
    batch.encode(&mut out);
    let read = Message::decode(&out.freeze()).unwrap();
    assert_eq!(read, batch);
    assert_eq!(read.body.to_data().unwrap(), "ab");
    assert_eq!(Message::decode(&Bytes::new()).unwrap().body.to_data().unwrap(), "");
    let sequence = Message { body: Body::Sequence(vec![vec![Value::Int(1)], vec![]]), ..Message::default() };
    let mut out = BytesMut::new();
    sequence.encode(&mut out);
    assert_eq!(Message::decode(&out.freeze()).unwrap(), sequence);
}
