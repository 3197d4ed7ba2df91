//! [`Protocol`] puts a [`Connection`] and its [`ConnectionHandler`] together. Bytes go in, callbacks are made, bytes
//! come out; [`crate::serve`] moves the bytes and keeps the deadlines. This file takes the input apart into frames,
//! gives each frame to the connection's state, and calls the handler where the state needs an answer. It keeps no
//! state of its own.

use bytes::{Buf, Bytes, BytesMut};

use crate::{
    codec,
    connection::{Connection, ConnectionEnd, Fault, Phase, decode_error},
    delivery::Disposition,
    error::{AmqpError, condition},
    frame::{self, Frame, FrameKind},
    handler::{ConnectionHandler, RemoteOpen, SaslInit, SaslVerdict},
    links::Links,
    performative::{self, Attach, Performative, Transfer},
};

/// One connection with its handler.
pub(crate) struct Protocol<'h> {
    pub(crate) connection: Connection,
    handler: &'h mut dyn ConnectionHandler,
}

impl<'h> Protocol<'h> {
    pub(crate) fn new(connection: Connection, handler: &'h mut dyn ConnectionHandler) -> Self {
        Self { connection, handler }
    }

    /// Asks the handler whether it trusts the peer by now, unless it has said so before.
    pub(crate) fn ask_for_trust(&mut self) {
        if !self.connection.is_trusted() && self.handler.is_trusted() {
            self.connection.trust();
        }
    }

    /// Takes every whole frame from `input` and leaves the bytes behind them.
    pub(crate) fn receive(&mut self, input: &mut BytesMut) {
        let mut at = 0;
        loop {
            self.ask_for_trust();
            let rest = &input[at..];
            match self.connection.phase() {
                Phase::Header | Phase::HeaderAfterSasl => match self.connection.take_header(rest) {
                    0 => break,
                    taken => at += taken,
                },
                Phase::Discarding | Phase::Closed => {
                    at = input.len();
                    break;
                }
                Phase::Sasl | Phase::Opening | Phase::Ready | Phase::Closing => {
                    match frame::parse(rest, self.connection.input_frame_limit()) {
                        Ok(None) => break,
                        Ok(Some(frame)) => {
                            at += frame.len;
                            self.take_frame(&frame);
                            self.tell();
                        }
                        Err(problem) => {
                            self.connection.fail(AmqpError::new(condition::FRAMING_ERROR, problem));
                        }
                    }
                }
            }
        }
        input.advance(at);
        self.dispatch();
    }

    /// Carries out the commands of other tasks.
    pub(crate) fn run_commands(&mut self) {
        self.connection.run_commands();
        self.dispatch();
    }

    /// Tells the handler of links that are gone, and lets links send while there is room for output; then the peer
    /// hears of acceptances.
    pub(crate) fn dispatch(&mut self) {
        self.tell();
        self.connection.flush_accepted();
    }

    /// Does the same as [`Protocol::dispatch`] in the middle of a batch whose acceptances are told together.
    fn tell(&mut self) {
        loop {
            if let Some((link, error)) = self.connection.next_detached() {
                self.handler.on_detach(link, error.as_ref(), &mut Links::new(&mut self.connection));
            } else if let Some(link) = self.connection.next_ready() {
                if let Some(credit) = self.connection.take_offer(link) {
                    self.handler.on_credit(link, credit, &mut Links::new(&mut self.connection));
                }
                self.connection.finish_offer(link);
            } else {
                return;
            }
        }
    }

    /// Returns whether the connection may be closed because the server ends.
    pub(crate) fn is_drained(&mut self) -> bool {
        self.connection.phase() != Phase::Ready
            || self.handler.is_drained(&mut Links::new(&mut self.connection))
    }

    /// Closes because the server ends. The outcomes that other tasks settled before are told first.
    pub(crate) fn shut_down(&mut self) {
        self.run_commands();
        self.connection.shut_down();
        self.dispatch();
    }

    /// Tells the handler that every link and the connection are gone, and returns how the connection ended.
    pub(crate) fn finish(mut self) -> ConnectionEnd {
        let end = self.connection.finish();
        self.dispatch();
        self.handler.on_closed(&end);
        end
    }

    fn take_frame(&mut self, frame: &Frame<'_>) {
        let phase = self.connection.phase();
        let expected = if phase == Phase::Sasl { FrameKind::Sasl } else { FrameKind::Amqp };
        if frame.kind != expected {
            let error = AmqpError::new(condition::FRAMING_ERROR, "a frame of the other layer");
            return self.connection.fail(error);
        }
        if frame.body.is_empty() {
            return; // a heartbeat
        }
        if let Err(e) = codec::scan_value(frame.body) {
            return self.connection.fail(decode_error(&e));
        }
        if phase == Phase::Sasl {
            return match performative::decode_sasl_init(frame.body) {
                Ok(init) => self.take_sasl_init(&init),
                Err(e) => self.connection.fail(decode_error(&e)),
            };
        }
        let not_allowed = |text: &str| AmqpError::new(condition::NOT_ALLOWED, text);
        match performative::decode(frame.body) {
            Err(e) => self.connection.fail(decode_error(&e)),
            Ok(Performative::Close(error)) => self.connection.take_close(error),
            Ok(_) if phase == Phase::Closing => {}
            Ok(Performative::Open(open)) if phase == Phase::Opening => self.take_open(open),
            Ok(Performative::Open(_)) => self.connection.close(not_allowed("the connection is open already")),
            Ok(_) if phase == Phase::Opening => {
                self.connection.close(not_allowed("the first frame must be open"));
            }
            Ok(performative) => {
                if let Err(fault) = self.take_session_frame(frame.channel, performative) {
                    self.connection.punish(fault);
                }
            }
        }
    }

