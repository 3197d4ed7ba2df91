//! [`AmqpPeer`] is a client that speaks AMQP 1.0 frame by frame: another library than the hub's encodes performatives and
//! messages, and everything around them is written by hand.
//!
//! This file has the connection: headers, frames, SASL, open and sessions. The links of a client are in `amqp/links.rs`,
//! the nodes `$cbs` and `$management` in `amqp/nodes.rs`, reading events in `amqp/events.rs`; frames and messages as
//! bytes are in `amqp/frames.rs` and `amqp/messages.rs`.

mod events;
mod frames;
mod links;
mod messages;
mod nodes;

use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::time::Duration;

use fe2o3_amqp_types::performatives::Performative;
use fe2o3_amqp_types::primitives::{Binary, Symbol};
use fe2o3_amqp_types::sasl::{SaslInit, SaslOutcome};

pub use self::events::{Ask, Event, METRICS, find, partition};
pub use self::frames::{AMQP, SASL, attach, begin, flow, frame, open, open_frame, performative, transfer};
pub use self::messages::{
    DEVICE_BOUND, Refusal, c2d, c2d_with, condition, condition_of, properties, put_token, refusal, request,
};
pub use self::nodes::{CbsAnswer, Managed};
use crate::wire::{Stream, Wire};

/// The largest frame that a peer takes; its open says so.
const MAX_FRAME: usize = 65_536;

/// A frame without its size and the offset of its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// 0 for AMQP, 1 for SASL.
    pub kind: u8,
    /// The channel, which is the sender's number of the session.
    pub channel: u16,
    /// The performative and what follows it; empty in a heartbeat.
    pub body: Vec<u8>,
}

/// The client's end of an AMQP connection. Dropping it ends the connection without a close.
#[derive(Debug)]
pub struct AmqpPeer {
    wire: Wire,
    next_delivery: u32,
}

