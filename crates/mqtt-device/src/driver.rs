//! This file runs the task that owns the connection: it connects, serves, waits and connects again, until it is told
//! to stop or no handle is left.
//!
//! The builder starts it. `driver/serving` is its work while there is a connection. It logs when the connection is
//! made (`INFO`), lost (`WARN`) and made again (`INFO`), one line each.
//!
//! ```text
//!   connecting -> serving -> (renewal) -> connecting
//!        \           \-> lost -> waiting -> connecting
//!         \-> failed --------------^
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use iothub_auth::{Clock, DeviceConnectionString, DeviceCredential, Report};
use iothub_transport::Transport;
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::{mpsc, oneshot, watch};

use crate::backoff::Backoff;
use crate::connection_state::ConnectionState;
use crate::desired::Tracker;
use crate::diagnosis;
use crate::error::{Error, ErrorKind};
use crate::inbox::Inbox;
use crate::instruction::{Instruction, Outgoing, Waiter};
use crate::method_calls::{Calls, MethodResponse};
use crate::options::Options;
use crate::outbox::{GivenUp, Outbox};
use crate::requests::Requests;
use crate::subscriptions::Subscriptions;
use crate::topics::Topics;
use crate::transport::{self, ConnectFailure, Link, Target};

mod methods;
mod serving;
mod twin;

use serving::End;

/// The part of its lifetime after which a token is renewed.
const RENEW_AT: f64 = 0.85;

/// The task that owns the connection, with its state.
pub(crate) struct Driver {
    pub(crate) identity: Arc<DeviceConnectionString>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) target: Arc<Target>,
    pub(crate) options: Options,
    pub(crate) instructions: mpsc::UnboundedReceiver<Instruction>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) calls: Arc<Calls>,
    /// The responses to calls of this connection, in the order in which they are to be sent.
    pub(crate) method_responses: VecDeque<MethodResponse>,
    pub(crate) states: watch::Sender<ConnectionState>,
    /// The number of messages that were left unacknowledged, told once, at the end.
    pub(crate) done: watch::Sender<Option<usize>>,
    pub(crate) outbox: Outbox<Outgoing>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) requests: Requests,
    pub(crate) desired: Tracker,
    /// The number of the present connection, which tells its messages and calls from those of earlier connections.
    pub(crate) epoch: u64,
}

impl Driver {
    /// Runs until the client ends. `first` is told how the first attempt went, and the client ends if that failed.
    pub(crate) async fn run(mut self, mut first: Option<Waiter>) {
        let clock = self.options.clock.clone();
        let mut backoff = Backoff::new(self.options.reconnect.clone());
        let mut connected_before = false;
        loop {
            self.states.send_replace(ConnectionState::Connecting);
            let attempt = attempt(
                Arc::clone(&self.target),
                Arc::clone(&self.identity),
                clock.clone(),
                self.options.token_ttl,
            );
            let Some(attempt) = self.meanwhile(attempt).await else { break };
            let error = match attempt {
                Ok((link, renew_at)) => {
                    tell_connected(&self.identity, link.transport(), connected_before);
                    connected_before = true;
                    // The state changes before `connect` returns, so that its caller sees the new state.
                    self.states.send_replace(ConnectionState::Connected { transport: link.transport() });
                    if let Some(first) = first.take() {
                        // A caller that dropped `connect` dropped the handles too, which ends this task.
                        let _unheard = first.send(Ok(()));
                    }
                    let since = clock.now();
                    match self.serve(link, renew_at).await {
                        End::Stop => break,
                        End::Renewal => {
                            tracing::debug!("{} connects again with a renewed token", self.identity);
                            continue;
                        }
                        End::Lost(failure) => {
                            let lived = clock.now().duration_since(since);
                            backoff.connection_ended(Duration::try_from(lived).unwrap_or_default());
                            diagnosis::connection_lost(&self.identity, failure, backoff.is_fought_over())
                        }
                    }
                }
                Err(failure) => {
                    diagnosis::connect_failed(&self.identity, failure, connected_before, clock.now())
                }
            };
            if let Some(first) = first.take() {
                let _unheard = first.send(Err(error));
                break;
            }
            let Some(delay) = backoff.next_delay(chance()) else {
                tracing::error!("{:#}; the client gives up", Report::new(&error));
                break;
            };
            tracing::warn!("{:#}; the next attempt is in {delay:.1?}", Report::new(&error));
            self.states.send_replace(ConnectionState::Disconnected { error, retry_in: delay });
            if self.meanwhile(clock.sleep(delay)).await.is_none() {
                break;
            }
        }
        self.finish();
    }

