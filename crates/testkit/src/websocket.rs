//! [`WebSocketPeer`] is the client's end of a WebSocket, written by hand: the request for the upgrade, and frames that
//! may be as wrong as a test needs. [`WebSocketPeer::into_stream`] makes a stream of it, on which an
//! [`MqttPeer`](crate::mqtt::MqttPeer) or an [`AmqpPeer`](crate::amqp::AmqpPeer) speaks.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use crate::wire::{Stream, Wire};

/// The path of devices and of clients of IoT Hub.
pub const IOT_HUB: &str = "/$iothub/websocket";

/// The path of clients of Event Hubs.
pub const SERVICE_BUS: &str = "/$servicebus/websocket";

/// The first byte of a binary frame that is a whole message.
pub const BINARY: u8 = 0x82;
/// The first byte of a close frame.
pub const CLOSE: u8 = 0x88;
/// The first byte of a ping.
pub const PING: u8 = 0x89;
/// The first byte of a pong.
pub const PONG: u8 = 0x8a;

/// The mask of every frame. Clients should take another one each time; a server cannot tell.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The longest head of an answer that a peer reads.
const HEAD_BYTES: usize = 16 * 1024;

/// The room of the stream between a peer and what speaks on it.
const PIPE_BYTES: usize = 64 * 1024;

/// Returns the request for an upgrade to a protocol at a path of `localhost`, with the nonce of RFC 6455, section 1.2.
#[must_use]
pub fn request(path: &str, protocol: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )
}

/// Returns a frame with a mask, whose length is written in the shortest form.
#[must_use]
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64, true);
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Returns the first bytes of a frame, up to its length, which may be a lie.
#[must_use]
pub fn header(first: u8, length: u64, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut header = vec![first];
    if length <= 125 {
        header.push(mask | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        header.push(mask | 126);
        header.extend_from_slice(&length.to_be_bytes());
    } else {
        header.push(mask | 127);
        header.extend_from_slice(&length.to_be_bytes());
    }
    header
}

/// The division of the bytes of a stream into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// A frame for each write.
    Whole,
    /// Frames of one byte until this many bytes have been sent, and then as [`Whole`](Self::Whole).
    SingleBytes(usize),
    /// Messages of as many fragments as there are bytes in a write, with a ping between any two.
    Fragments,
}

/// The client's end of a WebSocket. Dropping it ends the connection without a close frame.
#[derive(Debug)]
pub struct WebSocketPeer(Wire);

impl WebSocketPeer {
    /// Returns a client that has sent nothing yet, on a stream that is open.
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self(Wire::new(stream))
    }

    /// Gives every read and write this much time; see [`Wire::with_patience`].
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self(self.0.with_patience(patience))
    }

    /// Opens a TLS connection to a port of this machine and has it upgraded.
    ///
    /// # Panics
    /// As [`tls::connect`](crate::tls::connect) and [`upgrade`](Self::upgrade).
    pub async fn tls(port: u16, ca_file: &Path, path: &str, protocol: &str) -> Self {
        let mut peer = Self::new(crate::tls::connect(port, ca_file).await);
        peer.upgrade(path, protocol).await;
        peer
    }

    /// Asks for the upgrade, and takes the hub's agreement.
    ///
    /// # Panics
    /// If the hub does not agree, or not as RFC 6455 says, or names another protocol.
    pub async fn upgrade(&mut self, path: &str, protocol: &str) {
        self.send(request(path, protocol).as_bytes()).await;
        let head = self.head().await;
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some("HTTP/1.1 101 Switching Protocols"), "{head}");
        let value = |name: &str| {
            let found = head.lines().filter_map(|line| line.split_once(": "));
            let mut found = found.filter(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            (found.next(), found.next())
        };
        // The proof for the nonce in the request, from the RFC.
        assert_eq!(value("sec-websocket-accept"), (Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), None), "{head}");
        assert_eq!(value("sec-websocket-protocol"), (Some(protocol), None), "{head}");
        assert_eq!(value("sec-websocket-extensions"), (None, None), "{head}");
    }

    /// Returns the head of the hub's answer, up to its empty line.
    ///
    /// # Panics
    /// If it does not come in time, or is no text.
    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).await;
            head.push(byte[0]);
            assert!(head.len() <= HEAD_BYTES, "the head of the answer has no end");
        }
        String::from_utf8(head).expect("the head of an answer is text")
    }

    /// Sends bytes, which need not be a frame.
    ///
    /// # Panics
    /// If the hub has hung up, or does not take them in time.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write(bytes).await;
    }

    /// Returns the next frame: its first byte and its payload.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] at the end of the connection, [`ErrorKind::InvalidData`] if the frame has a mask,
    /// which a server's frame has not, or another of the stream's errors.
    pub async fn try_next(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut begin = [0; 2];
        self.0.try_read_exact(&mut begin).await?;
        let [first, second] = begin;
        let length = match second {
            126 => {
                let mut length = [0; 2];
                self.0.try_read_exact(&mut length).await?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.0.try_read_exact(&mut length).await?;
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        };
        let length = usize::try_from(length).ok().filter(|length| second < 128 && *length <= 1 << 24);
        let length = length.ok_or_else(|| Error::new(ErrorKind::InvalidData, "no frame of a server"))?;
        let mut payload = vec![0; length];
        self.0.try_read_exact(&mut payload).await?;
        Ok((first, payload))
    }

    /// Takes the next frame.
    ///
    /// # Panics
    /// If it is another frame than this one.
    pub async fn expect(&mut self, first: u8, payload: &[u8]) {
        let (found, bytes) = self.try_next().await.expect("the hub sends a frame");
        assert_eq!((found, bytes.as_slice()), (first, payload));
    }

    /// Takes the hub's close frame with this code, and then the end of the connection.
    ///
    /// # Panics
    /// If another byte comes, or neither in time.
    pub async fn expect_close(mut self, code: u16) {
        self.expect(CLOSE, &code.to_be_bytes()).await;
        self.expect_end().await;
    }

    /// Waits until the hub ends the connection.
    ///
    /// # Panics
    /// If the hub sends another byte, or does not hang up in time.
    pub async fn expect_end(mut self) {
        let (bytes, _) = self.0.read_to_end().await;
        assert_eq!(bytes, b"");
    }

    /// Returns the payload of the frames as a stream, for a peer that speaks inside of them. A task carries the bytes;
    /// it answers pings, and ends with either side. An end of the stream's writing half becomes a close frame, and a
    /// close frame of the hub becomes the end of the stream.
    #[must_use]
    pub fn into_stream(self, frames: Frames) -> DuplexStream {
        let (inside, outside) = duplex(PIPE_BYTES);
        let Self(wire) = self;
        // The halves are not used again after an error: each end of the connection ends the other.
        let (from_hub, to_hub) = tokio::io::split(wire.into_stream());
        let (from_peer, to_peer) = tokio::io::split(outside);
        let (pongs, pings) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move {
            let mut hub = Self::new(tokio::io::join(from_hub, tokio::io::sink())).with_patience(FOREVER);
            let mut to_peer = to_peer;
            while let Ok((first, payload)) = hub.try_next().await {
                let is_passed_on = match first {
                    BINARY => to_peer.write_all(&payload).await.is_ok(),
                    PING => pongs.send(payload).await.is_ok(),
                    other => other == PONG,
                };
                if !is_passed_on {
                    break;
                }
            }
            let _gone = to_peer.shutdown().await;
        });
        tokio::spawn(carry(from_peer, to_hub, frames, pings));
        inside
    }
}

