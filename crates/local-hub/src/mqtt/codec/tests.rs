//! Packets typed from MQTT 3.1.1, byte by byte, and every way to get one wrong.

use proptest::prelude::*;

use super::*;

/// `CONNECT`, client id `d`, with these protocol bytes and flags and this payload behind the client id.
fn connect(protocol: &[u8], flags: u8, rest: &[u8]) -> BytesMut {
    let mut packet = BytesMut::from(&[0x10, 0][..]);
    packet.extend_from_slice(protocol);
    packet.extend_from_slice(&[flags, 0, 60, 0, 1, b'd']);
    packet.extend_from_slice(rest);
    packet[1] = u8::try_from(packet.len() - 2).unwrap();
    packet
}

const V4: &[u8] = b"\x00\x04MQTT\x04";

fn one(bytes: &[u8]) -> Result<Option<Packet>, Fault> {
    read(&mut BytesMut::from(bytes), 1024)
}

#[test]
fn a_connect_with_everything() {
    let mut input = connect(V4, 0b1110_1110, b"\x00\x01t\x00\x02hi\x00\x03usr\x00\x03pwd");
    input.extend_from_slice(&[0xc0, 0]);
    let connect = read_connect(&mut input).unwrap().unwrap();
    assert_eq!((connect.client_id.as_str(), connect.keep_alive, connect.clean_session), ("d", 60, true));
    assert_eq!((connect.user_name.as_str(), connect.password.as_str()), ("usr", "pwd"));
    let will = connect.will.as_ref().unwrap();
    assert_eq!(
        (will.topic.as_str(), &will.payload[..], will.qos, will.retain),
        ("t", &b"hi"[..], Qos::AtLeastOnce, true)
    );
    assert_eq!(&input[..], [0xc0, 0], "what follows stays");
    assert!(!format!("{connect:?}").contains("pwd"));
}

#[test]
fn nothing_is_read_before_the_packet_is_whole() {
    let whole = connect(V4, 0, b"");
    for length in 0..whole.len() {
        let mut part = BytesMut::from(&whole[..length]);
        assert!(read_connect(&mut part).unwrap().is_none(), "{length} bytes");
        assert_eq!(part.len(), length);
    }
}

#[test]
fn what_is_no_connect_for_mqtt_3_1_1_is_told_apart() {
    for (input, fault) in [
        (BytesMut::from(&b"GET / HTTP/1.1\r\n"[..]), Fault::NotConnect(b'G')),
        (BytesMut::from(&b"\xc0"[..]), Fault::NotConnect(0xc0)),
        (BytesMut::from(&b"\x11"[..]), Fault::NotConnect(0x11)),
        (connect(b"\x00\x04MQTT\x05", 0, b""), Fault::ProtocolLevel(5)),
        (connect(b"\x00\x04MQTT\x00", 0, b""), Fault::ProtocolLevel(0)),
        (connect(b"\x00\x06MQIsdp\x03", 0, b""), Fault::ProtocolLevel(3)),
        (connect(b"\x00\x04mqtt\x04", 0, b""), Fault::NotMqtt),
        (connect(V4, 0b0000_0001, b""), Fault::ReservedFlags(1)),
        (connect(V4, 0b0100_0000, b"\x00\x01p"), Fault::ReservedFlags(0x40)),
        (connect(V4, 0b0001_0100, b"\x00\x01t\x00\x00"), Fault::QosTwo),
        (BytesMut::from(&[0x10, 6, 0, 4, b'M', b'Q', b'T', b'T'][..]), Fault::Malformed(String::new())),
        (BytesMut::from(&[0x10, 0xff, 0xff, 0xff, 0xff][..]), Fault::Malformed(String::new())),
        (BytesMut::from(&[0x10, 0][..]), Fault::NotMqtt),
        (
            BytesMut::from(&[0x10, 0xff, 0xff, 0xff, 0x7f][..]),
            Fault::TooLarge { size: 268_435_455, limit: CONNECT_LIMIT },
        ),
    ] {
        let shown = format!("{input:?}");
        match (read_connect(&mut { input }).unwrap_err(), fault) {
            (Fault::Malformed(_), Fault::Malformed(_)) => {}
            (found, expected) => assert_eq!(found, expected, "{shown}"),
        }
    }
}

