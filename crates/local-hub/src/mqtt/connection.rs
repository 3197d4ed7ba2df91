//! This file serves the connection of one device or module: it handles each packet, sends the messages that wait,
//! and ends the connection.
//!
//! `mqtt` starts it for each accepted connection. Packets are handled a read batch at a time. The telemetry of a batch
//! enters the hub in one transition, and the answers are written after it, in order and at once. The hub does not
//! push into a connection: the connection pulls messages from its `mailbox` when it has room. While a peer does
//! not take its output, the hub reads from it up to a bound only, and disconnects it after a while.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use iothub_models::ErrorCode;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};

use super::admission::{self, Admitted};
use super::codec::{self, Fault, Packet, Publish};
use super::filters;
use super::method::MethodResponse;
use super::telemetry::{self, TelemetryError};
use super::topics::{self, PublishTopic, TopicError};
use super::twin::TwinRequest;
use super::wire::{Progress, Wire};
use crate::activity::{ActivityResult, refused};
use crate::core::connections::CloseReason;
use crate::core::event::HubEvent;
use crate::core::method_calls::MethodAnswer;
use crate::core::refusal::HubError;
use crate::core::sessions::{Qos, TooManySubscriptions};
use crate::hub::Hub;
use crate::listener::Accepted;

/// The number of bytes of waiting output from which on the hub reads no more packets and fetches no more messages.
const OUTPUT_BOUND: usize = 256 * 1024;

/// The longest time that a peer may take none of its output before it is disconnected.
const STALL: Duration = Duration::from_secs(30);

/// The reason why a connection ended. The texts are for the hub's activity.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the device said goodbye")]
    Goodbye,
    #[error("the device left without a DISCONNECT")]
    Left,
    #[error("the connection broke: {0}")]
    Io(io::Error),
    #[error("{0}")]
    Told(CloseReason),
    #[error("the hub shuts down")]
    Shutdown,
    #[error("nothing was heard from the device for {secs} s, one and a half times its keep-alive", secs = .0.as_secs())]
    Silent(Duration),
    #[error("the SAS token expired, and its time of grace is over")]
    TokenExpired,
    #[error("the device is slow: it took none of {0} waiting bytes for {secs} s", secs = STALL.as_secs())]
    Slow(usize),
    #[error("it sent {0}")]
    Fault(Fault),
    #[error("it published to {0:?}: {1}")]
    PublishTopic(String, TopicError),
    #[error("it subscribed to {0:?}: {1}")]
    Filter(String, TopicError),
    #[error("it asked for {0}")]
    Subscriptions(TooManySubscriptions),
    #[error("its telemetry is refused: {0}")]
    Telemetry(TelemetryError),
    #[error("the hub could not keep its telemetry: {0}")]
    NotKept(HubError),
}

impl Ended {
    /// Returns the result for the hub's activity, and the service's code for it, if there is one.
    fn result(&self) -> (ActivityResult, Option<ErrorCode>) {
        match self {
            Self::Told(reason) => (ActivityResult::Ok, Some(reason.code())),
            Self::Goodbye
            | Self::Left
            | Self::Io(_)
            | Self::Shutdown
            | Self::Silent(_)
            | Self::TokenExpired => (ActivityResult::Ok, None),
            Self::NotKept(error) => (ActivityResult::Failed, Some(error.code)),
            Self::Slow(_)
            | Self::Fault(_)
            | Self::PublishTopic(..)
            | Self::Filter(..)
            | Self::Subscriptions(_)
            | Self::Telemetry(_) => (ActivityResult::Refused, None),
        }
    }
}