    /// Does `work` while there is no connection, and carries out instructions. Returns `None` when it is time to stop.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                instruction = self.instructions.recv() => {
                    // Any other wish is fulfilled by the next connection.
                    if self.obey(instruction?) == Some(Wish::Stop) {
                        return None;
                    }
                }
            }
        }
    }

    /// Carries out an instruction as far as that needs no connection, and returns what the connection is to do.
    fn obey(&mut self, instruction: Instruction) -> Option<Wish> {
        match instruction {
            Instruction::Send { sequence, message } => self.outbox.push(sequence, message),
            Instruction::GiveUp { sequence } => return self.give_up(sequence),
            Instruction::Request { sequence, pending } => self.request(sequence, pending),
            Instruction::GiveUpRequest { sequence } => {
                return self.give_up_request(sequence).then_some(Wish::Reconnect);
            }
            Instruction::FollowDesired { start } => self.follow_desired(start),
            Instruction::Subscribe { feed, done } => self.subscriptions.want_and_tell(feed, done),
            // A hub that has not acknowledged for so long is asked again, on a new connection.
            Instruction::Unacknowledged { feed } => {
                return self.subscriptions.is_unacknowledged(feed).then_some(Wish::Reconnect);
            }
            Instruction::Complete { epoch, packet_id } if epoch == self.epoch => {
                return Some(Wish::Acknowledge(packet_id));
            }
            Instruction::Complete { .. } => {
                tracing::debug!(
                    "a message of an earlier connection was completed: the hub delivers it again"
                );
            }
            Instruction::Respond(response) => self.respond(response),
            Instruction::CallsUnread => self.calls_unread(),
            Instruction::Shutdown => return Some(Wish::Stop),
        }
        None
    }

    fn give_up(&mut self, sequence: u64) -> Option<Wish> {
        let waited = self.options.send_timeout;
        let (message, text, request) = match self.outbox.give_up(sequence) {
            GivenUp::Gone => return None,
            GivenUp::Queued(message) => (message, "it was never sent", None),
            // A hub that has not acknowledged for so long gets the rest on a new connection.
            GivenUp::Offered(message) => {
                (message, "it was sent and the hub may have it", Some(Wish::Reconnect))
            }
        };
        let text = format!("the hub did not acknowledge a message within {waited:?}; {text}");
        let error = Error::of(ErrorKind::Timeout, &self.identity.device_id, text);
        let _gone = message.waiter.send(Err(error));
        request
    }

    /// Tells all handles that still wait that the client is closed.
    fn finish(mut self) {
        // Instructions that came in the last moment are carried out too, so that their senders do not wait for ever.
        self.instructions.close();
        while let Ok(instruction) = self.instructions.try_recv() {
            self.obey(instruction);
        }
        self.inbox.close();
        self.calls.close();
        let closed = Error::closed(&self.identity.device_id);
        let mut unacknowledged = 0;
        for message in self.outbox.drain() {
            unacknowledged += 1;
            let _gone = message.waiter.send(Err(closed.clone()));
        }
        self.subscriptions.close(&closed);
        self.twin_closed(&closed);
        if unacknowledged > 0 {
            tracing::warn!("{} is closed with unacknowledged telemetry: {unacknowledged}", self.identity);
        }
        self.states.send_replace(ConnectionState::Closed);
        self.done.send_replace(Some(unacknowledged));
    }
}

/// The effect that an instruction has on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Acknowledge(u16),
    Reconnect,
    Stop,
}

/// Connects once, with a fresh token. Also returns when that token is to be renewed.
async fn attempt(
    target: Arc<Target>,
    identity: Arc<DeviceConnectionString>,
    clock: Clock,
    ttl: Duration,
) -> Result<(Link, Option<Timestamp>), ConnectFailure> {
    // The builder has checked that the key can sign.
    let token = identity.sas_token(clock.now(), ttl).unwrap_or_default();
    let renew_at = match identity.credential {
        DeviceCredential::SharedAccessKey { .. } => Some(clock.after(ttl.mul_f64(RENEW_AT))),
        _ => None,
    };
    let link = transport::connect(&target, token.as_ref().map(|token| token.reveal())).await?;
    Ok((link, renew_at))
}

/// Returns a random number from 0 to 1.
fn chance() -> f64 {
    // The upper half, which a double holds exactly.
    f64::from((random() >> 32) as u32) / f64::from(u32::MAX)
}

/// Returns a random number, or the largest number if the system has no randomness.
pub(crate) fn random() -> u64 {
    let mut random = [u8::MAX; 8];
    match SystemRandom::new().fill(&mut random) {
        Ok(()) => u64::from_le_bytes(random),
        Err(_) => u64::MAX,
    }
}

fn tell_connected(identity: &DeviceConnectionString, transport: Transport, before: bool) {
    let again = if before { " again" } else { "" };
    match transport {
        Transport::WebSocket => tracing::info!("{identity} is connected{again}, over WebSocket"),
        _ => tracing::info!("{identity} is connected{again}"),
    }
}

/// Returns a waiter and the receiver of the outcome that it is told.
pub(crate) fn waiter() -> (Waiter, oneshot::Receiver<Result<(), Error>>) {
    oneshot::channel()
}
