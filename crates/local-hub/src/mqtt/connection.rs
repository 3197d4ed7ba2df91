//! This file serves the connection of one device or module: it handles each packet, sends the messages that wait,
//! and ends the connection.
//!
//! `mqtt` starts it for each accepted connection. Packets are handled a read batch at a time. The telemetry of a batch
//! enters the hub in one transition, and the answers are written after it, in order and at once. The hub does not
//! push into a connection: the connection pulls messages from its `mailbox` when it has room. While a peer does
//! not take its output, the hub reads from it up to a bound only, and disconnects it after a while.

use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};

use super::admission::{self, Admitted};
use super::answers::{self, Answers};
use super::codec::{self, Packet, Publish};
use super::ended::{Ended, STALL};
use super::filters;
use super::method::MethodResponse;
use super::telemetry;
use super::topics::{self, PublishTopic};
use super::twin::TwinRequest;
use super::wire::{Progress, Wire};
use crate::activity::refused;
use crate::core::connections::CloseReason;
use crate::core::event::HubEvent;
use crate::core::method_calls::MethodAnswer;
use crate::core::sessions::Qos;
use crate::hub::{Committed, Hub, Reserved};
use crate::journal::{Gate, NotKept, Room};
use crate::listener::Accepted;

/// Serves one connection from its first byte to its last, and keeps its place from when its device is let in.
pub(crate) async fn run<S>(hub: Hub, Accepted { stream, permit }: Accepted<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(stream);
    let admitted = tokio::select! {
        admitted = admission::admit(&hub, &mut wire, permit.client_chain()) => admitted,
        () = hub.shutdown().cancelled() => return,
    };
    match admitted {
        Ok(admitted) => {
            permit.place().prove();
            wire.trust();
            let mut connection = Connection::new(hub, wire, admitted);
            let ended = connection.serve().await;
            connection.end(&ended).await;
        }
        Err(refusal) => {
            refused("connect", &refusal).of(refusal.id()).code(refusal.error_code()).tell();
            wire.close().await;
        }
    }
}

struct Connection<S> {
    hub: Hub,
    wire: Wire<S>,
    admitted: Admitted,
    last_heard: Timestamp,
    /// The instant at which the peer last took any output, and the number of bytes that it had taken by then; `None`
    /// if nothing waits.
    stalled: Option<(Timestamp, u64)>,
    packet_limit: usize,
    /// The answers that wait until what they speak of is kept.
    answers: Answers,
    /// True if packets wait unread because their answers would not have fit, or because the journal has no room.
    input_waits: bool,
    /// Room in the journal that is being waited for.
    reserving: Option<BoxFuture<'static, Result<Reserved, NotKept>>>,
    /// Room in the journal for the next packets.
    reserved: Option<Reserved>,
}

/// A packet that needs a transition of its own, unlike telemetry, which is kept a batch at a time.
enum Transition {
    Twin(TwinRequest, Publish),
    Method(MethodResponse, Publish),
    /// A change of the subscriptions, which is made; its acknowledgement and the gate for which that waits.
    Session(BytesMut, Gate),
}

/// The telemetry of a read batch, and the answers to its packets.
#[derive(Default)]
struct Batch {
    telemetry: Vec<HubEvent>,
    answers: BytesMut,
    /// Room in the journal for what the next packets change.
    reserved: Option<Reserved>,
}

impl Batch {
    fn take_service_room(&mut self) -> Room {
        self.reserved.as_mut().map(|reserved| std::mem::take(&mut reserved.service)).unwrap_or_default()
    }
}

