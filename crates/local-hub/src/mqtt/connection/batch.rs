//! This part of a connection handles the packets of one read, as a batch.
//!
//! [`Connection::serve`](super::Connection) calls [`take_batch`](super::Connection::take_batch) whenever packets were read
//! or those left unread may be answered. The telemetry of a batch enters the hub in one transition. Requests about the
//! twin, responses to methods and subscriptions have a transition each, before which the telemetry so far is handed over,
//! so that changes are made, and answers written, in the order of the packets. Every answer goes into
//! [`Answers`](super::Answers) with the gate of its change. A batch takes no packet for whose answer there is no room, or
//! whose change has none in the journal: the connection tries again when there is.

use bytes::BytesMut;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::core::event::HubEvent;
use crate::core::methods::MethodAnswer;
use crate::core::sessions::Qos;
use crate::hub::{Committed, Reserved};
use crate::journal::{Gate, Room};
use crate::mqtt::codec::{self, Packet, Publish};
use crate::mqtt::ended::Ended;
use crate::mqtt::method::MethodResponse;
use crate::mqtt::topics::{self, PublishTopic};
use crate::mqtt::twin::TwinRequest;
use crate::mqtt::{filters, telemetry};

/// A packet that needs a transition of its own, unlike telemetry, which is kept a batch at a time.
enum Transition {
    /// A request about the twin.
    Twin(TwinRequest, Publish),
    /// A response to a direct method.
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
    /// Returns the room in the journal for a change of the service, and leaves none.
    fn take_service_room(&mut self) -> Room {
        self.reserved.as_mut().map(|reserved| std::mem::take(&mut reserved.service)).unwrap_or_default()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Handles all packets that were read, as long as there is room for their answers.
    pub(super) async fn take_batch(&mut self) -> Result<(), Ended> {
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
                        // a millisecond each time: other connections get their turn in between.
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

    /// Handles a PUBLISH, and returns it if it needs a transition of its own.
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
