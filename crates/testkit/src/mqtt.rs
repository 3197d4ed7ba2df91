//! [`MqttPeer`] is a device that speaks MQTT 3.1.1 in bytes written by hand: whatever it sends, right or wrong, no client
//! library stands between it and the hub. Packets as bytes are in `mqtt/packets.rs`.

mod packets;

use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::time::Duration;

pub use self::packets::{Hello, packet, publish, subscribe, text};
use crate::wire::{Stream, Wire};

/// The first byte of a packet, and the content that follows its length.
pub type Packet = (u8, Vec<u8>);

/// The answer of a hub to a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the hub kept a session of this device.
    pub session_present: bool,
    /// The return code, 0 if the device was let in.
    pub code: u8,
}

/// A PUBLISH of the hub, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Whether the hub says that it sent this message before.
    pub dup: bool,
    /// The topic.
    pub topic: String,
    /// The packet id; `None` at QoS 0.
    pub packet_id: Option<u16>,
    /// The payload.
    pub body: Vec<u8>,
}

/// The device's end of an MQTT connection. Dropping it ends the connection without a DISCONNECT.
#[derive(Debug)]
pub struct MqttPeer(Wire);

impl MqttPeer {
    /// Returns a device that has sent nothing yet, on a stream that is open.
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self(Wire::new(stream))
    }

    /// Gives every read and write this much time; see [`Wire::with_patience`].
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self(self.0.with_patience(patience))
    }

    /// Opens a TLS connection to a port of this machine, on which nothing was sent yet.
    ///
    /// # Panics
    /// As [`tls::connect`](crate::tls::connect).
    pub async fn tls(port: u16, ca_file: &Path) -> Self {
        Self::new(crate::tls::connect(port, ca_file).await)
    }

    /// Sends a CONNECT and returns the hub's answer.
    ///
    /// # Errors
    /// If the hub hangs up, or answers with anything but a CONNACK, or does not answer in time.
    pub async fn try_connect(&mut self, hello: &Hello) -> Result<ConnAck> {
        self.try_send(&hello.packet()).await?;
        match self.try_next().await? {
            Some((0x20, rest)) if rest.len() == 2 => {
                Ok(ConnAck { session_present: rest[0] == 1, code: rest[1] })
            }
            other => Err(Error::new(ErrorKind::InvalidData, format!("no CONNACK but {other:02x?}"))),
        }
    }

    /// Sends a CONNECT and returns the hub's answer.
    ///
    /// # Panics
    /// If the hub hangs up, or answers with anything but a CONNACK, or does not answer in time.
    pub async fn connect(&mut self, hello: &Hello) -> ConnAck {
        self.try_connect(hello).await.expect("the hub answers a CONNECT")
    }

    /// Sends bytes, which need not be a packet, to a hub that may have hung up.
    ///
    /// # Errors
    /// As [`Wire::try_write`].
    pub async fn try_send(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.try_write(bytes).await
    }

    /// Sends bytes, which need not be a packet.
    ///
    /// # Panics
    /// If the hub has hung up, or does not take them in time.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write(bytes).await;
    }

    /// Returns the next packet, or `None` if the hub closed the connection after the last one.
    ///
    /// # Errors
    /// If the connection ends otherwise, or no whole packet comes in time.
    pub async fn try_next(&mut self) -> Result<Option<Packet>> {
        let mut first = [0];
        match self.0.try_read_exact(&mut first).await {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let (mut length, mut shift) = (0, 0);
        loop {
            let mut byte = [0];
            self.0.try_read_exact(&mut byte).await?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
            if shift > 21 {
                return Err(Error::new(ErrorKind::InvalidData, "a length of more than four bytes"));
            }
        }
        let mut rest = vec![0; length];
        self.0.try_read_exact(&mut rest).await?;
        Ok(Some((first[0], rest)))
    }

    /// Returns the next packet, or `None` at the end of the connection, however it ended.
    ///
    /// # Panics
    /// If neither comes in time, or a packet's length is no MQTT.
    pub async fn next(&mut self) -> Option<Packet> {
        match self.try_next().await {
            Ok(packet) => packet,
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::InvalidData) => {
                panic!("no packet: {error}")
            }
            Err(_) => None,
        }
    }

    /// Takes the next packet.
    ///
    /// # Panics
    /// If it is another packet than this one.
    pub async fn expect(&mut self, first: u8, rest: &[u8]) {
        assert_eq!(self.next().await, Some((first, rest.to_vec())));
    }

    /// Takes the next bytes, as many as there are in `bytes`; they may be part of a packet, or several.
    ///
    /// # Panics
    /// If they are other bytes than these.
    pub async fn expect_bytes(&mut self, bytes: &[u8]) {
        let mut found = vec![0; bytes.len()];
        self.0.read_exact(&mut found).await;
        assert_eq!(found, bytes, "{}", String::from_utf8_lossy(&found));
    }

    /// Waits until the hub ends the connection.
    ///
    /// # Panics
    /// If the hub sends another byte, or does not hang up in time.
    pub async fn expect_end(mut self) {
        let (bytes, _) = self.0.read_to_end().await;
        assert_eq!(bytes, b"", "{}", String::from_utf8_lossy(&bytes));
    }

    /// Sends a PINGREQ and takes its answer: anything that the hub had to say comes before it.
    ///
    /// # Panics
    /// If another packet comes before the answer.
    pub async fn expect_silence(&mut self) {
        self.send(&[0xc0, 0]).await;
        self.expect(0xd0, &[]).await;
    }

    /// Subscribes to one filter, and takes the hub's agreement; the hub grants at most QoS 1.
    ///
    /// # Panics
    /// If the hub does not agree.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(&subscribe(7, &[(filter, qos)])).await;
        self.expect(0x90, &[0, 7, qos.min(1)]).await;
    }

    /// Subscribes to the cloud-to-device messages of a device.
    ///
    /// # Panics
    /// If the hub does not agree.
    pub async fn subscribe_c2d(&mut self, id: &str, qos: u8) {
        self.subscribe(&format!("devices/{id}/messages/devicebound/#"), qos).await;
    }

    /// Returns the next packet, which is a PUBLISH.
    ///
    /// # Panics
    /// If it is another packet, or a PUBLISH at QoS 2, or the connection ends.
    pub async fn receive(&mut self) -> Received {
        let (first, rest) = self.next().await.expect("the connection ended");
        Received::read(first, &rest)
    }

    /// Acknowledges a PUBLISH of the hub.
    ///
    /// # Panics
    /// If the hub has hung up.
    pub async fn acknowledge(&mut self, packet_id: u16) {
        self.send(&packet(0x40, &packet_id.to_be_bytes())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (MqttPeer, MqttPeer) {
        let (own, hub) = tokio::io::duplex(64 * 1024);
        (MqttPeer::new(own), MqttPeer::new(hub))
    }

    #[tokio::test]
    async fn packets_of_every_length_are_read_as_they_were_written() {
        let (mut peer, mut hub) = pair();
        for length in [0, 1, 127, 128, 16_383, 16_384] {
            let body = vec![b'x'; length];
            hub.send(&packet(0x30, &body)).await;
            assert_eq!(peer.next().await, Some((0x30, body)));
        }
        // The bytes of the standard: 321 is 65 + 2 * 128.
        assert_eq!(packet(0x30, &[0; 321])[1..3], [193, 2]);
        drop(hub);
        peer.expect_end().await;
    }

    #[tokio::test]
    async fn a_publish_is_taken_apart() {
        let (mut peer, mut hub) = pair();
        hub.send(&publish("a/b", 258, b"body")).await;
        let expected =
            Received { dup: false, topic: "a/b".to_owned(), packet_id: Some(258), body: b"body".to_vec() };
        assert_eq!(peer.receive().await, expected);
        hub.send(b"\x38\x04\x00\x01ab").await;
        let expected = Received { dup: true, topic: "a".to_owned(), packet_id: None, body: b"b".to_vec() };
        assert_eq!(peer.receive().await, expected);
    }

    #[tokio::test]
    async fn a_length_that_never_ends_is_an_error() {
        let (mut peer, mut hub) = pair();
        hub.send(b"\x30\xff\xff\xff\xff\xff").await;
        assert_eq!(peer.try_next().await.unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
