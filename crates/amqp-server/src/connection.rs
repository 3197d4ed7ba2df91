//! [`Connection`] is the state of one connection without any I/O and without its handler: phase, sessions, links, and
//! the output that waits. Everything that a peer, a handler or another task may do to a connection is a method here
//! or in the files below, and none of them calls a handler. A handler that must hear of something finds it in a
//! queue ([`Connection::next_detached`], [`Connection::next_ready`]) or in the answer of a method.
//!
//! [`Protocol`](crate::protocol::Protocol) owns the connection: it takes frames apart, calls these methods and the
//! handler in turn. [`Links`](crate::Links) lends the connection to the handler during a call. `link` and `session`
//! are plain state; the other files below change it.

mod handshake;
mod link;
mod link_frames;
mod receiving;
mod sending;
mod session;
mod session_frames;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::BytesMut;

use self::session::Session;
use crate::{
    attach::LinkId,
    config::ConnectionConfig,
    error::{AmqpError, DecodeError, condition},
    frame,
    handle::{ConnectionCommand, ConnectionHandle},
    performative::encode,
};

/// The phases of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The first header is awaited; with or without SASL.
    Header,
    /// The SASL layer is up; `sasl-init` is awaited.
    Sasl,
    /// SASL succeeded; the header of the AMQP layer is awaited.
    HeaderAfterSasl,
    /// The peer's open is awaited.
    Opening,
    /// The connection is open.
    Ready,
    /// We sent a close; only the peer's matters now.
    Closing,
    /// The peer's input is discarded: it cannot be understood, or does not matter any more.
    Discarding,
    /// Both sides closed.
    Closed,
}

/// The peer's mistake, by the connection, session or link that ends because of it.
#[derive(Debug)]
pub(crate) enum Fault {
    Connection(AmqpError),
    Session(u16, AmqpError),
    Link(LinkId, AmqpError),
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConnectionEnd {
    /// The peer closed it, with this error if any.
    ClosedByPeer(Option<AmqpError>),
    /// We closed it, with this error: a protocol violation, a limit, or a handler's or another task's wish.
    Closed(AmqpError),
    /// The peer went away without a close.
    Disconnected,
    /// The shutdown token was cancelled.
    ShutDown,
    /// The peer's first bytes were not a header that we speak; it was told which one we do.
    UnsupportedHeader,
    /// The SASL layer failed or the credentials were refused.
    SaslRefused,
    /// No open came within [`ConnectionConfig::handshake_timeout`].
    HandshakeTimedOut,
    /// The peer did not read for [`ConnectionConfig::write_timeout`].
    SlowPeer,
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    config: Arc<ConnectionConfig>,
    handle: ConnectionHandle,
    phase: Phase,
    /// The bytes that wait to be written.
    output: BytesMut,
    /// The sessions by channel number.
    sessions: Vec<Option<Box<Session>>>,
    /// The number of which the ids of sessions and links are made.
    next_serial: u32,
    /// The links that are gone, with the error, until the handler hears of them.
    detached: VecDeque<(LinkId, Option<AmqpError>)>,
    /// The outgoing links whose handlers may send.
    ready: VecDeque<LinkId>,
    /// The number of bytes of incoming messages that are not complete.
    partial_bytes: usize,
    /// The number of bytes of outgoing messages that wait.
    queued_bytes: usize,
    /// The largest frame to send.
    frame_limit: usize,
    /// The idle time-out that the peer asked for.
    remote_idle: Option<Duration>,
    open_sent: bool,
    /// True if the handler trusts the peer, as far as it was asked.
    trusted: bool,
    /// The reason why the connection ends, once it does; the first one counts.
    end: Option<ConnectionEnd>,
}

impl Connection {
    pub(crate) fn new(config: Arc<ConnectionConfig>) -> Self {
        Self {
            handle: ConnectionHandle::new(config.max_commands),
            config,
            phase: Phase::Header,
            output: BytesMut::new(),
            sessions: Vec::new(),
            next_serial: 0,
            detached: VecDeque::new(),
            ready: VecDeque::new(),
            partial_bytes: 0,
            queued_bytes: 0,
            frame_limit: 0,
            remote_idle: None,
            open_sent: false,
            trusted: false,
            end: None,
        }
    }

    pub(crate) fn handle(&self) -> &ConnectionHandle {
        &self.handle
    }

    pub(crate) fn config(&self) -> &ConnectionConfig {
        &self.config
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns whether output waits to be written.
    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    pub(crate) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Returns whether handlers may still add output and more input may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.output.len() < self.bytes_within(self.config.max_output_bytes)
    }

