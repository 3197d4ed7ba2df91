//! A device that speaks MQTT in bytes typed here, over a real TLS socket: whatever it sends, right or
//! wrong, no client library stands between it and the hub.

use std::time::Duration;

use iothub_auth::{DeviceConnectionString, SasToken};
use iothub_local_hub::RunningHub;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Real time a test waits for what should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Awaits what should come at once.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it did not come in time")
}

/// A new device's token, good for an hour of the hub's time.
pub(crate) async fn new_device(hub: &RunningHub, id: &str) -> String {
    let string = hub.create_device(&id.parse().unwrap()).await.unwrap();
    token(hub, &string, Duration::from_secs(3600)).reveal().to_owned()
}

pub(crate) fn token(hub: &RunningHub, connection_string: &str, ttl: Duration) -> SasToken {
    let string: DeviceConnectionString = connection_string.parse().unwrap();
    string.sas_token(hub.clock().now(), ttl).unwrap().unwrap()
}

/// What a CONNECT says; as the official clients say it, unless changed.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) client_id: String,
    pub(crate) user_name: String,
    pub(crate) password: Option<String>,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
}

impl Hello {
    pub(crate) fn new(id: &str, token: &str) -> Self {
        Self {
            client_id: id.to_owned(),
            user_name: format!("localhost/{id}/?api-version=2021-04-12"),
            password: Some(token.to_owned()),
            clean: false,
            keep_alive: 60,
        }
    }

    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut rest = b"\x00\x04MQTT\x04".to_vec();
        rest.push(0x80 | u8::from(self.password.is_some()) << 6 | u8::from(self.clean) << 1);
        rest.extend(self.keep_alive.to_be_bytes());
        for field in
            [Some(&self.client_id), Some(&self.user_name), self.password.as_ref()].into_iter().flatten()
        {
            rest.extend(text(field));
        }
        packet(0x10, &rest)
    }
}

/// A string as MQTT writes it.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

/// A packet with its length.
pub(crate) fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = rest.len();
    while length > 0x7f {
        packet.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend(rest);
    packet
}

pub(crate) fn publish(topic: &str, packet_id: u16, body: &[u8]) -> Vec<u8> {
    packet(0x32, &[&text(topic)[..], &packet_id.to_be_bytes(), body].concat())
}

pub(crate) fn subscribe(packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut rest = packet_id.to_be_bytes().to_vec();
    for (filter, qos) in filters {
        rest.extend(text(filter));
        rest.push(*qos);
    }
    packet(0x82, &rest)
}

/// A PUBLISH of the hub, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) dup: bool,
    pub(crate) topic: String,
    pub(crate) packet_id: Option<u16>,
    pub(crate) body: Vec<u8>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct RawMqtt(TlsStream<TcpStream>);

impl RawMqtt {
    /// A connection that has sent nothing yet.
    pub(crate) async fn open(hub: &RunningHub) -> Self {
        let config = iothub_auth::client_config(Some(hub.ca_file())).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", hub.ports().mqtts)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        Self(soon(TlsConnector::from(config).connect(name, stream)).await.unwrap())
    }

    /// A connection, and the code of its CONNACK.
    pub(crate) async fn knock(hub: &RunningHub, hello: &Hello) -> (Self, u8) {
        let mut peer = Self::open(hub).await;
        peer.send(&hello.packet()).await;
        match peer.next().await {
            Some((0x20, rest)) => (peer, rest[1]),
            other => panic!("no CONNACK but {other:02x?}"),
        }
    }

    /// A connection that was let in, with or without a session waiting for it.
    pub(crate) async fn connect(hub: &RunningHub, hello: &Hello, session_present: bool) -> Self {
        let mut peer = Self::open(hub).await;
        peer.send(&hello.packet()).await;
        assert_eq!(peer.next().await, Some((0x20, vec![u8::from(session_present), 0])));
        peer
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        soon(async {
            self.0.write_all(bytes).await.unwrap();
            self.0.flush().await.unwrap();
        })
        .await;
    }

    /// As [`send`](Self::send), to a hub that may have hung up.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        soon(async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        })
        .await
    }

    /// The next packet's first byte and content, `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        soon(async {
            let first = self.0.read_u8().await.ok()?;
            let (mut length, mut shift) = (0, 0);
            loop {
                let byte = self.0.read_u8().await.ok()?;
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut rest = vec![0; length];
            self.0.read_exact(&mut rest).await.ok()?;
            Some((first, rest))
        })
        .await
    }

    pub(crate) async fn expect(&mut self, first: u8, rest: &[u8]) {
        assert_eq!(self.next().await, Some((first, rest.to_vec())));
    }

    /// The hub ends the connection without another word.
    pub(crate) async fn expect_end(mut self) {
        assert_eq!(self.next().await, None);
    }

    /// Nothing is on its way: what the hub would say now comes before the answer to a ping.
    pub(crate) async fn expect_silence(&mut self) {
        self.send(&[0xc0, 0]).await;
        self.expect(0xd0, &[]).await;
    }

    pub(crate) async fn subscribe_c2d(&mut self, id: &str, qos: u8) {
        self.send(&subscribe(7, &[(&format!("devices/{id}/messages/devicebound/#"), qos)])).await;
        self.expect(0x90, &[0, 7, qos.min(1)]).await;
    }

    pub(crate) async fn receive(&mut self) -> Received {
        let (first, rest) = self.next().await.expect("the connection ended");
        assert_eq!(first & 0xf5, 0x30, "no PUBLISH at QoS 0 or 1: {first:02x}");
        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let topic = String::from_utf8(rest[2..2 + length].to_vec()).unwrap();
        let rest = &rest[2 + length..];
        let (packet_id, body) = if first & 2 == 0 {
            (None, rest)
        } else {
            (Some(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..])
        };
        Received { dup: first & 8 != 0, topic, packet_id, body: body.to_vec() }
    }

    pub(crate) async fn acknowledge(&mut self, packet_id: u16) {
        self.send(&packet(0x40, &packet_id.to_be_bytes())).await;
    }
}
