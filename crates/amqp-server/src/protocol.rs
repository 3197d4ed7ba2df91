//! [`Protocol`] is one connection's state without any I/O. Bytes go in, callbacks are made, bytes come out;
//! [`crate::serve`] moves them and keeps the deadlines. This file has the phases of a connection and hands each
//! frame to its part; handshake, sessions, links and both directions of messages are in the files below.

mod handshake;
mod incoming;
mod link;
mod outgoing;
mod session;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};

use self::session::Session;
use crate::{
    attach::LinkId,
    codec,
    config::ConnectionConfig,
    error::{AmqpError, DecodeError, condition},
    frame::{self, Frame, FrameKind},
    handle::{Command, ConnectionHandle},
    handler::{ConnectionEnd, ConnectionHandler},
    links::Links,
    performative::{self, Performative, encode},
};

/// SASL outcome codes.
const SASL_OK: u8 = 0;
const SASL_AUTH: u8 = 1;

/// The phases of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first header is awaited; with or without SASL.
    Header,
    /// The SASL layer is up; `sasl-init` is awaited.
    Sasl,
    /// SASL succeeded; the header of the AMQP layer is awaited.
    HeaderAfterSasl,
    /// The peer's open is awaited.
    Opening,
    Ready,
    /// We sent a close; only the peer's matters now.
    Closing,
    /// The peer's input is discarded: it cannot be understood, or does not matter any more.
    Discarding,
    /// Both sides closed.
    Closed,
}

/// Something a handler must be told outside of the frame that caused it.
#[derive(Debug)]
enum Event {
    Detached(LinkId, Option<AmqpError>),
}

/// The peer's mistake, by the connection, session or link that ends because of it.
#[derive(Debug)]
enum Fault {
    Connection(AmqpError),
    Session(u16, AmqpError),
    Link(LinkId, AmqpError),
}

/// One connection's state.
#[derive(Debug)]
pub(crate) struct Protocol {
    config: Arc<ConnectionConfig>,
    handle: ConnectionHandle,
    phase: Phase,
    /// The bytes that wait to be written.
    output: BytesMut,
    /// The sessions by channel number.
    sessions: Vec<Option<Box<Session>>>,
    /// The number that the ids of sessions and links are made of.
    next_serial: u32,
    events: VecDeque<Event>,
    /// Outgoing links whose handlers may send.
    ready: VecDeque<LinkId>,
    /// Bytes of incoming messages that are not complete.
    partial_bytes: usize,
    /// Bytes of outgoing messages that wait.
    queued_bytes: usize,
    /// The largest frame to send.
    frame_limit: usize,
    remote_idle: Option<Duration>,
    open_sent: bool,
    /// True if the handler trusts the peer, as far as it was asked; see [`Protocol::ask_for_trust`].
    trusted: bool,
    /// The reason why the connection ends, once it does; the first one counts.
    end: Option<ConnectionEnd>,
}

impl Protocol {
    pub(crate) fn new(config: Arc<ConnectionConfig>) -> Self {
        Self {
            handle: ConnectionHandle::new(config.max_commands),
            config,
            phase: Phase::Header,
            output: BytesMut::new(),
            sessions: Vec::new(),
            next_serial: 0,
            events: VecDeque::new(),
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

    /// Returns whether output waits to be written.
    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    pub(crate) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Returns whether the peer's open is still to come.
    pub(crate) fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Header | Phase::Sasl | Phase::HeaderAfterSasl | Phase::Opening)
    }

    /// Returns whether the handler trusts the peer, so that the limits for untrusted peers no longer apply.
    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Asks the handler whether it trusts the peer by now.
    pub(crate) fn ask_for_trust(&mut self, handler: &dyn ConnectionHandler) {
        self.trusted = self.trusted || handler.is_trusted();
    }

