//! Sound and unsound frames, by hand and by the thousand.

use proptest::prelude::*;
use serde_amqp::Value;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use serde_amqp::primitives::{Array, OrderedMap, Symbol};

use super::*;

const MAX_FRAME_SIZE: usize = 64 * 1024;

fn frame(body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(FRAME_HEADER + body.len()).unwrap();
    [&size.to_be_bytes()[..], &[2, 0, 0, 0], body].concat()
}

fn started() -> Inbound {
    Inbound { header_seen: true, ..Inbound::default() }
}

/// A transfer on a link, with a part of a message.
fn transfer(handle: u8, more: bool, aborted: bool, part: &[u8]) -> Vec<u8> {
    let flag = |set| if set { 0x41 } else { 0x42 };
    let fields = [0x52, handle, 0x43, 0xa0, 1, 7, 0x43, 0x40, flag(more), 0x40, 0x40, 0x40, flag(aborted)];
    let size = u8::try_from(fields.len() + 1).unwrap();
    frame(&[&[0x00, 0x53, 0x14, 0xc0, size, 10], &fields[..], part].concat())
}

/// What a hub sends after the protocol header.
fn inbound(bytes: &[u8]) -> Result<usize, Defect> {
    started().whole_frames(bytes, MAX_FRAME_SIZE)
}

fn nested(levels: usize) -> Vec<u8> {
    let mut value = vec![0x45];
    for _ in 0..levels {
        let size = u32::try_from(value.len() + 4).unwrap();
        value = [&[0xd0][..], &size.to_be_bytes(), &1_u32.to_be_bytes(), &value].concat();
    }
    value
}

#[test]
fn only_whole_frames_are_passed_on() {
    let mut inbound = Inbound::default();
    let bytes = [&b"AMQP\x00\x01\x00\x00"[..], &frame(b"\x00\x53\x18\x45"), &frame(b"")].concat();
    for arrived in 0..bytes.len() {
        let mut inbound = Inbound::default();
        let whole = inbound.whole_frames(&bytes[..arrived], MAX_FRAME_SIZE).unwrap();
        assert!(whole <= arrived && [0, 8, 20].contains(&whole), "{whole} of {arrived}");
    }
    assert_eq!(inbound.whole_frames(&bytes, MAX_FRAME_SIZE), Ok(bytes.len()));
}

#[test]
fn nesting_has_a_limit_that_lists_and_descriptions_share() {
    assert!(inbound(&frame(&nested(MAX_DEPTH))).is_ok());
    assert!(inbound(&frame(&nested(MAX_DEPTH + 1))).is_err());
    assert!(inbound(&frame(&nested(5000))).is_err());
    assert!(inbound(&frame(&[0; 10_000])).is_err());
}

