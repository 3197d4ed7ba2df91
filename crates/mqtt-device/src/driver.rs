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
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::{mpsc, oneshot, watch};

use crate::backoff::Backoff;
use crate::instruction::{Instruction, Outgoing, Waiter};
use crate::connection_state::ConnectionState;
use crate::desired::Tracker;
use crate::diagnosis;
use crate::error::{Error, ErrorKind};
use crate::inbox::Inbox;
use crate::method_calls::{MethodResponse, Calls};
use crate::options::Options;
use crate::outbox::{GivenUp, Outbox};
use crate::requests::Requests;
use crate::subscriptions::Subscriptions;
use crate::topics::Topics;
use crate::transport::{self, Failure, Link, Target};

mod methods;
mod serving;
mod twin;

use serving::End;

/// A token is renewed when this part of its life has passed.
const RENEW_AT: f64 = 0.85;

/// The state of the task.
pub(crate) struct Driver {
    pub(crate) identity: Arc<DeviceConnectionString>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) target: Arc<Target>,
    pub(crate) options: Options,
    pub(crate) instructions: mpsc::UnboundedReceiver<Instruction>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) calls: Arc<Calls>,
    /// The answers to calls of this connection, in the order in which they are to be sent.
    pub(crate) method_responses: VecDeque<MethodResponse>,
    pub(crate) states: watch::Sender<ConnectionState>,
    /// Tells, once, how many messages were left unacknowledged.
    pub(crate) done: watch::Sender<Option<usize>>,
    pub(crate) outbox: Outbox<Outgoing>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) requests: Requests,
    pub(crate) desired: Tracker,
    /// Counts connections, so that what belongs to an old one is told apart.
    pub(crate) epoch: u64,
}

impl Driver {
    /// Runs until the end. `first` hears how the first attempt went, and a failure of it is the end.
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
                    tell_connected(&self.identity, connected_before);
                    connected_before = true;
                    // Before `connect` returns, so that whoever looks then sees it.
                    self.states.send_replace(ConnectionState::Connected);
                    if let Some(first) = first.take() {
                        // Whoever dropped `connect` dropped the handles too, which ends this task.
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

    /// Does `work` while there is no connection, and listens to the handles. `None`: it is time to stop.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                instruction = self.instructions.recv() => {
                    // What else a command wants is taken up when there is a connection.
                    if self.obey(instruction?) == Some(Wish::Stop) {
                        return None;
                    }
                }
            }
        }
    }

    /// Takes a command in; what needs the connection comes back.
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
            // A hub that does not answer for so long is asked anew, over a fresh connection.
            Instruction::Unanswered { feed } => {
                return self.subscriptions.is_unanswered(feed).then_some(Wish::Reconnect);
            }
            Instruction::Complete { epoch, packet_id } if epoch == self.epoch => {
                return Some(Wish::Acknowledge(packet_id));
            }
            Instruction::Complete { .. } => {
                tracing::debug!(
                    "a message of an earlier connection was completed: the hub delivers it again"
                );
            }
            Instruction::Respond(response) => self.response(response),
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
            // A hub that does not answer for so long is asked anew, over a fresh connection.
            GivenUp::Offered(message) => {
                (message, "it was sent and the hub may have it", Some(Wish::Reconnect))
            }
        };
        let text = format!("the hub did not acknowledge a message within {waited:?}; {text}");
        let error = Error::of(ErrorKind::Timeout, &self.identity.device_id, text);
        let _gone = message.waiter.send(Err(error));
        request
    }

    /// Answers everybody who still waits.
    fn finish(mut self) {
        // What was handed over in the last moment gets its answer too.
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

/// The effect that a command has on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Acknowledge(u16),
    Reconnect,
    Stop,
}

/// One attempt, with a fresh token; also says when that token is to be renewed.
async fn attempt(
    target: Arc<Target>,
    identity: Arc<DeviceConnectionString>,
    clock: Clock,
    ttl: Duration,
) -> Result<(Link, Option<Timestamp>), Failure> {
    // The builder has checked that the key can sign.
    let token = identity.sas_token(clock.now(), ttl).unwrap_or_default();
    let renew_at = match identity.credential {
        DeviceCredential::SharedAccessKey { .. } => Some(clock.after(ttl.mul_f64(RENEW_AT))),
        _ => None,
    };
    let link = transport::connect(&target, token.as_ref().map(|token| token.reveal())).await?;
    Ok((link, renew_at))
}

/// A number from 0 to 1.
fn chance() -> f64 {
    // The upper half, which a double holds exactly.
    f64::from((random() >> 32) as u32) / f64::from(u32::MAX)
}

/// Any number; the largest if the system has no chance to offer.
pub(crate) fn random() -> u64 {
    let mut random = [u8::MAX; 8];
    match SystemRandom::new().fill(&mut random) {
        Ok(()) => u64::from_le_bytes(random),
        Err(_) => u64::MAX,
    }
}

fn tell_connected(identity: &DeviceConnectionString, before: bool) {
    if before {
        tracing::info!("{identity} is connected again");
    } else {
        tracing::info!("{identity} is connected");
    }
}

/// A waiter and the one who answers it.
pub(crate) fn waiter() -> (Waiter, oneshot::Receiver<Result<(), Error>>) {
    oneshot::channel()
}