#[test]
fn packets_of_a_connected_client() {
    let publish = one(b"\x3b\x07\x00\x01t\x00\x05hi").unwrap().unwrap();
    let Packet::Publish(publish) = publish else { panic!("{publish:?}") };
    assert_eq!((publish.topic.as_str(), &publish.payload[..], publish.packet_id), ("t", &b"hi"[..], 5));
    assert!(publish.retain && publish.qos == Qos::AtLeastOnce);
    assert!(matches!(one(&[0x40, 2, 1, 2]), Ok(Some(Packet::PubAck(0x0102)))));
    assert!(matches!(one(&[0xc0, 0]), Ok(Some(Packet::PingReq))));
    assert!(matches!(one(&[0xe0, 0]), Ok(Some(Packet::Disconnect))));
    let subscribe = one(b"\x82\x0a\x00\x09\x00\x01a\x02\x00\x01b\x00").unwrap().unwrap();
    let Packet::Subscribe { packet_id: 9, filters } = subscribe else { panic!("{subscribe:?}") };
    assert_eq!(filters, [("a".to_owned(), Qos::AtLeastOnce), ("b".to_owned(), Qos::AtMostOnce)]);
    let unsubscribe = one(b"\xa2\x05\x00\x09\x00\x01a").unwrap().unwrap();
    assert!(matches!(unsubscribe, Packet::Unsubscribe { packet_id: 9, filters } if filters == ["a"]));
}

#[test]
fn what_a_client_may_not_send() {
    for (bytes, fault) in [
        (&b"\x34\x05\x00\x01t\x00\x05"[..], Fault::QosTwo),
        (b"\x62\x02\x00\x05", Fault::QosTwo),
        (b"\x50\x02\x00\x05", Fault::QosTwo),
        (b"\x32\x05\x00\x01t\x00\x00", Fault::PacketIdZero),
        (b"\x82\x06\x00\x00\x00\x01a\x00", Fault::PacketIdZero),
        (b"\xa2\x05\x00\x00\x00\x01a", Fault::PacketIdZero),
        (b"\x80\x06\x00\x01\x00\x01a\x00", Fault::ReservedFlags(0x80)),
        (b"\xa0\x05\x00\x01\x00\x01a", Fault::ReservedFlags(0xa0)),
        (b"\xc1\x00", Fault::ReservedFlags(0xc1)),
        (b"\x20\x02\x00\x00", Fault::Unexpected("CONNACK")),
        (b"\x90\x03\x00\x01\x00", Fault::Unexpected("SUBACK")),
        (b"\xb0\x02\x00\x01", Fault::Unexpected("UNSUBACK")),
        (b"\xd0\x00", Fault::Unexpected("PINGRESP")),
        (&connect(V4, 0, b""), Fault::Unexpected("CONNECT")),
        (b"\x30\x81\x08", Fault::TooLarge { size: 1025, limit: 1024 }),
    ] {
        assert_eq!(one(bytes).unwrap_err(), fault, "{bytes:02x?}");
    }
    for malformed in [
        &b"\x00\x00"[..],
        b"\xf0\x00",
        b"\x36\x05\x00\x01t\x00\x05",
        b"\x30\x00",
        b"\x30\x02\x00\x09",
        b"\x30\x03\x00\x01\xff",
        b"\x82\x02\x00\x01",
        b"\xa2\x02\x00\x01",
        b"\xa2\x01\x00",
        b"\x30\xff\xff\xff\xff\x01",
    ] {
        assert!(matches!(one(malformed), Err(Fault::Malformed(_))), "{malformed:02x?}");
    }
}

#[test]
fn what_the_hub_writes() {
    let mut output = BytesMut::new();
    write_connack(&mut output, ConnectCode::NotAuthorized, false);
    write_connack(&mut output, ConnectCode::Accepted, true);
    write_puback(&mut output, 0x0102);
    write_suback(&mut output, 3, &[Qos::AtLeastOnce, Qos::AtMostOnce]);
    write_unsuback(&mut output, 4);
    write_pingresp(&mut output);
    write_publish(&mut output, "t", b"hi", Some(5), true).unwrap();
    write_publish(&mut output, "t", b"", None, false).unwrap();
    assert_eq!(
        &output[..],
        b"\x20\x02\x00\x05\x20\x02\x01\x00\x40\x02\x01\x02\x90\x04\x00\x03\x01\x00\xb0\x02\x00\x04\xd0\x00\
          \x3a\x07\x00\x01t\x00\x05hi\x30\x03\x00\x01t"
    );
    let topic = "x".repeat(65_536);
    output.clear();
    assert_eq!(write_publish(&mut output, &topic, b"", None, false), Err(TopicTooLong(65_536)));
    assert!(output.is_empty());
    write_publish(&mut output, &topic[1..], &[7; 100], Some(1), false).unwrap();
    assert_eq!(&output[..6], [0x32, 0xe7, 0x80, 0x04, 0xff, 0xff], "{:02x?}", &output[..6]);
}

proptest! {
    #[test]
    fn any_bytes_are_a_packet_a_fault_or_a_beginning(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = read(&mut input, 200) {}
        let _connect = read_connect(&mut BytesMut::from(&bytes[..]));
    }
}
