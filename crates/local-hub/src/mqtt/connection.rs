//! This file serves the connection of one device or module: it reads packets, sends the messages that wait for the device,
//! and ends the connection.
//!
//! `mqtt` starts it for each accepted connection. Packets are handled a read at a time (`batch`), and their answers are
//! written in order, once the changes they speak of are kept. The hub does not push into a connection: the connection
//! pulls messages from its `mailbox` when it has room. While a peer does not take its output, the connection reads from it
//! up to a bound only, and disconnects it after a while.

mod batch;

use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};

use super::admission::{self, Admitted};
use super::answers::{self, Answers};
use super::codec;
use super::ended::{Ended, STALL};
use super::wire::{Progress, Wire};
use crate::activity::refused;
use crate::core::connections::CloseReason;
use crate::hub::{Hub, Reserved};
use crate::journal::{Gate, NotKept, Space};
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

/// The connection of a device that was let in.
struct Connection<S> {
    hub: Hub,
    wire: Wire<S>,
    admitted: Admitted,
    /// The time at which the peer last sent something.
    last_heard: Timestamp,
    /// The instant at which the peer last took any output, and the number of bytes that it had taken by then; `None`
    /// if nothing waits.
    stalled: Option<(Timestamp, u64)>,
    /// The size of the largest packet that is read.
    packet_limit: usize,
    /// The answers that wait until what they speak of is kept.
    answers: Answers,
    /// True if packets wait unread because their answers would not have fit, or because the journal has no space.
    input_waits: bool,
    /// Space in the journal that is being waited for.
    reserving: Option<BoxFuture<'static, Result<Reserved, NotKept>>>,
    /// Space in the journal for the next packets.
    reserved: Option<Reserved>,
}

/// Waits for space in the journal; for ever if none is asked for.
async fn space(
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

    /// Serves the connection, and returns why it ended.
    async fn serve(&mut self) -> Ended {
        let (clock, shutdown) = (self.hub.clock().clone(), self.hub.shutdown().clone());
        let Some(signals) = self.admitted.mailbox.device().signals().map(Arc::clone) else {
            // Only the device session of a single request has none.
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
            // Answers that wait for the journal hold up further packets, and not the messages for the device.
            if may_have_mail && self.wire.output.len() < answers::BYTES {
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
            // Packets that wait for the journal wait in the peer's buffers, and not in growing ones of the hub.
            let reads = has_room && self.reserving.is_none();
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
                reserved = space(&mut self.reserving) => {
                    self.reserving = None;
                    match reserved {
                        Ok(reserved) => self.reserved = Some(reserved),
                        Err(error) => return Ended::NotKept(error),
                    }
                }
                progress = self.wire.progress(reads) => match progress {
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

    /// Notes the instant from which on the peer takes none of its output.
    fn watch_output(&mut self) {
        let written = self.wire.written();
        self.stalled = match self.stalled {
            _ if !self.wire.is_writing() => None,
            Some((since, before)) if before == written => Some((since, before)),
            _ => Some((self.hub.clock().now(), written)),
        };
    }

    /// Returns the next time at which the connection may be overdue.
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
        let device_id = device.id().clone();
        let mut will_kept = Gate::OPEN;
        let gone = matches!(ended, Ended::Told(CloseReason::DeviceDeleted | CloseReason::Reset));
        if let Some(will) = self.admitted.will.take()
            && !gone
            && !matches!(ended, Ended::Goodbye)
        {
            let event = self.admitted.sender.event(will, self.hub.clock().now());
            // The connection has ended: the reserve of the journal takes the last of it.
            will_kept = device.append_telemetry(vec![event], Space::unreserved()).await;
        }
        // Closing may take a second. Messages are back in the queue before, and a newer connection can go on.
        drop(self.admitted);
        // A hub that shuts down does not wait for peers.
        if matches!(ended, Ended::Shutdown) {
            drop(self.wire);
        } else {
            self.wire.close().await;
        }
        // The peer is gone by now, so that it does not have to wait for a slow journal.
        if let Err(error) = will_kept.wait().await {
            tracing::error!(device = %device_id, %error, "a will could not be kept");
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

#[cfg(test)]
mod held_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin_tests;
