//! [`DeviceClient`]: the handle an application holds. It checks what it is given and hands it to the
//! task that owns the connection; it owns no connection itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use iothub_auth::{Clock, DeviceConnectionString};
use iothub_models::{DeviceId, TelemetryMessage};
use tokio::sync::{mpsc, watch};

use crate::builder::{DeviceClientBuilder, ToDeviceConnectionString};
use crate::c2d::{C2dMessages, ReaderLease};
use crate::capacity::{Capacity, NoPlace};
use crate::command::{Command, Outgoing};
use crate::connection_state::{ConnectionState, ConnectionStates};
use crate::driver::waiter;
use crate::error::{Error, ErrorKind};
use crate::inbox::Inbox;
use crate::options::Options;
use crate::topics::Topics;

/// A device's connection to its IoT hub.
///
/// Cheap to clone; clones share the connection, which one task owns. The client reconnects by itself,
/// renews its token, and keeps telemetry until the hub has acknowledged it. When the last clone is
/// dropped the connection is closed at once and what was not acknowledged is given up: call
/// [`shutdown`](Self::shutdown) to send it first.
#[derive(Clone, Debug)]
pub struct DeviceClient(pub(crate) Arc<Shared>);

/// What the handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) identity: Arc<DeviceConnectionString>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) options: Options,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) capacity: Capacity,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) states: watch::Receiver<ConnectionState>,
    pub(crate) done: watch::Receiver<Option<usize>>,
    pub(crate) sequence: AtomicU64,
}

