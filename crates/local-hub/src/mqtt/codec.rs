//! This file turns the bytes of MQTT 3.1.1 into checked packets, and the hub's packets into bytes.
//!
//! `admission` reads the CONNECT with it and `connection` everything after. `rumqttc` reads the packets; its
//! types stay in this file. That codec is made for clients, so this file refuses everything that a server must refuse:
//! other protocol levels, packets only a server sends, reserved flags, packet id 0, QoS 2, empty lists, U+0000
//! in strings. The meaning of topics and ids is left to `topics`, `filters` and `user_name`.

use bytes::{BufMut as _, Bytes, BytesMut};
use rumqttc::mqttbytes::{self, Error, QoS, v4};

use crate::core::sessions::Qos;

/// Longest CONNECT that is read. The peer is a stranger until then, so this is as much as a stranger may make the
/// hub hold; a user name, a SAS token and a small will fit many times over.
pub(super) const CONNECT_LIMIT: usize = 16 * 1024;

/// The largest number of bytes that a PUBLISH needs beside its body: the longest topic, two lengths and a packet
/// id.
pub(super) const PUBLISH_OVERHEAD: usize = u16::MAX as usize + 16;

/// Type and flags of the only packet a connection may begin with.
const CONNECT_BYTE: u8 = 0x10;

/// A packet that a connected client may send.
#[derive(Debug)]
pub(super) enum Packet {
    Publish(Publish),
    PubAck(u16),
    Subscribe { packet_id: u16, filters: Vec<(String, Qos)> },
    Unsubscribe { packet_id: u16, filters: Vec<String> },
    PingReq,
    Disconnect,
}

/// The CONNECT packet of a client. Its `Debug` shows no password.
pub(super) struct Connect {
    pub client_id: String,
    pub clean_session: bool,
    /// The keep-alive in seconds; 0 if there is none.
    pub keep_alive: u16,
    /// The user name, or an empty text if there is none: the codec does not tell the two apart.
    pub user_name: String,
    /// The password, or an empty text if there is none.
    pub password: zeroize::Zeroizing<String>,
    pub will: Option<Publish>,
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// A message to the hub.
#[derive(Debug)]
pub(super) struct Publish {
    pub topic: String,
    /// The body, which is a part of the buffer that it was read into and keeps that buffer alive. A caller that
    /// keeps the body longer than the buffer lasts copies it.
    pub payload: Bytes,
    pub qos: Qos,
    pub retain: bool,
    /// The packet id; 0 at QoS 0.
    pub packet_id: u16,
}

/// Answers to a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectCode {
    Accepted = 0,
    ProtocolLevel = 1,
    ClientId = 2,
    UserName = 4,
    NotAuthorized = 5,
}

/// Bytes that end the connection.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the first packet is not a CONNECT (it begins with {0:#04x})")]
    NotConnect(u8),
    #[error("the CONNECT is not for MQTT")]
    NotMqtt,
    #[error("the CONNECT asks for protocol level {0}; only 4 (MQTT 3.1.1) is spoken here")]
    ProtocolLevel(u8),
    #[error(
        "the CONNECT asks for protocol level {0:#04x}, which mosquitto uses between brokers: a mosquitto bridge \
         needs the settings `try_private false` and `notifications false`"
    )]
    BridgeLevel(u8),
    #[error("a packet of {size} bytes is over the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("reserved flags are set in a packet that begins with {0:#04x}")]
    ReservedFlags(u8),
    #[error("QoS 2 is not supported")]
    QosTwo,
    #[error("packet id 0")]
    PacketIdZero,
    #[error("a string holds U+0000, which MQTT 3.1.1 forbids")]
    NullCharacter,
    #[error("a {0} from a client, or a second one")]
    Unexpected(&'static str),
    #[error("a malformed packet ({0})")]
    Malformed(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::PacketIdZero => Self::PacketIdZero,
            // The codec's words for its errors may quote lengths and codes, never content.
            other => Self::Malformed(other.to_string()),
        }
    }
}

/// Takes the CONNECT that a connection begins with; `None` means that more bytes are needed.
pub(super) fn read_connect(input: &mut BytesMut) -> Result<Option<Connect>, Fault> {
    match input.first() {
        Some(&CONNECT_BYTE) | None => {}
        Some(&other) => return Err(Fault::NotConnect(other)),
    }
    match next(input, CONNECT_LIMIT)? {
        None => Ok(None),
        Some(v4::Packet::Connect(connect)) => connect.try_into().map(Some),
        Some(_) => Err(Fault::NotConnect(CONNECT_BYTE)),
    }
}