/// Waits for room in the journal; for ever if none is asked for.
async fn room(
    reserving: &mut Option<BoxFuture<'static, Result<Reserved, NotKept>>>,
) -> Result<Reserved, NotKept> {
    match reserving {
        Some(reserving) => reserving.await,
        None => pending().await,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(hub: Hub, wire: Wire<S>, admitted: Admitted) -> Self {
        let last_heard = hub.clock().now();
        let packet_limit = hub.config().limits.telemetry_message_bytes + codec::PUBLISH_OVERHEAD;
        Self {
            hub,
            wire,
            admitted,
            last_heard,
            stalled: None,
            packet_limit,
            answers: Answers::default(),
            input_waits: false,
            reserving: None,
            reserved: None,
        }
    }

    async fn serve(&mut self) -> Ended {
        let (clock, shutdown) = (self.hub.clock().clone(), self.hub.shutdown().clone());
        let Some(signals) = self.admitted.mailbox.device().signals().map(Arc::clone) else {
            // Only the session of a single request has none.
            return Ended::Left;
        };
        let mut closed = pin!(signals.closed.cancelled());
        let mut shutdown = pin!(shutdown.cancelled());
        let mut alarm_time = self.next_deadline();
        let mut alarm = pin!(clock.sleep_until(alarm_time));
        let mut may_have_mail = true;
        // A client need not wait for its CONNACK: packets behind the CONNECT may be here already.
        if let Err(ended) = self.take_batch().await {
            return ended;
        }
        loop {
            if !self.wire.is_writing() {
                self.admitted.mailbox.all_written();
            }
            may_have_mail |= self.admitted.mailbox.complete();
            if let Err(error) = self.answers.flush(&mut self.wire.output) {
                return Ended::NotKept(error);
            }
            let has_room = self.answers.has_room(self.wire.output.len());
            if may_have_mail && has_room {
                may_have_mail = self.admitted.mailbox.deliver(&mut self.wire.output, answers::BYTES);
            }
            if self.input_waits && has_room && self.reserving.is_none() {
                if let Err(ended) = self.take_batch().await {
                    return ended;
                }
                continue;
            }
            self.watch_output();
            let next_deadline = self.next_deadline();
            if next_deadline < alarm_time {
                alarm_time = next_deadline;
                alarm.set(clock.sleep_until(alarm_time));
            }
            // The wire comes last, so that a device that never pauses cannot keep the hub from ending it.
            tokio::select! {
                biased;
                () = &mut closed => {
                    return Ended::Told(signals.close_reason().unwrap_or(CloseReason::NewerConnection));
                }
                () = &mut shutdown => return Ended::Shutdown,
                () = &mut alarm => {
                    if let Some(ended) = self.overdue(clock.now()) {
                        return ended;
                    }
                    alarm_time = self.next_deadline();
                    alarm.set(clock.sleep_until(alarm_time));
                }
                () = signals.wake.notified() => may_have_mail = true,
                () = self.answers.ready() => {}
                reserved = room(&mut self.reserving) => {
                    self.reserving = None;
                    match reserved {
                        Ok(reserved) => self.reserved = Some(reserved),
                        Err(error) => return Ended::NotKept(error),
                    }
                }
                progress = self.wire.progress(has_room) => match progress {
                    Ok(Progress::Read) => {
                        self.last_heard = clock.now();
                        if let Err(ended) = self.take_batch().await {
                            return ended;
                        }
                    }
                    Ok(Progress::Written) => {}
                    Ok(Progress::End) => return Ended::Left,
                    // Many clients leave without a word, be it TCP's or TLS's.
                    Err(error) if is_departure(&error) => return Ended::Left,
                    Err(error) => return Ended::Io(error),
                }
            }
        }
    }

    /// Handles all packets that are here, as long as there is room for answers.
    async fn take_batch(&mut self) -> Result<(), Ended> {
        let mut batch = Batch::default();
        let now = self.hub.clock().now();
        self.input_waits = false;
        let handled = loop {
            if !self.answers.has_room(self.wire.output.len() + batch.answers.len()) {
                self.input_waits = true;
                break Ok(());
            }
            if batch.reserved.is_none() {
                batch.reserved = self.reserved.take().or_else(|| self.hub.try_reserve());
            }
            if batch.reserved.is_none() {
                let hub = self.hub.clone();
                self.reserving = Some(Box::pin(async move { hub.reserve().await }));
                self.input_waits = true;
                break Ok(());
            }
            match codec::read(&mut self.wire.input, self.packet_limit) {
                Ok(Some(packet)) => match self.handle(packet, now, &mut batch) {
                    Ok(None) => {}
                    Ok(Some(transition)) => {
                        let reserved = batch.reserved.take().unwrap_or_default();
                        // Acknowledgements go out in the order of the packets that they acknowledge.
                        self.keep(&mut batch, reserved.telemetry).await;
                        match transition {
                            Transition::Twin(request, publish) => {
                                self.answer(&request, &publish, reserved.service);
                            }
                            Transition::Method(response, publish) => self.pass_on(response, publish),
                            Transition::Session(acknowledgement, gate) => {
                                self.answers.push(gate, acknowledgement, &mut self.wire.output);
                            }
                        }
                        // A read batch holds over a thousand of these, and a large twin takes a fraction of
                        // a millisecond each time: others get their turn in between.
                        tokio::task::yield_now().await;
                    }
                    Err(ended) => break Err(ended),
                },
                Ok(None) => break Ok(()),
                Err(fault) => break Err(Ended::Fault(fault)),
            }
        };
        // The packets before a fault are kept and answered.
        let room = batch.reserved.take().unwrap_or_default().telemetry;
        self.keep(&mut batch, room).await;
        handled
    }

    /// Keeps the telemetry that the batch has brought so far; the answers follow once it is kept.
    async fn keep(&mut self, batch: &mut Batch, room: Room) {
        let telemetry = std::mem::take(&mut batch.telemetry);
        let gate = if telemetry.is_empty() {
            Gate::OPEN
        } else {
            self.admitted.mailbox.device().append_telemetry(telemetry, room).await
        };
        self.answers.push(gate, batch.answers.split(), &mut self.wire.output);
    }

    /// Carries out a request about the twin; its acknowledgement and its answer follow once the change is kept.
    fn answer(&mut self, request: &TwinRequest, publish: &Publish, room: Room) {
        let mailbox = &mut self.admitted.mailbox;
        let Committed { answer, gate } =
            request.answer(mailbox.device(), &publish.payload, room, self.hub.clock().now());
        let mut answers = BytesMut::new();
        if publish.qos == Qos::AtLeastOnce {
            codec::write_puback(&mut answers, publish.packet_id);
        }
        mailbox.answer(&answer, &mut answers);
        self.answers.push(gate, answers, &mut self.wire.output);
    }

    /// Passes the device's response to a direct method on, and acknowledges it.
    fn pass_on(&mut self, response: MethodResponse, publish: Publish) {
        let device = self.admitted.mailbox.device();
        let MethodResponse { status, number } = response;
        let answer = MethodAnswer { status, payload: publish.payload };
        if !number.is_some_and(|number| device.answer_call(number, answer)) {
            tracing::debug!(device = %device.id(), ?number, "a late or unknown answer to a method is dropped");
        }
        if publish.qos == Qos::AtLeastOnce {
            let mut acknowledgement = BytesMut::new();
            codec::write_puback(&mut acknowledgement, publish.packet_id);
            self.answers.push(Gate::OPEN, acknowledgement, &mut self.wire.output);
        }
    }

    /// Handles one packet, and returns it if it needs a transition of its own.
    fn handle(
        &mut self,
        packet: Packet,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Option<Transition>, Ended> {
        let mailbox = &mut self.admitted.mailbox;
        match packet {
            Packet::Publish(publish) => return self.publish(publish, now, batch),
            Packet::PubAck(packet_id) => mailbox.acknowledge(packet_id),
            Packet::Subscribe { packet_id, filters } => {
                // One filter that is refused ends the connection, and then the session gets none of them.
                for (filter, _) in &filters {
                    if let Err(error) = filters::check(filter, mailbox.id()) {
                        return Err(Ended::Filter(shown(filter.clone()), error));
                    }
                }
                let mut granted = Vec::with_capacity(filters.len());
                for (filter, qos) in filters {
                    if !filters::opens_anything(&filter) {
                        tracing::debug!(device = %mailbox.id(), ?filter, "nothing is ever sent for this filter");
                    }
                    mailbox.subscribe(&filter, qos).map_err(Ended::Subscriptions)?;
                    granted.push(qos);
                }
                let gate = mailbox.keep_session(batch.take_service_room());
                // Messages may have waited for this subscription.
                if let Some(signals) = mailbox.device().signals() {
                    signals.wake.notify_one();
                }
                let mut acknowledgement = BytesMut::new();
                codec::write_suback(&mut acknowledgement, packet_id, &granted);
                return Ok(Some(Transition::Session(acknowledgement, gate)));
            }
            Packet::Unsubscribe { packet_id, filters } => {
                // A filter that the session does not have is no fault: it is acknowledged like any other.
                for filter in &filters {
                    mailbox.unsubscribe(filter);
                }
                let gate = mailbox.keep_session(batch.take_service_room());
                let mut acknowledgement = BytesMut::new();
                codec::write_unsuback(&mut acknowledgement, packet_id);
                return Ok(Some(Transition::Session(acknowledgement, gate)));
            }
            Packet::PingReq => codec::write_pingresp(&mut batch.answers),
            Packet::Disconnect => return Err(Ended::Goodbye),
        }
        Ok(None)
    }

    fn publish(
        &self,
        publish: Publish,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Option<Transition>, Ended> {
        match topics::parse_publish(&publish.topic, self.admitted.mailbox.id()) {
            Ok(PublishTopic::Telemetry { bag }) => {
                let limit = self.hub.config().limits.telemetry_message_bytes;
                let telemetry = telemetry::read(bag, &publish, limit).map_err(Ended::Telemetry)?;
                batch.telemetry.push(self.admitted.sender.event(telemetry, now));
            }
            Ok(PublishTopic::Twin(request)) => return Ok(Some(Transition::Twin(request, publish))),
            Ok(PublishTopic::Method(response)) => return Ok(Some(Transition::Method(response, publish))),
            Err(error) => return Err(Ended::PublishTopic(shown(publish.topic), error)),
        }
        if publish.qos == Qos::AtLeastOnce {
            codec::write_puback(&mut batch.answers, publish.packet_id);
        }
        Ok(None)
    }

    /// Notes the instant from which on the peer takes none of its output.
    fn watch_output(&mut self) {
        let written = self.wire.written();
        self.stalled = match self.stalled {
            _ if !self.wire.is_writing() => None,
            Some((since, before)) if before == written => Some((since, before)),
            _ => Some((self.hub.clock().now(), written)),
        };
    }

    fn next_deadline(&self) -> Timestamp {
        let silence = later(self.last_heard, self.admitted.max_silence);
        let stall = self.stalled.map_or(Timestamp::MAX, |(since, _)| later(since, STALL));
        silence.min(self.admitted.token_deadline).min(stall)
    }

    /// Returns why the connection must end, if one of its deadlines has passed.
    fn overdue(&mut self, now: Timestamp) -> Option<Ended> {
        // The peer may have taken something since the last look.
        self.watch_output();
        let max_silence = self.admitted.max_silence;
        if now >= self.admitted.token_deadline {
            Some(Ended::TokenExpired)
        } else if self.stalled.is_some_and(|(since, _)| now >= later(since, STALL)) {
            Some(Ended::Slow(self.wire.output.len()))
        } else if now >= later(self.last_heard, max_silence) {
            Some(Ended::Silent(max_silence))
        } else {
            None
        }
    }

    /// Completes the messages that the device has taken, publishes its will unless it said goodbye, and closes.
    async fn end(mut self, ended: &Ended) {
        self.admitted.mailbox.complete();
        let device = self.admitted.mailbox.device();
        self.hub.activity().disconnected(device.id(), device.since(), ended.result(), ended);
        let gone = matches!(ended, Ended::Told(CloseReason::DeviceDeleted | CloseReason::Reset));
        if let Some(will) = self.admitted.will.take()
            && !gone
            && !matches!(ended, Ended::Goodbye)
        {
            let event = self.admitted.sender.event(will, self.hub.clock().now());
            // The connection has ended: the reserve of the journal takes the last of it.
            let gate = device.append_telemetry(vec![event], Room::default()).await;
            if let Err(error) = gate.wait().await {
                tracing::error!(device = %device.id(), %error, "a will could not be kept");
            }
        }
        // Closing may take a second. Messages are back in the queue before, and a newer connection can go on.
        drop(self.admitted);
        // A hub that shuts down does not wait for peers.
        if !matches!(ended, Ended::Shutdown) {
            self.wire.close().await;
        }
    }
}

fn is_departure(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Returns the text of a peer, cut to 200 bytes for the log.
fn shown(mut text: String) -> String {
    if text.len() > 200 {
        let end = (0..=200).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('\u{2026}');
    }
    text
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin_tests;