/// The patience of a stream, whose peer has a patience of its own.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// Carries what a peer writes to the hub, in frames.
async fn carry(
    mut from_peer: impl tokio::io::AsyncRead + Unpin,
    mut to_hub: impl tokio::io::AsyncWrite + Unpin,
    frames: Frames,
    mut pings: tokio::sync::mpsc::Receiver<Vec<u8>>,
) -> Result<()> {
    let mut buffer = vec![0; PIPE_BYTES];
    let mut sent = 0;
    loop {
        let count = tokio::select! {
            count = from_peer.read(&mut buffer) => count?,
            Some(ping) = pings.recv() => {
                to_hub.write_all(&frame(PONG, &ping)).await?;
                to_hub.flush().await?;
                continue;
            }
        };
        if count == 0 {
            to_hub.write_all(&frame(CLOSE, &1000_u16.to_be_bytes())).await?;
            to_hub.flush().await?;
            return Ok(());
        }
        let bytes = &buffer[..count];
        let framed = match frames {
            Frames::Whole => frame(BINARY, bytes),
            Frames::SingleBytes(until) => {
                let (single, whole) = bytes.split_at(until.saturating_sub(sent).min(count));
                let mut framed: Vec<u8> = single.iter().flat_map(|byte| frame(BINARY, &[*byte])).collect();
                if !whole.is_empty() {
                    framed.extend(frame(BINARY, whole));
                }
                framed
            }
            Frames::Fragments => {
                let mut framed = Vec::new();
                for (index, byte) in bytes.iter().enumerate() {
                    let opcode = if index == 0 { 0x02 } else { 0x00 };
                    let last = if index + 1 == count { 0x80 } else { 0 };
                    framed.extend(frame(opcode | last, &[*byte]));
                    framed.extend(frame(PING, b"in between"));
                }
                framed
            }
        };
        sent += count;
        to_hub.write_all(&framed).await?;
        to_hub.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_that_of_the_rfc() {
        // Section 5.7: a masked "Hello", here in a binary frame.
        assert_eq!(frame(BINARY, b"Hello"), b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        assert_eq!(header(BINARY, 256, false), [0x82, 0x7e, 1, 0]);
        assert_eq!(header(BINARY, 65_536, true), [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[tokio::test]
    async fn a_stream_is_carried_in_frames_and_pings_are_answered() {
        let (own, hub) = duplex(1024);
        let mut stream = WebSocketPeer::new(own).into_stream(Frames::SingleBytes(1));
        let mut hub = Wire::new(hub);
        stream.write_all(b"abc").await.unwrap();
        for expected in [frame(BINARY, b"a"), frame(BINARY, b"bc")] {
            let mut found = vec![0; expected.len()];
            hub.read_exact(&mut found).await;
            assert_eq!(found, expected);
        }
        hub.write(b"\x89\x02hi\x82\x03def\x88\x00").await;
        let mut found = Vec::new();
        stream.read_to_end(&mut found).await.unwrap();
        assert_eq!(found, b"def");
        let mut pong = vec![0; 8];
        hub.read_exact(&mut pong).await;
        assert_eq!(pong, frame(PONG, b"hi"));
        drop(stream);
        let (rest, _) = hub.read_to_end().await;
        assert_eq!(rest, frame(CLOSE, b"\x03\xe8"));
    }
}