impl DeviceClient {
    /// Connects with the default options.
    ///
    /// Returns when the hub has accepted the connection; from then on the client reconnects by itself,
    /// for ever. For other options, and for a device that may start without a network, see
    /// [`builder`](Self::builder).
    ///
    /// # Errors
    /// As [`DeviceClientBuilder::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub async fn connect(
        connection_string: &(impl ToDeviceConnectionString + ?Sized),
    ) -> Result<Self, Error> {
        Self::builder(connection_string).connect().await
    }

    /// A builder, to set options. A connection string that cannot be used is reported by its `connect`
    /// and `start`.
    pub fn builder(connection_string: &(impl ToDeviceConnectionString + ?Sized)) -> DeviceClientBuilder {
        DeviceClientBuilder::new(connection_string)
    }

    /// The device's id.
    #[must_use]
    pub fn device_id(&self) -> &DeviceId {
        &self.0.identity.device_id
    }

    /// Sends telemetry, and returns when the hub has acknowledged it.
    ///
    /// Messages leave in the order in which the calls take their places in the outbox: the order of
    /// their first polls while there is room. Many are on their way at a time. What is not acknowledged
    /// when a connection ends is sent again on the next, so the hub may get a message twice; set a
    /// `message_id` if readers must tell repeats.
    ///
    /// # Errors
    /// Before anything is sent: [`ErrorKind::TooLarge`], [`ErrorKind::InvalidArgument`],
    /// [`ErrorKind::OutboxFull`] under [`WhenFull::Refuse`](crate::WhenFull::Refuse),
    /// [`ErrorKind::Closed`]. After `send_timeout`: [`ErrorKind::Timeout`], whose text tells whether
    /// the hub may have the message. [`ErrorKind::Closed`] if the client is shut down before the
    /// acknowledgement.
    ///
    /// # Cancel safety
    /// Dropping the future does not recall the message: once it has its place in the outbox it is sent,
    /// and only the outcome goes unheard. Dropped while it waits for a place, it is not sent.
    pub async fn send_telemetry(&self, message: TelemetryMessage) -> Result<(), Error> {
        let shared = &*self.0;
        let (topic, payload) = shared.topics.telemetry(message).map_err(|unsendable| {
            let text = format!("the message cannot be sent: {}", unsendable.reason);
            Error::of(unsendable.kind, self.device_id(), text)
        })?;
        let size = topic.len() + payload.len();
        let size = match u32::try_from(size) {
            Ok(size) if size as usize <= shared.options.outbox.bytes => size,
            _ => {
                let text = format!(
                    "the message takes {size} bytes and the outbox holds {}: allow it more",
                    shared.options.outbox.bytes
                );
                return Err(Error::of(ErrorKind::TooLarge, self.device_id(), text));
            }
        };
        let clock = self.clock();
        let deadline = clock.after(shared.options.send_timeout);
        // Without an await where there is room: calls started in order then keep their order, which a
        // future that yields could not promise.
        let place = match shared.capacity.try_take(size) {
            Err(NoPlace::Full) => tokio::select! {
                biased;
                place = shared.capacity.take(size) => place,
                () = clock.sleep_until(deadline) => {
                    let text = format!(
                        "the outbox had no place for a message within {:?}; it was never sent",
                        shared.options.send_timeout
                    );
                    return Err(Error::of(ErrorKind::Timeout, self.device_id(), text));
                }
            },
            taken => taken,
        }
        .map_err(|reason| self.no_place(&reason))?;
        let (waiter, mut acknowledged) = waiter();
        let sequence = shared.sequence.fetch_add(1, Ordering::Relaxed);
        self.hand_over(Command::Send {
            sequence,
            message: Outgoing { topic, payload, waiter, _place: place },
        })?;
        let outcome = tokio::select! {
            biased;
            outcome = &mut acknowledged => outcome,
            () = clock.sleep_until(deadline) => {
                self.hand_over(Command::GiveUp { sequence })?;
                acknowledged.await
            }
        };
        outcome.map_err(|_| self.closed())?
    }

    /// Asks the hub for cloud-to-device messages, and returns their stream when the hub has agreed.
    ///
    /// The hub keeps a message until it is [completed](crate::ReceivedC2d::complete).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the stream of an earlier call still exists, or for a module,
    /// which gets no such messages; [`ErrorKind::Timeout`] without the hub's answer within
    /// `response_timeout`; [`ErrorKind::NotAuthorized`] if it refuses; [`ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future loses no message; call again for the stream.
    pub async fn c2d_messages(&self) -> Result<C2dMessages, Error> {
        let shared = &*self.0;
        let invalid = |text: &str| Error::of(ErrorKind::InvalidArgument, self.device_id(), text);
        if shared.identity.module_id.is_some() {
            return Err(invalid(
                "a module gets no cloud-to-device messages: use the device's connection string",
            ));
        }
        let Some(lease) = ReaderLease::take(&shared.inbox) else {
            return Err(invalid(
                "there is one stream of cloud-to-device messages: use or drop the one that exists",
            ));
        };
        let (done, agreed) = waiter();
        self.hand_over(Command::SubscribeC2d { done })?;
        match self.clock().timeout(shared.options.response_timeout, agreed).await {
            Ok(Ok(outcome)) => outcome?,
            Ok(Err(_)) => return Err(self.closed()),
            Err(_) => {
                let text = format!(
                    "the hub did not confirm the subscription to cloud-to-device messages within {:?}: try again",
                    shared.options.response_timeout
                );
                return Err(Error::of(ErrorKind::Timeout, self.device_id(), text));
            }
        }
        Ok(C2dMessages::new(lease, shared.commands.downgrade(), self.device_id().clone()))
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn connection_state(&self) -> ConnectionState {
        self.0.states.borrow().clone()
    }

    /// The present connection state and every change to come.
    #[must_use]
    pub fn connection_states(&self) -> ConnectionStates {
        ConnectionStates::new(self.0.states.clone())
    }

    /// Ends the client: nothing new is taken, what the outbox holds is sent for at most
    /// `shutdown_timeout`, the hub is told goodbye. Without a connection it ends at once. Further calls
    /// wait for the same end and give the same answer.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if telemetry was left unacknowledged; each call of
    /// [`send_telemetry`](Self::send_telemetry) that still waited has got the same error.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.0.capacity.close();
        // Without a receiver the task has ended already.
        let _ended = self.0.commands.send(Command::Shutdown);
        let mut done = self.0.done.clone();
        let unacknowledged = match done.wait_for(Option::is_some).await {
            Ok(unacknowledged) => unacknowledged.unwrap_or_default(),
            // The runtime was stopped and took the task with it.
            Err(_) => return Err(self.closed()),
        };
        if unacknowledged == 0 {
            return Ok(());
        }
        let text = format!(
            "the client was shut down with {unacknowledged} unacknowledged telemetry messages: send them again"
        );
        Err(Error::of(ErrorKind::Closed, self.device_id(), text))
    }

    pub(crate) fn closed(&self) -> Error {
        Error::closed(self.device_id())
    }

    fn clock(&self) -> &Clock {
        &self.0.options.clock
    }

    fn hand_over(&self, command: Command) -> Result<(), Error> {
        self.0.commands.send(command).map_err(|_| self.closed())
    }

    fn no_place(&self, reason: &NoPlace) -> Error {
        match reason {
            NoPlace::Closed => self.closed(),
            NoPlace::Full => Error::of(
                ErrorKind::OutboxFull,
                self.device_id(),
                "the outbox is full: wait for acknowledgements, allow it more, or let it wait (WhenFull::Wait)",
            ),
        }
    }
}