    fn take_session_frame(&mut self, channel: u16, performative: Performative<'_>) -> Result<(), Fault> {
        match performative {
            Performative::Begin(begin) => self.connection.take_begin(channel, &begin),
            Performative::Attach(attach) => self.take_attach(channel, &attach),
            Performative::Flow(flow) => self.connection.take_flow(channel, &flow),
            Performative::Transfer(transfer) => self.take_transfer(channel, &transfer),
            Performative::Disposition(disposition) => self.take_disposition(channel, &disposition),
            Performative::Detach(detach) => {
                self.connection.take_detach(channel, &detach);
                Ok(())
            }
            Performative::End(error) => {
                self.connection.take_end(channel, error.as_ref());
                Ok(())
            }
            // The caller takes these.
            Performative::Open(_) | Performative::Close(_) => Ok(()),
        }
    }

    fn take_sasl_init(&mut self, init: &performative::SaslInit<'_>) {
        let accepted = self.connection.offers(&init.mechanism) && {
            let init = SaslInit {
                mechanism: init.mechanism.clone(),
                initial_response: init.initial_response.map(Bytes::copy_from_slice),
                hostname: init.hostname.clone(),
            };
            self.handler.on_sasl(init) == SaslVerdict::Accept
        };
        self.connection.finish_sasl(accepted);
    }

    fn take_open(&mut self, open: performative::Open) {
        if let Err(error) = self.connection.take_open(&open) {
            return self.connection.close(error);
        }
        let remote = RemoteOpen {
            container_id: open.container_id,
            hostname: open.hostname,
            properties: open.properties,
        };
        match self.handler.on_open(remote, self.connection.handle()) {
            Ok(()) => self.connection.finish_open(),
            Err(error) => self.connection.close(error),
        }
    }

    fn take_attach(&mut self, channel: u16, attach: &Attach) -> Result<(), Fault> {
        if let Some(request) = self.connection.take_attach(channel, attach)? {
            let link = request.link;
            let verdict = self.handler.on_attach(request, &mut Links::new(&mut self.connection));
            self.connection.finish_attach(link, attach, verdict);
        }
        Ok(())
    }

    fn take_transfer(&mut self, channel: u16, transfer: &Transfer<'_>) -> Result<(), Fault> {
        if let Some((link, delivery)) = self.connection.take_transfer(channel, transfer)? {
            let id = delivery.id;
            let disposition = self.handler.on_message(link, delivery, &mut Links::new(&mut self.connection));
            if let Disposition::Now(outcome) = disposition {
                self.connection.settle_received(link, id, &outcome);
            }
        }
        Ok(())
    }

    fn take_disposition(
        &mut self,
        channel: u16,
        disposition: &performative::Disposition,
    ) -> Result<(), Fault> {
        let (first, last) = (disposition.first, disposition.last);
        if last.wrapping_sub(first) > u32::MAX / 2 {
            let text = format!("a disposition from {first} to {last}");
            return Err(Fault::Session(channel, AmqpError::new(condition::INVALID_FIELD, text)));
        }
        // Ids are serial numbers: a range may run over the end.
        let ranges = if first <= last {
            [Some((first, last)), None]
        } else {
            [Some((first, u32::MAX)), Some((0, last))]
        };
        for range in ranges.into_iter().flatten() {
            if disposition.receiver {
                self.take_outcomes(channel, range, disposition);
            } else if disposition.settled {
                self.connection.note_settled(channel, range.0, range.1);
            }
        }
        self.connection.resume_session(channel);
        Ok(())
    }

    /// Tells the handler the peer's outcome of each delivery in a range of ids.
    fn take_outcomes(&mut self, channel: u16, range: (u32, u32), disposition: &performative::Disposition) {
        let mut left = Some(range);
        // The state is asked for one delivery at a time, since the handler may end the session at each of them.
        while let Some((link, sent)) = self.connection.next_outcome(channel, &mut left, disposition) {
            let id = sent.id;
            let answer = self.handler.on_outcome(link, sent, &mut Links::new(&mut self.connection));
            if let Disposition::Now(outcome) = answer
                && !disposition.settled
            {
                self.connection.settle_sent(link, id, &outcome);
            }
        }
    }
}