impl AmqpPeer {
    /// Returns a client that has sent nothing yet, on a stream that is open.
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self { wire: Wire::new(stream), next_delivery: 0 }
    }

    /// Gives every read and write this much time; see [`Wire::with_patience`].
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { wire: self.wire.with_patience(patience), ..self }
    }

    /// Opens a TLS connection to a port of this machine, on which nothing was sent yet.
    ///
    /// # Panics
    /// As [`tls::connect`](crate::tls::connect).
    pub async fn tls(port: u16, ca_file: &Path) -> Self {
        Self::new(crate::tls::connect(port, ca_file).await)
    }

    /// Opens a connection without TLS to a port of this machine, on which nothing was sent yet.
    ///
    /// # Panics
    /// As [`tls::tcp`](crate::tls::tcp).
    pub async fn plain(port: u16) -> Self {
        Self::new(crate::tls::tcp(port).await)
    }

    /// Opens the connection, with a session on channel 0: sends header, open and begin, and takes the hub's.
    ///
    /// # Panics
    /// If the hub answers otherwise.
    pub async fn say_open(&mut self) {
        let begin = performative(&Performative::Begin(begin()), &[]);
        self.write(&[&AMQP[..], &open_frame(), &begin].concat()).await;
        assert_eq!(self.read_header().await, *AMQP);
        assert!(matches!(self.recv().await.0, Performative::Open(_)), "the hub opens");
        assert!(matches!(self.recv().await.0, Performative::Begin(_)), "the hub begins");
    }

    /// Begins a session on channel 0, after an earlier one has ended. Other frames that come before the hub's begin are
    /// dropped.
    ///
    /// # Panics
    /// If the hub does not begin in time.
    pub async fn begin(&mut self) {
        self.say_begin_on(0).await;
        while !matches!(self.recv().await.0, Performative::Begin(_)) {}
    }

    /// Begins a session on a channel, without waiting for an answer.
    ///
    /// # Panics
    /// If the hub has hung up.
    pub async fn say_begin_on(&mut self, channel: u16) {
        self.send_on(channel, &Performative::Begin(begin()), &[]).await;
    }

    /// Authenticates by SASL with one mechanism. Returns the code of the hub's outcome, 0 if the peer was let in.
    ///
    /// # Panics
    /// If the hub answers otherwise, or does not offer the three mechanisms of IoT Hub: MSSBCBS, PLAIN and ANONYMOUS.
    pub async fn sasl(&mut self, mechanism: &str, response: Option<&[u8]>) -> u8 {
        let init = SaslInit {
            mechanism: Symbol::from(mechanism),
            initial_response: response.map(|response| Binary::from(response.to_vec())),
            hostname: None,
        };
        let init = serde_amqp::to_vec(&init).expect("a SASL init can be encoded");
        self.write(&[&SASL[..], &frame(1, 0, &init)].concat()).await;
        assert_eq!(self.read_header().await, *SASL);
        self.sasl_outcome().await
    }

    /// Takes the hub's mechanisms and its outcome, after a header and an init that the test itself has sent. Returns the
    /// outcome's code.
    ///
    /// # Panics
    /// As [`sasl`](Self::sasl).
    pub async fn sasl_outcome(&mut self) -> u8 {
        let mechanisms = self.recv_sasl().await;
        for offered in ["MSSBCBS", "PLAIN", "ANONYMOUS"] {
            let is_offered = mechanisms.windows(offered.len()).any(|part| part == offered.as_bytes());
            assert!(is_offered, "{offered} is not offered");
        }
        let outcome = self.recv_sasl().await;
        serde_amqp::from_slice::<SaslOutcome>(&outcome).expect("a SASL outcome").code as u8
    }

    async fn recv_sasl(&mut self) -> Vec<u8> {
        let frame = self.recv_frame().await;
        assert_eq!(frame.kind, 1, "a SASL frame");
        frame.body
    }

    /// Writes bytes, which need not be a frame.
    ///
    /// # Panics
    /// If the hub has hung up, or does not take them in time.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.wire.write(bytes).await;
    }

    /// Writes bytes, which need not be a frame, to a hub that may have hung up.
    ///
    /// # Errors
    /// As [`Wire::try_write`].
    pub async fn try_write(&mut self, bytes: &[u8]) -> Result<()> {
        self.wire.try_write(bytes).await
    }

    /// Sends a performative and what follows it on channel 0.
    ///
    /// # Panics
    /// If the hub has hung up.
    pub async fn send(&mut self, performative: Performative, payload: &[u8]) {
        self.send_on(0, &performative, payload).await;
    }

    /// Sends a performative and what follows it on a channel.
    ///
    /// # Panics
    /// If the hub has hung up.
    pub async fn send_on(&mut self, channel: u16, performative: &Performative, payload: &[u8]) {
        let mut frame = frames::performative(performative, payload);
        frame[6..8].copy_from_slice(&channel.to_be_bytes());
        self.write(&frame).await;
    }

    /// Fills `into` with the next bytes, whatever they are.
    ///
    /// # Panics
    /// If the connection ends before, or the bytes do not come in time.
    pub async fn read_exact(&mut self, into: &mut [u8]) {
        self.wire.read_exact(into).await;
    }

    /// Returns the next eight bytes, which are a protocol header if the hub does as it should.
    ///
    /// # Panics
    /// If the connection ends before, or the bytes do not come in time.
    pub async fn read_header(&mut self) -> [u8; 8] {
        let mut header = [0; 8];
        self.read_exact(&mut header).await;
        header
    }

    /// Reads the next frame into `frame`, whose memory it uses again.
    ///
    /// # Errors
    /// If the connection ends, or no whole frame comes in time, or its size is no frame's.
    pub async fn try_recv_frame_into(&mut self, frame: &mut Frame) -> Result<()> {
        let mut header = [0; 8];
        self.wire.try_read_exact(&mut header).await?;
        let [a, b, c, d, offset, kind, high, low] = header;
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        if !(8..=MAX_FRAME).contains(&size) || offset != 2 {
            return Err(Error::new(ErrorKind::InvalidData, format!("no frame: {header:02x?}")));
        }
        (frame.kind, frame.channel) = (kind, u16::from_be_bytes([high, low]));
        frame.body.resize(size - 8, 0);
        self.wire.try_read_exact(&mut frame.body).await
    }

    /// Returns the next frame.
    ///
    /// # Panics
    /// If the connection ends, or no whole frame comes in time, or its size is no frame's.
    pub async fn recv_frame(&mut self) -> Frame {
        let mut frame = Frame::default();
        self.try_recv_frame_into(&mut frame).await.expect("the hub sends a frame");
        frame
    }

    /// Returns the next performative on any channel, and what follows it. Heartbeats are dropped.
    ///
    /// # Panics
    /// If the connection ends, or nothing comes in time, or it is no AMQP frame.
    pub async fn recv(&mut self) -> (Performative, Vec<u8>) {
        loop {
            let frame = self.recv_frame().await;
            assert_eq!(frame.kind, 0, "an AMQP frame");
            if !frame.body.is_empty() {
                return frames::split(&frame.body);
            }
        }
    }

    /// Returns the error of the detach, end or close that comes next, and which of them it is. Other frames before it
    /// are dropped.
    ///
    /// # Panics
    /// If it has no error, or none comes in time.
    pub async fn expect_error(&mut self) -> (&'static str, Refusal) {
        loop {
            let (kind, error) = match self.recv().await.0 {
                Performative::Detach(detach) => ("detach", detach.error),
                Performative::End(end) => ("end", end.error),
                Performative::Close(close) => ("close", close.error),
                _ => continue,
            };
            return (kind, refusal(error.expect("a reason")));
        }
    }

    /// Waits until the hub ends the connection.
    ///
    /// # Panics
    /// If the hub sends another byte and then closes the connection, or does not hang up in time.
    pub async fn expect_end(self) {
        let (bytes, was_reset) = self.read_to_end().await;
        assert!(was_reset || bytes.is_empty(), "{bytes:02x?}");
    }

    /// Returns the bytes that come before the hub ends the connection, and whether it was reset.
    ///
    /// # Panics
    /// If the hub does not hang up in time.
    pub async fn read_to_end(mut self) -> (Vec<u8>, bool) {
        self.wire.read_to_end().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (AmqpPeer, AmqpPeer) {
        let (own, hub) = tokio::io::duplex(64 * 1024);
        (AmqpPeer::new(own), AmqpPeer::new(hub))
    }

    #[tokio::test]
    async fn performatives_come_with_their_payload_and_heartbeats_are_dropped() {
        let (mut peer, mut hub) = pair();
        hub.write(&frame(0, 0, &[])).await;
        hub.send(Performative::Transfer(transfer(1, 2, false)), b"payload").await;
        let (Performative::Transfer(transfer), payload) = peer.recv().await else { panic!("no transfer") };
        assert_eq!(
            (transfer.handle.0, transfer.delivery_id, payload.as_slice()),
            (1, Some(2), &b"payload"[..])
        );
        // An open with a long name, whose list has four bytes of size.
        let long = fe2o3_amqp_types::performatives::Open { container_id: "x".repeat(300), ..open() };
        hub.send(Performative::Open(long), &[]).await;
        let (Performative::Open(open), payload) = peer.recv().await else { panic!("no open") };
        assert_eq!((open.container_id.len(), payload.len()), (300, 0));
        drop(hub);
        peer.expect_end().await;
    }

    #[tokio::test]
    async fn a_frame_is_on_the_channel_it_was_sent_on() {
        let (mut peer, mut hub) = pair();
        hub.say_begin_on(258).await;
        let frame = peer.recv_frame().await;
        assert_eq!((frame.kind, frame.channel), (0, 258));
    }

    #[tokio::test]
    async fn a_size_that_is_no_frame_s_is_an_error() {
        for bytes in [
            b"\x00\x00\x00\x07\x02\x00\x00\x00",
            b"\x00\x01\x00\x01\x02\x00\x00\x00",
            b"\x00\x00\x00\x08\x03\x00\x00\x00",
        ] {
            let (mut peer, mut hub) = pair();
            hub.write(bytes).await;
            let error = peer.try_recv_frame_into(&mut Frame::default()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{bytes:02x?}");
        }
    }
}