    /// Returns whether the peer's open is still to come.
    pub(crate) fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Header | Phase::Sasl | Phase::HeaderAfterSasl | Phase::Opening)
    }

    /// Returns whether we have ended the connection and wait for the peer to follow.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Discarding)
    }

    /// Returns whether nothing more will be said after the current output.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.phase, Phase::Discarding | Phase::Closed)
    }

    /// Returns whether the stream may be dropped once the output is written.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Returns whether the handler trusts the peer, so that the limits for untrusted peers no longer apply.
    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Notes that the handler trusts the peer from now on.
    pub(crate) fn trust(&mut self) {
        self.trusted = true;
    }

    /// Returns the smaller of `limit` and the number of bytes that an untrusted peer may use; `limit` for a trusted
    /// one.
    pub(crate) fn bytes_within(&self, limit: usize) -> usize {
        // Every peer may send a frame of 512 bytes.
        if self.trusted { limit } else { limit.min(self.config.untrusted.bytes.max(512)) }
    }

    /// Returns the size of the largest frame that the peer may send.
    pub(crate) fn input_frame_limit(&self) -> usize {
        self.bytes_within(usize::try_from(self.config.max_frame_size).unwrap_or(usize::MAX))
    }

    /// Returns the longest time that may pass until the peer hears from us again, if it asked for one.
    pub(crate) fn heartbeat_interval(&self) -> Option<Duration> {
        (self.phase == Phase::Ready).then(|| self.remote_idle.map(|idle| idle / 2)).flatten()
    }

    /// Sends an empty frame, so that the peer hears from us.
    pub(crate) fn heartbeat(&mut self) {
        frame::put_empty(&mut self.output);
    }

    /// Returns whether links wait to be offered credit.
    pub(crate) fn has_ready_links(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns the next link whose handler may send, as long as there is room for output.
    pub(crate) fn next_ready(&mut self) -> Option<LinkId> {
        if self.has_room() { self.ready.pop_front() } else { None }
    }

    /// Returns the next link that is gone and whose handler has not heard of it.
    pub(crate) fn next_detached(&mut self) -> Option<(LinkId, Option<AmqpError>)> {
        self.detached.pop_front()
    }

    /// Carries out the commands of other tasks.
    pub(crate) fn run_commands(&mut self) {
        let waiting = self.handle.take();
        for command in waiting.commands {
            match command {
                ConnectionCommand::Settle(link, delivery, outcome) => self.settle(link, delivery, &outcome),
                ConnectionCommand::Detach(link, error) => self.detach(link, error),
                ConnectionCommand::Close(error) => self.close(error),
            }
        }
        if waiting.overflow {
            self.close(AmqpError::new(
                condition::RESOURCE_LIMIT_EXCEEDED,
                "more commands for this connection than it can hold",
            ));
        }
        for link in waiting.wakes {
            self.make_ready(link);
        }
    }

    /// Ends the connection, session or link that a mistake of the peer concerns.
    pub(crate) fn punish(&mut self, fault: Fault) {
        match fault {
            Fault::Link(link, error) => self.detach(link, error),
            Fault::Session(channel, error) => self.end_session(channel, error),
            Fault::Connection(error) => self.close(error),
        }
    }

    /// Closes the connection with an error; the peer's close is awaited.
    pub(crate) fn close(&mut self, error: AmqpError) {
        self.close_as(ConnectionEnd::Closed(error.clone()), Some(&error));
    }

    /// Closes after an error that leaves further input without meaning.
    pub(crate) fn fail(&mut self, error: AmqpError) {
        if self.phase == Phase::Sasl {
            self.refuse_sasl();
        }
        self.close(error);
        self.phase = Phase::Discarding;
    }

    /// Closes because the server ends.
    pub(crate) fn shut_down(&mut self) {
        let error = AmqpError::new(condition::CONNECTION_FORCED, "the server is shutting down");
        self.close_as(ConnectionEnd::ShutDown, Some(&error));
    }

    /// Closes because no open came in time. If the AMQP layer is up, the peer is told.
    pub(crate) fn time_out_handshake(&mut self) {
        let text = format!("no open within {:?}", self.config.handshake_timeout);
        let error = AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text);
        self.close_as(ConnectionEnd::HandshakeTimedOut, Some(&error));
    }

    /// Closes because the peer has not proven in time who it is.
    pub(crate) fn time_out_trust(&mut self) {
        let text = format!("the peer did not prove who it is within {:?}", self.config.untrusted.timeout);
        self.close(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
    }

    fn close_as(&mut self, end: ConnectionEnd, error: Option<&AmqpError>) {
        match self.phase {
            Phase::Opening | Phase::Ready => {
                self.send_open();
                self.flush_accepted();
                self.drop_sessions(error);
                encode::close(&mut self.output, error);
                self.phase = Phase::Closing;
            }
            // There is no AMQP layer to close yet.
            Phase::Header | Phase::Sasl | Phase::HeaderAfterSasl => self.phase = Phase::Discarding,
            Phase::Closing | Phase::Discarding | Phase::Closed => return,
        }
        self.end.get_or_insert(end);
    }

    /// Notes why the connection ends, if that was not noted before.
    pub(crate) fn end_as(&mut self, end: ConnectionEnd) {
        self.end.get_or_insert(end);
    }

    /// Drops all sessions because the stream is gone, and returns how the connection ended. Commands of other tasks
    /// are ignored from now on.
    pub(crate) fn finish(&mut self) -> ConnectionEnd {
        self.handle.mark_gone();
        let end = self.end.take().unwrap_or(ConnectionEnd::Disconnected);
        self.phase = Phase::Closed;
        let error = match &end {
            ConnectionEnd::ClosedByPeer(error) => error.clone(),
            ConnectionEnd::Closed(error) => Some(error.clone()),
            _ => None,
        };
        self.drop_sessions(error.as_ref());
        end
    }

    /// Returns a number that no session or link of this connection has had.
    fn serial(&mut self) -> u32 {
        self.next_serial = self.next_serial.wrapping_add(1);
        self.next_serial
    }
}

/// Returns the error that a peer is told whose bytes cannot be decoded.
pub(crate) fn decode_error(error: &DecodeError) -> AmqpError {
    AmqpError::new(condition::DECODE_ERROR, error.to_string())
}