#[test]
fn forged_sizes_and_counts_are_refused() {
    for (what, body) in [
        ("a binary of 4 GB", &b"\xb0\xff\xff\xff\xff"[..]),
        ("a string beyond the end", b"\xa1\x05abc"),
        ("a list beyond the end", b"\xc0\x05\x01\x40"),
        ("a list of 4 billion elements", b"\xd0\x00\x00\x00\x05\xff\xff\xff\xff\x40"),
        ("a list with an element too few", b"\xc0\x02\x02\x40"),
        ("a list with an element too many", b"\xc0\x03\x01\x40\x40"),
        ("a list whose element leaves it", b"\xc0\x03\x01\xa1\x05abcde"),
        ("a list without room for its count", b"\xc0\x00"),
        ("an array of 4 billion nulls", b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40"),
        ("an array of lists", b"\xe0\x05\x01\xc0\x02\x01\x40"),
        ("an array longer than its elements", b"\xe0\x05\x01\x50\x01\x02\x03"),
        ("an array shorter than its elements", b"\xe0\x03\x03\x50\x01"),
        ("a description of nothing", b"\x00\x53\x10"),
        ("a type that is none", b"\x01"),
    ] {
        assert!(inbound(&frame(body)).is_err(), "{what}");
    }
    for (what, bytes) in [
        ("a frame without its header", &b"\x00\x00\x00\x07\x02\x00\x00"[..]),
        ("a frame of 4 GB", b"\xff\xff\xff\xff\x02\x00\x00\x00"),
        ("a data offset within the header", b"\x00\x00\x00\x08\x01\x00\x00\x00"),
        ("a data offset beyond the frame", b"\x00\x00\x00\x08\x03\x00\x00\x00"),
    ] {
        assert!(inbound(bytes).is_err(), "{what}");
    }
}

#[test]
fn a_second_header_may_follow_a_sasl_layer() {
    let mut inbound = Inbound::default();
    let sasl_outcome = [0, 0, 0, 0x10, 2, 1, 0, 0, 0x00, 0x53, 0x44, 0xc0, 0x03, 0x01, 0x50, 0x00];
    let bytes = [&b"AMQP\x03\x01\x00\x00"[..], &sasl_outcome, b"AMQP\x00\x01\x00\x00", &frame(b"")].concat();
    assert_eq!(inbound.whole_frames(&bytes, MAX_FRAME_SIZE), Ok(bytes.len()));
}

#[test]
fn a_message_may_come_in_parts_and_its_links_do_not_mix() {
    let message = b"\x00\x53\x75\xa0\x06abcdef";
    let mut inbound = started();
    for cut in 0..=message.len() {
        let (first, last) = message.split_at(cut);
        for part in [
            transfer(1, true, false, first),
            transfer(2, true, false, last),
            transfer(3, false, false, message),
            transfer(2, true, true, b"junk"),
            transfer(1, false, false, last),
        ] {
            assert_eq!(inbound.whole_frames(&part, MAX_FRAME_SIZE), Ok(part.len()), "cut at {cut}");
        }
        assert_eq!((inbound.waiting, inbound.unfinished.len()), (0, 0));
    }
}

#[test]
fn a_message_in_parts_is_checked_as_a_whole() {
    for bad in [&nested(5000)[..], b"\xb0\xff\xff\xff\xff", b"\xa1\x05abc"] {
        let mut inbound = started();
        let (first, last) = bad.split_at(bad.len() / 2);
        assert!(inbound.whole_frames(&transfer(1, true, false, first), MAX_FRAME_SIZE).is_ok());
        assert!(inbound.whole_frames(&transfer(1, false, false, last), MAX_FRAME_SIZE).is_err());
    }
}

#[test]
fn the_end_of_a_link_is_the_end_of_its_message() {
    let mut inbound = started();
    let detach = frame(b"\x00\x53\x16\xc0\x04\x02\x52\x01\x41");
    for bytes in [transfer(1, true, false, b"\xa1\x05abc"), detach, transfer(1, false, false, b"\x40")] {
        assert_eq!(inbound.whole_frames(&bytes, MAX_FRAME_SIZE), Ok(bytes.len()));
    }
}

#[test]
fn parts_of_messages_have_a_bound() {
    let mut inbound = started();
    let part = vec![0; 60_000];
    let refused = (0..1000).map(|index| {
        let handle = u8::try_from(index % 200).unwrap();
        inbound.whole_frames(&transfer(handle, true, false, &part), MAX_FRAME_SIZE)
    });
    assert!(refused.filter(Result::is_err).count() > 0);
    assert!(inbound.waiting <= MAX_WAITING);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::Ulong),
        any::<i32>().prop_map(Value::Int),
        any::<u16>().prop_map(Value::Ushort),
        any::<[u8; 16]>().prop_map(|bytes| Value::Uuid(bytes.into())),
        ".{0,300}".prop_map(Value::String),
        "[ -~]{0,40}".prop_map(|text| Value::Symbol(Symbol::from(text))),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Binary(bytes.into())),
        prop::collection::vec("[a-z]{0,9}", 1..5).prop_map(|symbols| {
            Value::Array(Array::from(
                symbols.into_iter().map(|text| Value::Symbol(Symbol::from(text))).collect::<Vec<_>>(),
            ))
        }),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            prop::collection::vec(("[a-z]{1,9}", inner.clone()), 0..5).prop_map(|pairs| {
                let map: OrderedMap<Value, Value> =
                    pairs.into_iter().map(|(key, value)| (Value::String(key), value)).collect();
                Value::Map(map)
            }),
            (any::<u64>(), inner).prop_map(|(code, value)| {
                Value::Described(Box::new(Described { descriptor: Descriptor::Code(code), value }))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_an_encoder_makes_is_passed_on(values in prop::collection::vec(any_value(), 1..4)) {
        let mut body = Vec::new();
        for value in values {
            body.extend(serde_amqp::to_vec(&value).unwrap());
        }
        let frame = frame(&body);
        prop_assume!(frame.len() <= MAX_FRAME_SIZE);
        prop_assert_eq!(inbound(&frame), Ok(frame.len()));
    }

    #[test]
    fn what_is_passed_on_can_be_decoded_without_harm(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        codes in prop::collection::vec((0..200_usize, 0..16_usize), 0..40),
    ) {
        const CODES: [u8; 16] = [
            0x00, 0x40, 0x45, 0x50, 0x53, 0x70, 0x80, 0xa0, 0xa1, 0xb0, 0xc0, 0xc1, 0xd0, 0xe0, 0xf0, 0x05,
        ];
        for (at, code) in codes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = CODES[code];
            }
        }
        if check_values(&bytes).is_ok() {
            // Whether it succeeds is the library's affair; it must return.
            let _decoded = serde_amqp::from_slice::<Value>(&bytes);
        }
    }
}
