//! These tests decode frames in every division of their bytes into reads. They write frames of their own.

use proptest::prelude::*;

use super::*;

/// Returns a frame as a client sends it, with a mask.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let length = payload.len();
    let mut frame = vec![first];
    match length {
        0..=125 => frame.push(0x80 | length as u8),
        126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
    frame
}

/// Decodes bytes in pieces of `step` bytes; returns the payload and the decoder.
fn decoded(bytes: &[u8], step: usize) -> (Vec<u8>, Decoder) {
    let mut decoder = Decoder::new(None);
    let mut payload = Vec::new();
    for piece in bytes.chunks(step) {
        let mut piece = piece.to_vec();
        let count = decoder.decode(&mut piece);
        payload.extend_from_slice(&piece[..count]);
    }
    (payload, decoder)
}

#[test]
fn the_example_of_the_rfc_is_read() {
    // Section 5.7: a masked "Hello", as a binary frame.
    let bytes = b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(decoded(bytes, 3).0, b"Hello");
}

#[test]
fn frames_fragments_and_what_is_between_them_are_one_stream_in_every_division() {
    let bytes = [
        frame(0x82, b"\x10"),
        frame(0x82, b"the rest"),
        frame(0x02, b"begin"),
        frame(0x89, b"ping 1"),
        frame(0x00, b""),
        frame(0x8a, b"a pong that nobody asked for"),
        frame(0x80, b"end"),
        frame(0x82, b""),
        frame(0x82, &[b'x'; 300]),
        frame(0x89, b"ping 2"),
        frame(0x88, b"\x03\xe8bye"),
        frame(0x82, b"too late"),
    ]
    .concat();
    let expected = [&b"\x10the restbeginend"[..], &[b'x'; 300]].concat();
    for step in 1..=bytes.len() {
        let (payload, mut decoder) = decoded(&bytes, step);
        assert_eq!(payload, expected, "by {step}");
        assert_eq!(decoder.end(), Some(End::Closed(Some(1000))));
        assert_eq!(decoder.take_ping().as_deref(), Some(&b"ping 2"[..]));
        assert_eq!(decoder.take_ping(), None);
    }
}

#[test]
fn every_breach_ends_the_reading_and_what_came_before_is_read() {
    let masked = |first: u8, length: &[u8]| [&[first], length].concat();
    for (bytes, fault) in [
        (b"\x82\x05Hello".to_vec(), Fault::Unmasked),
        (frame(0xc2, b"deflated"), Fault::ReservedBits),
        (frame(0x92, b""), Fault::ReservedBits),
        (frame(0x81, b"text"), Fault::Text),
        (frame(0x83, b""), Fault::Opcode(3)),
        (frame(0x8b, b""), Fault::Opcode(0xb)),
        (frame(0x80, b"of nothing"), Fault::Continuation),
        ([frame(0x02, b""), frame(0x82, b"")].concat(), Fault::Interrupted),
        (frame(0x09, b"in fragments"), Fault::Control),
        (frame(0x89, &[0; 126]), Fault::Control),
        (masked(0x82, b"\xfe\x00\x7d"), Fault::Length),
        (masked(0x82, b"\xff\x00\x00\x00\x00\x00\x00\xff\xff"), Fault::Length),
        (masked(0x82, b"\xff\x80\x00\x00\x00\x00\x00\x00\x00"), Fault::Length),
        (masked(0x82, b"\xff\x7f\xff\xff\xff\xff\xff\xff\xff"), Fault::TooLong(u64::MAX / 2)),
        (masked(0x82, b"\xff\x00\x00\x00\x00\x00\x10\x00\x01"), Fault::TooLong(FRAME_BYTES + 1)),
        (frame(0x88, b"\x03"), Fault::CloseCode),
        (frame(0x88, b"\x03\xed"), Fault::CloseCode),
        (frame(0x88, b"\x00\x00"), Fault::CloseCode),
    ] {
        let bytes = [frame(0x82, b"before"), bytes, frame(0x82, b"after")].concat();
        for step in 1..=bytes.len() {
            let (payload, decoder) = decoded(&bytes, step);
            assert_eq!(decoder.end(), Some(End::Fault(fault)), "by {step}");
            assert_eq!(payload, b"before", "{fault} by {step}");
        }
    }
}

#[test]
fn the_longest_frame_is_taken_and_costs_no_memory() {
    let payload = vec![7; 1024 * 1024];
    let (read, decoder) = decoded(&frame(0x82, &payload), 4096);
    assert!(read == payload && decoder.end().is_none());
    assert_eq!(decoder.control.capacity(), 0);
}

#[test]
fn headers_have_the_shortest_length() {
    for (payload, expected) in [
        (1, &b"\x82\x01"[..]),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (0xffff, b"\x82\x7e\xff\xff"),
        (0x1_0000, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ] {
        assert_eq!(Header::binary(payload).rest(), expected);
    }
}

proptest! {
    #[test]
    fn a_payload_comes_out_as_it_went_in(
        payload in proptest::collection::vec(any::<u8>(), 0..600),
        sizes in proptest::collection::vec(0..200_usize, 1..8),
        step in 1..64_usize,
    ) {
        let mut rest = payload.as_slice();
        let mut bytes = Vec::new();
        for size in sizes.iter().cycle().take(1 + 600 * 8) {
            let (now, later) = rest.split_at(rest.len().min(*size));
            bytes.extend(frame(0x82, now));
            rest = later;
            if rest.is_empty() { break; }
        }
        bytes.extend(frame(0x82, rest));
        let (read, decoder) = decoded(&bytes, step);
        prop_assert_eq!(read, payload);
        prop_assert_eq!(decoder.end(), None);
    }

    #[test]
    fn any_bytes_mean_the_same_in_any_division(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), step in 1..20_usize,
    ) {
        let (payload, decoder) = decoded(&bytes, usize::MAX);
        let (pieces, same) = decoded(&bytes, step);
        prop_assert_eq!(payload, pieces);
        prop_assert_eq!(decoder.end(), same.end());
    }
}