/// Takes the next packet of a connection whose CONNECT was accepted; `None` means that more bytes are
/// needed. A remaining length over `limit` is refused as soon as it is read.
pub(super) fn read(input: &mut BytesMut, limit: usize) -> Result<Option<Packet>, Fault> {
    let Some(packet) = next(input, limit)? else { return Ok(None) };
    Ok(Some(match packet {
        v4::Packet::Connect(_) => return Err(Fault::Unexpected("CONNECT")),
        v4::Packet::Publish(publish) => Packet::Publish(Publish {
            qos: at_most_one(publish.qos)?,
            topic: without_null(publish.topic)?,
            payload: publish.payload,
            retain: publish.retain,
            packet_id: publish.pkid,
        }),
        v4::Packet::PubAck(ack) => Packet::PubAck(ack.pkid),
        v4::Packet::Subscribe(subscribe) => Packet::Subscribe {
            packet_id: not_zero(subscribe.pkid)?,
            // QoS 2 is asked for and 1 is granted, as on the service.
            filters: subscribe
                .filters
                .into_iter()
                .map(|filter| {
                    Ok((without_null(filter.path)?, at_most_one(filter.qos).unwrap_or(Qos::AtLeastOnce)))
                })
                .collect::<Result<_, Fault>>()?,
        },
        v4::Packet::Unsubscribe(unsubscribe) if unsubscribe.topics.is_empty() => {
            return Err(Fault::Malformed("an UNSUBSCRIBE without a filter".to_owned()));
        }
        v4::Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe {
            packet_id: not_zero(unsubscribe.pkid)?,
            filters: unsubscribe.topics.into_iter().map(without_null).collect::<Result<_, Fault>>()?,
        },
        v4::Packet::PingReq => Packet::PingReq,
        v4::Packet::Disconnect => Packet::Disconnect,
        v4::Packet::PubRec(_) | v4::Packet::PubRel(_) | v4::Packet::PubComp(_) => return Err(Fault::QosTwo),
        v4::Packet::ConnAck(_) => return Err(Fault::Unexpected("CONNACK")),
        v4::Packet::SubAck(_) => return Err(Fault::Unexpected("SUBACK")),
        v4::Packet::UnsubAck(_) => return Err(Fault::Unexpected("UNSUBACK")),
        v4::Packet::PingResp => return Err(Fault::Unexpected("PINGRESP")),
    }))
}

fn next(input: &mut BytesMut, limit: usize) -> Result<Option<v4::Packet>, Fault> {
    let Some(&first) = input.first() else { return Ok(None) };
    check_flags(first)?;
    let header = match mqttbytes::check(input.iter(), limit) {
        Ok(header) => header,
        Err(Error::InsufficientBytes(_)) => return Ok(None),
        Err(Error::PayloadSizeLimitExceeded(size)) => return Err(Fault::TooLarge { size, limit }),
        Err(other) => return Err(other.into()),
    };
    if first == CONNECT_BYTE {
        check_connect(&input[..header.frame_length()])?;
    }
    Ok(Some(v4::Packet::read(input, limit)?))
}

/// Checks the flags of a packet as MQTT 3.1.1, 2.2.2, says: SUBSCRIBE, UNSUBSCRIBE and PUBREL carry 0b0010, all
/// others except PUBLISH zero.
fn check_flags(first: u8) -> Result<(), Fault> {
    let expected = match first >> 4 {
        3 => return Ok(()),
        6 | 8 | 10 => 0b0010,
        _ => 0,
    };
    if first & 0x0f == expected { Ok(()) } else { Err(Fault::ReservedFlags(first)) }
}

/// Looks at a whole CONNECT before the codec does, which would read level 5 with the layout of level 4.
fn check_connect(frame: &[u8]) -> Result<(), Fault> {
    // At most four bytes of length, the last of which has no continuation bit.
    let length_bytes = frame[1..].iter().take(4).take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let variable = frame.get(1 + length_bytes..).unwrap_or_default();
    let Some(rest) = variable.strip_prefix(b"\x00\x04MQTT") else {
        return Err(match variable {
            // MQTT 3.1: it has another name, and a level like all others.
            [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, ..] => other_level(*level),
            _ => Fault::NotMqtt,
        });
    };
    match rest {
        [4, flags, ..] => {
            let (user_name, password) = (flags & 0x80 != 0, flags & 0x40 != 0);
            if flags & 1 != 0 || password && !user_name {
                return Err(Fault::ReservedFlags(*flags));
            }
            Ok(())
        }
        [level, ..] => Err(other_level(*level)),
        [] => Err(Fault::Malformed("a CONNECT without a protocol level".to_owned())),
    }
}

