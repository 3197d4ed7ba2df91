//! This file writes MQTT packets as bytes, by hand, and takes a PUBLISH apart. It sends nothing; [`MqttPeer`] does.
//!
//! [`MqttPeer`]: super::MqttPeer

use super::Received;

/// The content of a CONNECT; as the official clients send it, unless a test changes a field.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The client id: the device's, or `device/module`.
    pub client_id: String,
    /// The user name, which has the hub's host name and the version of the API.
    pub user_name: String,
    /// The SAS token, if there is one.
    pub password: Option<String>,
    /// Whether the hub shall forget an earlier session.
    pub clean: bool,
    /// The keep-alive in seconds; 0 is none.
    pub keep_alive: u16,
    /// The topic and the body of a will at QoS 0, if there is one.
    pub will: Option<(String, String)>,
}

impl Hello {
    /// Returns the CONNECT of an official client for a device of the hub `localhost`, with a session that is kept and
    /// no will.
    #[must_use]
    pub fn new(id: &str, token: &str) -> Self {
        Self {
            client_id: id.to_owned(),
            user_name: format!("localhost/{id}/?api-version=2021-04-12"),
            password: Some(token.to_owned()),
            clean: false,
            keep_alive: 60,
            will: None,
        }
    }

    /// Returns the CONNECT of an official client that proves itself with a certificate: it has no password.
    #[must_use]
    pub fn without_password(id: &str) -> Self {
        Self { password: None, ..Self::new(id, "") }
    }

    /// Returns the packet.
    ///
    /// # Panics
    /// If a field is longer than 65,535 bytes.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let mut rest = b"\x00\x04MQTT\x04".to_vec();
        let flags = [(self.password.is_some(), 6), (self.will.is_some(), 2), (self.clean, 1)];
        rest.push(flags.iter().fold(0x80, |all, (set, bit)| all | u8::from(*set) << bit));
        rest.extend(self.keep_alive.to_be_bytes());
        let will = self.will.iter().flat_map(|(topic, body)| [topic, body]);
        let fields = [&self.client_id].into_iter().chain(will).chain([&self.user_name]).chain(&self.password);
        rest.extend(fields.flat_map(|field| text(field)));
        packet(0x10, &rest)
    }
}

/// Returns a text as MQTT writes it: its length in two bytes, then its bytes.
///
/// # Panics
/// If it is longer than 65,535 bytes.
#[must_use]
pub fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("MQTT has texts of at most 65,535 bytes");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// Returns a packet: its first byte, the length of the rest, and the rest.
#[must_use]
pub fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(5 + rest.len());
    packet.push(first);
    let mut length = rest.len();
    while length > 0x7f {
        packet.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend(rest);
    packet
}

/// Returns a PUBLISH at QoS 1.
///
/// # Panics
/// If the topic is longer than 65,535 bytes.
#[must_use]
pub fn publish(topic: &str, packet_id: u16, body: &[u8]) -> Vec<u8> {
    packet(0x32, &[&text(topic)[..], &packet_id.to_be_bytes(), body].concat())
}

/// Returns a SUBSCRIBE to filters, each with the QoS it asks for.
///
/// # Panics
/// If a filter is longer than 65,535 bytes.
#[must_use]
pub fn subscribe(packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut rest = packet_id.to_be_bytes().to_vec();
    for (filter, qos) in filters {
        rest.extend(text(filter));
        rest.push(*qos);
    }
    packet(0x82, &rest)
}

impl Received {
    /// Takes a packet apart.
    ///
    /// # Panics
    /// If it is no PUBLISH at QoS 0 or 1, or its topic is no UTF-8.
    #[must_use]
    pub fn read(first: u8, rest: &[u8]) -> Self {
        assert_eq!(first & 0xf5, 0x30, "no PUBLISH at QoS 0 or 1: {first:02x}");
        let (topic, rest) = rest[2..].split_at(usize::from(u16::from_be_bytes([rest[0], rest[1]])));
        let topic = String::from_utf8(topic.to_vec()).expect("a topic is UTF-8");
        let (packet_id, body) = if first & 2 == 0 {
            (None, rest)
        } else {
            (Some(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..])
        };
        Self { dup: first & 8 != 0, topic, packet_id, body: body.to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_has_its_fields_in_the_order_of_the_standard() {
        let hello = Hello {
            clean: true,
            will: Some(("t".to_owned(), "gone".to_owned())),
            user_name: "u".to_owned(),
            ..Hello::new("d", "p")
        };
        let expected =
            b"\x10\x1c\x00\x04MQTT\x04\xc6\x00\x3c\x00\x01d\x00\x01t\x00\x04gone\x00\x01u\x00\x01p";
        assert_eq!(hello.packet(), expected);
        let without = Hello { password: None, user_name: String::new(), ..Hello::new("d", "") };
        assert_eq!(without.packet(), b"\x10\x0f\x00\x04MQTT\x04\x80\x00\x3c\x00\x01d\x00\x00");
    }

    #[test]
    fn a_subscribe_lists_its_filters() {
        assert_eq!(subscribe(1, &[("a", 1), ("b", 0)]), b"\x82\x0a\x00\x01\x00\x01a\x01\x00\x01b\x00");
    }
}
