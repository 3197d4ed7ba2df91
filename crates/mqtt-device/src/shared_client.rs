//! This file defines [`SharedClient`], which all clones of a [`DeviceClient`](crate::DeviceClient) or
//! [`ModuleClient`](crate::ModuleClient) share. It checks each call of the application and sends an instruction to the
//! task that owns the connection.
//!
//! The two clients document what each call promises. `shared_client/twin` has the calls about twins, and
//! `shared_client/methods` those about direct methods.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use iothub_auth::{Clock, DeviceConnectionString};
use iothub_models::{DeviceId, TelemetryMessage};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::c2d::C2dMessages;
use crate::capacity::{Capacity, NoPlace};
use crate::connection_state::{ConnectionState, ConnectionStates};
use crate::desired::Changes;
use crate::driver::waiter;
use crate::error::{Error, ErrorKind};
use crate::inbox::Inbox;
use crate::instruction::{Instruction, Outgoing};
use crate::method_calls::Calls;
use crate::options::Options;
use crate::subscriptions::Feed;
use crate::topics::Topics;

mod methods;
mod twin;

pub(crate) use twin::MAX_REQUESTS;

/// The state that the handles of one connection share.
#[derive(Debug)]
pub(crate) struct SharedClient {
    pub(crate) identity: Arc<DeviceConnectionString>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) options: Options,
    pub(crate) instructions: mpsc::UnboundedSender<Instruction>,
    pub(crate) capacity: Capacity,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) desired_changes: Arc<Changes>,
    pub(crate) states: watch::Receiver<ConnectionState>,
    pub(crate) done: watch::Receiver<Option<usize>>,
    pub(crate) sequence: AtomicU64,
}

impl SharedClient {
    pub(crate) fn device_id(&self) -> &DeviceId {
        &self.identity.device_id
    }

    pub(crate) async fn send_telemetry(&self, message: TelemetryMessage) -> Result<(), Error> {
        let (topic, payload) = self.topics.telemetry(message).map_err(|unsendable| {
            let text = format!("the message cannot be sent: {}", unsendable.reason);
            Error::of(unsendable.kind, self.device_id(), text)
        })?;
        let size = topic.len() + payload.len();
        let size = match u32::try_from(size) {
            Ok(size) if size as usize <= self.options.outbox.bytes => size,
            _ => {
                let text = format!(
                    "the message takes {size} bytes and the outbox holds {}: allow it more",
                    self.options.outbox.bytes
                );
                return Err(Error::of(ErrorKind::TooLarge, self.device_id(), text));
            }
        };
        let clock = self.clock();
        let deadline = clock.after(self.options.send_timeout);
        // If there is room, no await comes before the message has its place, so that calls that are started in order
        // keep their order.
        let place = match self.capacity.try_take(size) {
            Err(NoPlace::Full) => tokio::select! {
                biased;
                place = self.capacity.take(size) => place,
                () = clock.sleep_until(deadline) => {
                    let text = format!(
                        "the outbox had no place for a message within {:?}; it was never sent",
                        self.options.send_timeout
                    );
                    return Err(Error::of(ErrorKind::Timeout, self.device_id(), text));
                }
            },
            taken => taken,
        }
        .map_err(|reason| self.no_place(&reason))?;
        let (waiter, mut acknowledged) = waiter();
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        self.hand_over(Instruction::Send {
            sequence,
            message: Outgoing { topic, payload, waiter, _place: place },
        })?;
        let outcome = tokio::select! {
            biased;
            outcome = &mut acknowledged => outcome,
            () = clock.sleep_until(deadline) => {
                self.hand_over(Instruction::GiveUp { sequence })?;
                acknowledged.await
            }
        };
        outcome.map_err(|_| self.closed())?
    }

    pub(crate) async fn c2d_messages(&self) -> Result<C2dMessages, Error> {
        let invalid = |text: &str| Error::of(ErrorKind::InvalidArgument, self.device_id(), text);
        if self.identity.module_id.is_some() {
            return Err(invalid(
                "a module gets no cloud-to-device messages: use the device's connection string",
            ));
        }
        let Some(reader) = self.inbox.reader() else {
            return Err(invalid(
                "there is one stream of cloud-to-device messages: use or drop the one that exists",
            ));
        };
        self.subscribe(Feed::C2d, "cloud-to-device messages").await?;
        Ok(C2dMessages::new(
            reader,
            Arc::clone(&self.inbox),
            self.instructions.downgrade(),
            self.device_id().clone(),
        ))
    }

    /// Subscribes to a feed, unless that was done before, and returns when the hub has acknowledged it. `what` names the
    /// feed in errors.
    async fn subscribe(&self, feed: Feed, what: &str) -> Result<(), Error> {
        let (done, agreed) = waiter();
        self.hand_over(Instruction::Subscribe { feed, done })?;
        match self.clock().timeout(self.options.response_timeout, agreed).await {
            Ok(outcome) => outcome.map_err(|_| self.closed())?,
            Err(_) => {
                self.hand_over(Instruction::Unacknowledged { feed })?;
                let text = format!(
                    "the hub did not confirm the subscription to {what} within {:?}: try again",
                    self.options.response_timeout
                );
                Err(Error::of(ErrorKind::Timeout, self.device_id(), text))
            }
        }
    }

    pub(crate) fn connection_state(&self) -> ConnectionState {
        self.states.borrow().clone()
    }

    pub(crate) fn connection_states(&self) -> ConnectionStates {
        ConnectionStates::new(self.states.clone())
    }

    pub(crate) async fn shutdown(&self) -> Result<(), Error> {
        self.capacity.close();
        self.requests.close();
        // If there is no receiver, the task has ended already.
        let _ended = self.instructions.send(Instruction::Shutdown);
        let mut done = self.done.clone();
        let unacknowledged = match done.wait_for(Option::is_some).await {
            Ok(unacknowledged) => unacknowledged.unwrap_or_default(),
            // The runtime was stopped, and the task with it.
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
        &self.options.clock
    }

    fn hand_over(&self, instruction: Instruction) -> Result<(), Error> {
        self.instructions.send(instruction).map_err(|_| self.closed())
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