/// Returns the fault for another protocol level. A mosquitto bridge sets the highest bit of the level, unless it is
/// told not to.
const fn other_level(level: u8) -> Fault {
    if level & 0x80 != 0 { Fault::BridgeLevel(level) } else { Fault::ProtocolLevel(level) }
}

/// Returns the text, unless it holds the one character that no string of MQTT may hold (MQTT 3.1.1, 1.5.3). The codec
/// has refused ill-formed UTF-8 already, surrogates included.
fn without_null(text: String) -> Result<String, Fault> {
    if text.contains('\0') { Err(Fault::NullCharacter) } else { Ok(text) }
}

impl TryFrom<v4::Connect> for Connect {
    type Error = Fault;

    fn try_from(connect: v4::Connect) -> Result<Self, Fault> {
        let will = connect.last_will.map(|will| {
            Ok::<_, Fault>(Publish {
                qos: at_most_one(will.qos)?,
                topic: without_null(will.topic)?,
                payload: will.message,
                retain: will.retain,
                packet_id: 0,
            })
        });
        let (user_name, password) =
            connect.login.map(|login| (login.username, login.password)).unwrap_or_default();
        Ok(Self {
            client_id: without_null(connect.client_id)?,
            clean_session: connect.clean_session,
            keep_alive: connect.keep_alive,
            user_name: without_null(user_name)?,
            password: password.into(),
            will: will.transpose()?,
        })
    }
}

fn at_most_one(qos: QoS) -> Result<Qos, Fault> {
    match qos {
        QoS::AtMostOnce => Ok(Qos::AtMostOnce),
        QoS::AtLeastOnce => Ok(Qos::AtLeastOnce),
        QoS::ExactlyOnce => Err(Fault::QosTwo),
    }
}

fn not_zero(packet_id: u16) -> Result<u16, Fault> {
    if packet_id == 0 { Err(Fault::PacketIdZero) } else { Ok(packet_id) }
}

pub(super) fn write_connack(output: &mut BytesMut, code: ConnectCode, session_present: bool) {
    output.put_slice(&[0x20, 2, u8::from(session_present), code as u8]);
}

pub(super) fn write_puback(output: &mut BytesMut, packet_id: u16) {
    output.put_slice(&[0x40, 2]);
    output.put_u16(packet_id);
}

pub(super) fn write_suback(output: &mut BytesMut, packet_id: u16, granted: &[Qos]) {
    output.put_u8(0x90);
    write_length(output, 2 + granted.len());
    output.put_u16(packet_id);
    output.extend(granted.iter().map(|qos| *qos as u8));
}

pub(super) fn write_unsuback(output: &mut BytesMut, packet_id: u16) {
    output.put_slice(&[0xb0, 2]);
    output.put_u16(packet_id);
}

pub(super) fn write_pingresp(output: &mut BytesMut) {
    output.put_slice(&[0xd0, 0]);
}

/// The error for a message that does not fit into a packet, because its topic is over 65,535 bytes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("its properties make a topic of {0} bytes, over the 65,535 that MQTT can carry")]
pub(super) struct TopicTooLong(usize);

/// Writes a PUBLISH: at QoS 1 with `packet_id`, at QoS 0 without.
pub(super) fn write_publish(
    output: &mut BytesMut,
    topic: &str,
    payload: &[u8],
    packet_id: Option<u16>,
    dup: bool,
) -> Result<(), TopicTooLong> {
    let topic_length = u16::try_from(topic.len()).map_err(|_| TopicTooLong(topic.len()))?;
    let length = 2 + topic.len() + packet_id.map_or(0, |_| 2) + payload.len();
    output.reserve(5 + length);
    output.put_u8(0x30 | u8::from(dup) << 3 | u8::from(packet_id.is_some()) << 1);
    write_length(output, length);
    output.put_u16(topic_length);
    output.put_slice(topic.as_bytes());
    if let Some(packet_id) = packet_id {
        output.put_u16(packet_id);
    }
    output.put_slice(payload);
    Ok(())
}

/// Writes the remaining length, seven bits a byte. The packets written here are far below the format's 256 MB.
fn write_length(output: &mut BytesMut, mut length: usize) {
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        output.put_u8(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