/// Serves one connection from its first byte to its last, and keeps its place from when its device is let in.
pub(super) async fn run<S>(hub: Hub, Accepted { stream, permit }: Accepted<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(stream);
    let admitted = tokio::select! {
        admitted = admission::admit(&hub, &mut wire) => admitted,
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
    /// True if packets wait unread because their answers would not have fit.
    input_waits: bool,
}

/// A PUBLISH that needs a transition of its own, unlike telemetry, which is kept a batch at a time.
enum Transition {
    Twin(TwinRequest),
    Method(MethodResponse),
}

/// The telemetry of a read batch, and the answers to its packets.
#[derive(Default)]
struct Batch {
    telemetry: Vec<HubEvent>,
    answers: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(hub: Hub, wire: Wire<S>, admitted: Admitted) -> Self {
        let last_heard = hub.clock().now();
        let packet_limit = hub.config().limits.telemetry_message_bytes + codec::PUBLISH_OVERHEAD;
        Self { hub, wire, admitted, last_heard, stalled: None, packet_limit, input_waits: false }
    }

    async fn serve(&mut self) -> Ended {
        let (clock, shutdown) = (self.hub.clock().clone(), self.hub.shutdown().clone());
        let signals = Arc::clone(self.admitted.mailbox.connection().signals());
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
            may_have_mail |= self.admitted.mailbox.complete().await;
            let has_room = self.wire.output.len() < OUTPUT_BOUND;
            if may_have_mail && has_room {
                may_have_mail = self.admitted.mailbox.deliver(&mut self.wire.output, OUTPUT_BOUND);
            }
            if self.input_waits && has_room {
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
            if self.wire.output.len() + batch.answers.len() >= OUTPUT_BOUND {
                self.input_waits = true;
                break Ok(());
            }
            match codec::read(&mut self.wire.input, self.packet_limit) {
                Ok(Some(packet)) => match self.handle(packet, now, &mut batch) {
                    Ok(None) => {}
                    Ok(Some((transition, publish))) => {
                        // Acknowledgements go out in the order of the packets that they acknowledge.
                        self.keep(&mut batch).await?;
                        match transition {
                            Transition::Twin(request) => self.answer(&request, &publish).await,
                            Transition::Method(response) => self.answered(response, publish),
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
        self.keep(&mut batch).await?;
        handled
    }

    /// Keeps the telemetry that the batch has brought so far, then writes the answers.
    async fn keep(&mut self, batch: &mut Batch) -> Result<(), Ended> {
        let telemetry = std::mem::take(&mut batch.telemetry);
        if !telemetry.is_empty() {
            self.hub.accept_telemetry(telemetry).await.map_err(Ended::NotKept)?;
        }
        self.wire.output.unsplit(batch.answers.split());
        Ok(())
    }

    /// Carries out a request about the twin, acknowledges it and answers it.
    async fn answer(&mut self, request: &TwinRequest, publish: &Publish) {
        let mailbox = &mut self.admitted.mailbox;
        let answer = request.answer(&self.hub, mailbox.id(), &publish.payload).await;
        if publish.qos == Qos::AtLeastOnce {
            codec::write_puback(&mut self.wire.output, publish.packet_id);
        }
        mailbox.answer(&answer, &mut self.wire.output);
    }

    /// Passes the answer to a direct method on, and acknowledges it.
    fn answered(&mut self, response: MethodResponse, publish: Publish) {
        let connection = self.admitted.mailbox.connection();
        let MethodResponse { status, number } = response;
        let answer = MethodAnswer { status, payload: publish.payload };
        if !number.is_some_and(|number| connection.answer_method(number, answer)) {
            tracing::debug!(device = %connection.id(), ?number, "a late or unknown answer to a method is dropped");
        }
        if publish.qos == Qos::AtLeastOnce {
            codec::write_puback(&mut self.wire.output, publish.packet_id);
        }
    }

    /// Handles one packet, and returns it if it needs a transition of its own.
    fn handle(
        &mut self,
        packet: Packet,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Option<(Transition, Publish)>, Ended> {
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
                mailbox.keep_session();
                codec::write_suback(&mut batch.answers, packet_id, &granted);
                // Messages may have waited for this subscription.
                mailbox.connection().signals().wake.notify_one();
            }
            Packet::Unsubscribe { packet_id, filters } => {
                // A filter that the session does not have is no fault: it is acknowledged like any other.
                for filter in &filters {
                    mailbox.unsubscribe(filter);
                }
                mailbox.keep_session();
                codec::write_unsuback(&mut batch.answers, packet_id);
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
    ) -> Result<Option<(Transition, Publish)>, Ended> {
        match topics::parse_publish(&publish.topic, self.admitted.mailbox.id()) {
            Ok(PublishTopic::Telemetry { bag }) => {
                let limit = self.hub.config().limits.telemetry_message_bytes;
                let telemetry = telemetry::read(bag, &publish, limit).map_err(Ended::Telemetry)?;
                batch.telemetry.push(self.admitted.sender.event(telemetry, now));
            }
            Ok(PublishTopic::Twin(request)) => return Ok(Some((Transition::Twin(request), publish))),
            Ok(PublishTopic::Method(response)) => return Ok(Some((Transition::Method(response), publish))),
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
        self.admitted.mailbox.complete().await;
        let device = self.admitted.mailbox.id().clone();
        let since = self.admitted.mailbox.connection().since();
        self.hub.activity().disconnected(&device, since, ended.result(), ended);
        let gone = matches!(ended, Ended::Told(CloseReason::DeviceDeleted | CloseReason::Reset));
        if let Some(will) = self.admitted.will.take()
            && !gone
            && !matches!(ended, Ended::Goodbye)
        {
            let event = self.admitted.sender.event(will, self.hub.clock().now());
            if let Err(error) = self.hub.accept_telemetry(vec![event]).await {
                tracing::error!(%device, %error, "a will could not be kept");
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