    /// The smaller of `limit` and the number of bytes that an untrusted peer may use; `limit` for a trusted one.
    pub(crate) fn bytes_within(&self, limit: usize) -> usize {
        // Every peer may send a frame of 512 bytes.
        if self.trusted { limit } else { limit.min(self.config.untrusted.bytes.max(512)) }
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

    /// The longest time that may pass until the peer hears from us again, if it asked for one.
    pub(crate) fn heartbeat_interval(&self) -> Option<Duration> {
        (self.phase == Phase::Ready).then(|| self.remote_idle.map(|idle| idle / 2)).flatten()
    }

    pub(crate) fn heartbeat(&mut self) {
        frame::put_empty(&mut self.output);
    }

    /// Takes every whole frame from `input` and leaves the bytes behind them.
    pub(crate) fn receive(&mut self, input: &mut BytesMut, handler: &mut dyn ConnectionHandler) {
        let mut at = 0;
        loop {
            self.ask_for_trust(handler);
            let rest = &input[at..];
            match self.phase {
                Phase::Header | Phase::HeaderAfterSasl => match self.take_header(rest) {
                    0 => break,
                    taken => at += taken,
                },
                Phase::Discarding | Phase::Closed => {
                    at = input.len();
                    break;
                }
                Phase::Sasl | Phase::Opening | Phase::Ready | Phase::Closing => {
                    let limit = usize::try_from(self.config.max_frame_size).unwrap_or(usize::MAX);
                    let limit = self.bytes_within(limit);
                    match frame::parse(rest, limit) {
                        Ok(None) => break,
                        Ok(Some(frame)) => {
                            at += frame.len;
                            self.take_frame(&frame, handler);
                            self.tell(handler);
                        }
                        Err(problem) => self.fail(AmqpError::new(condition::FRAMING_ERROR, problem)),
                    }
                }
            }
        }
        input.advance(at);
        self.dispatch(handler);
    }

    /// Carries out the commands of other tasks.
    pub(crate) fn run_commands(&mut self, handler: &mut dyn ConnectionHandler) {
        let waiting = self.handle.take();
        for command in waiting.commands {
            match command {
                Command::Settle(link, delivery, outcome) => self.settle(link, delivery, outcome),
                Command::Detach(link, error) => self.detach(link, error),
                Command::Close(error) => self.close(error),
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
        self.dispatch(handler);
    }

    /// Tells handlers of events, and lets links send while there is room for output; then the peer hears of
    /// acceptances.
    pub(crate) fn dispatch(&mut self, handler: &mut dyn ConnectionHandler) {
        self.tell(handler);
        self.flush_accepted();
    }

    /// Does the same as [`Protocol::dispatch`] in the middle of a batch whose acceptances are told together.
    fn tell(&mut self, handler: &mut dyn ConnectionHandler) {
        loop {
            if let Some(Event::Detached(link, error)) = self.events.pop_front() {
                handler.on_detach(link, error.as_ref(), &mut Links { protocol: self });
            } else if self.has_room()
                && let Some(link) = self.ready.pop_front()
            {
                self.offer_credit(link, handler);
            } else {
                return;
            }
        }
    }

    /// Returns whether links wait for room in the output.
    pub(crate) fn has_ready_links(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns whether handlers may still add output and more input may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.output.len() < self.bytes_within(self.config.max_output_bytes)
    }

    /// Closes the connection with an error; the peer's close is awaited.
    pub(crate) fn close(&mut self, error: AmqpError) {
        self.close_as(ConnectionEnd::Closed(error.clone()), Some(&error));
    }

    /// Returns whether the connection may be closed because the server ends.
    pub(crate) fn is_drained(&mut self, handler: &mut dyn ConnectionHandler) -> bool {
        self.phase != Phase::Ready || handler.is_drained(&mut Links { protocol: self })
    }

    /// Closes because the server ends. The outcomes that other tasks settled before are told first.
    pub(crate) fn shut_down(&mut self, handler: &mut dyn ConnectionHandler) {
        self.run_commands(handler);
        let error = AmqpError::new(condition::CONNECTION_FORCED, "the server is shutting down");
        self.close_as(ConnectionEnd::ShutDown, Some(&error));
        self.dispatch(handler);
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

    /// Closes after an error that leaves further input without meaning.
    fn fail(&mut self, error: AmqpError) {
        if self.phase == Phase::Sasl {
            encode::sasl_outcome(&mut self.output, SASL_AUTH);
            self.end.get_or_insert(ConnectionEnd::SaslRefused);
        }
        self.close(error);
        self.phase = Phase::Discarding;
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

    /// Notes why the connection ends, if nothing did before.
    pub(crate) fn end_as(&mut self, end: ConnectionEnd) {
        self.end.get_or_insert(end);
    }

    /// Tells every link and the handler that the connection is over, and returns how it ended.
    pub(crate) fn finish(mut self, handler: &mut dyn ConnectionHandler) -> ConnectionEnd {
        self.handle.mark_gone();
        let end = self.end.take().unwrap_or(ConnectionEnd::Disconnected);
        self.phase = Phase::Closed;
        let error = match &end {
            ConnectionEnd::ClosedByPeer(error) => error.clone(),
            ConnectionEnd::Closed(error) => Some(error.clone()),
            _ => None,
        };
        self.drop_sessions(error.as_ref());
        self.dispatch(handler);
        handler.on_closed(&end);
        end
    }

    fn take_frame(&mut self, frame: &Frame<'_>, handler: &mut dyn ConnectionHandler) {
        let expected = if self.phase == Phase::Sasl { FrameKind::Sasl } else { FrameKind::Amqp };
        if frame.kind != expected {
            return self.fail(AmqpError::new(condition::FRAMING_ERROR, "a frame of the other layer"));
        }
        if frame.body.is_empty() {
            return; // a heartbeat
        }
        if let Err(e) = codec::scan_value(frame.body) {
            return self.fail(decode_error(&e));
        }
        if self.phase == Phase::Sasl {
            return match performative::decode_sasl_init(frame.body) {
                Ok(init) => self.take_sasl_init(&init, handler),
                Err(e) => self.fail(decode_error(&e)),
            };
        }
        match performative::decode(frame.body) {
            Err(e) => self.fail(decode_error(&e)),
            Ok(Performative::Close(error)) => self.take_close(error),
            Ok(_) if self.phase == Phase::Closing => {}
            Ok(Performative::Open(open)) if self.phase == Phase::Opening => self.take_open(open, handler),
            Ok(Performative::Open(_)) => {
                self.close(AmqpError::new(condition::NOT_ALLOWED, "the connection is open already"));
            }
            Ok(_) if self.phase == Phase::Opening => {
                self.close(AmqpError::new(condition::NOT_ALLOWED, "the first frame must be open"));
            }
            Ok(performative) => {
                let result = self.take_session_frame(frame.channel, performative, handler);
                match result {
                    Ok(()) => {}
                    Err(Fault::Link(link, error)) => self.detach(link, error),
                    Err(Fault::Session(channel, error)) => self.end_session(channel, error),
                    Err(Fault::Connection(error)) => self.close(error),
                }
            }
        }
    }

    fn take_session_frame(
        &mut self,
        channel: u16,
        performative: Performative<'_>,
        handler: &mut dyn ConnectionHandler,
    ) -> Result<(), Fault> {
        match performative {
            Performative::Begin(begin) => self.take_begin(channel, &begin),
            Performative::Attach(attach) => self.take_attach(channel, &attach, handler),
            Performative::Flow(flow) => self.take_flow(channel, &flow),
            Performative::Transfer(transfer) => self.take_transfer(channel, &transfer, handler),
            Performative::Disposition(disposition) => self.take_disposition(channel, &disposition, handler),
            Performative::Detach(detach) => {
                self.take_detach(channel, &detach);
                Ok(())
            }
            Performative::End(error) => {
                self.take_end(channel, error.as_ref());
                Ok(())
            }
            // Taken care of by the caller.
            Performative::Open(_) | Performative::Close(_) => Ok(()),
        }
    }

    fn serial(&mut self) -> u32 {
        self.next_serial = self.next_serial.wrapping_add(1);
        self.next_serial
    }
}

fn decode_error(error: &DecodeError) -> AmqpError {
    AmqpError::new(condition::DECODE_ERROR, error.to_string())
}
