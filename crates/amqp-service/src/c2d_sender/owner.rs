//! This file runs the one task that owns the connection of a [`C2dSender`](super::C2dSender).
//!
//! It connects when there is something to send, hands messages to the link in the order they came, up
//! to a window of unanswered ones, and answers each sender exactly once, by the message's deadline.
//!
//! A message that was handed over is sent again in one case only: the hub refused it because of the token,
//! so that it certainly does not have it, and the token was an old one. A connection that brings no verdict
//! is replaced for the messages that follow, and kept beside the new one until the messages that were
//! sent on it have had their verdicts or run out of time. One such connection is kept: when the new one is
//! replaced as well, the first is cut, and its messages end with an unknown outcome.

use std::time::Duration;

use iothub_auth::{Clock, Report};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::in_flight::{Doubt, InFlight};
use crate::amqp::{Delivery, EncodedMessage, SendingLink};
use crate::backoff::Backoff;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};

pub(super) type Reply = oneshot::Sender<Result<(), Error>>;

/// A request of a [`C2dSender`](super::C2dSender) to the task that owns its connection.
pub(super) enum SenderRequest {
    /// Send a message.
    Send(Outgoing),
    /// Finish what is under way, say goodbye and end.
    Close(Reply),
}

/// A message on its way to the link.
pub(super) struct Outgoing {
    pub(super) message: EncodedMessage,
    pub(super) deadline: Timestamp,
    pub(super) reply: Reply,
    /// True if the hub has refused it once because of the token.
    pub(super) is_second_attempt: bool,
}

pub(super) struct Owner {
    pub(super) endpoint: Endpoint,
    pub(super) requests: mpsc::Receiver<SenderRequest>,
    pub(super) link: Option<SendingLink>,
    /// The link before that, while messages wait for their verdicts on it.
    pub(super) retired: Option<SendingLink>,
    pub(super) in_flight: InFlight,
    pub(super) backoff: Backoff,
    /// An error that waiting cannot cure, and for how many more messages it stands: those that were
    /// queued when it came. So a wrong key costs one attempt, not one for each of them.
    pub(super) condemned: Option<(Error, usize)>,
}

impl Owner {
    pub(super) async fn run(mut self) {
        loop {
            self.retire_if_in_doubt();
            while let Some((outgoing, refused)) = self.in_flight.next_again() {
                tracing::info!(
                    error = &refused as &dyn std::error::Error,
                    "sending again, with a fresh token"
                );
                self.send(Outgoing { is_second_attempt: true, ..outgoing }).await;
            }
            tokio::select! {
                request = self.requests.recv(), if self.in_flight.has_room() => match request {
                    Some(SenderRequest::Send(outgoing)) => self.send(outgoing).await,
                    Some(SenderRequest::Close(reply)) => {
                        let closed = self.close().await;
                        // Whoever asked may be gone.
                        drop(reply.send(closed));
                        return;
                    }
                    None => {
                        if let Err(error) = self.close().await {
                            tracing::debug!(%error, "closed without a goodbye from the hub");
                        }
                        return;
                    }
                },
                Some(()) = self.in_flight.next() => {}
                error = lost(&mut self.link) => {
                    tracing::warn!("{:#}; the next message makes a new connection", Report::new(&error));
                    self.leave();
                }
            }
        }
    }

    async fn send(&mut self, mut outgoing: Outgoing) {
        if outgoing.reply.is_closed() {
            // Withdrawn by the sender.
            return;
        }
        if let Some((error, left)) = self.condemned.take()
            && left > 0
        {
            self.condemned = Some((error.clone(), left - 1));
            drop(outgoing.reply.send(Err(error)));
            return;
        }
        let Outgoing { message, deadline, reply, .. } = &mut outgoing;
        let deadline = *deadline;
        let handed_over = tokio::select! {
            biased;
            handed_over = self.hand_over(message, deadline) => handed_over,
            () = reply.closed() => return,
        };
        match handed_over {
            Ok(delivery) => {
                let patience = remaining(&self.endpoint.timing.clock, deadline);
                self.in_flight.push(delivery, patience, outgoing);
            }
            Err(error) => {
                if !error.is_retryable() && error.kind() != ErrorKind::TooLarge {
                    self.condemned = Some((error.clone(), self.requests.len()));
                }
                drop(outgoing.reply.send(Err(error)));
            }
        }
    }

    /// Hands a message to the link, connecting as often as it takes and time allows.
    async fn hand_over(&mut self, message: &EncodedMessage, deadline: Timestamp) -> Result<Delivery, Error> {
        loop {
            let error = match self.try_hand_over(message, deadline).await {
                Ok(delivery) => {
                    self.backoff.reset();
                    return Ok(delivery);
                }
                Err(error) => error,
            };
            let pause = self.backoff.next();
            if !error.is_retryable() || pause >= remaining(&self.endpoint.timing.clock, deadline) {
                return Err(error);
            }
            tracing::debug!("{:#}; the next attempt is in {pause:.1?}", Report::new(&error));
            self.in_flight.during(self.endpoint.timing.clock.sleep(pause)).await;
        }
    }

    async fn try_hand_over(
        &mut self,
        message: &EncodedMessage,
        deadline: Timestamp,
    ) -> Result<Delivery, Error> {
        // What came while an earlier message was handed over, or while this one waited to try again.
        self.retire_if_in_doubt();
        if self.link.is_none() {
            let patience =
                self.endpoint.timing.clock.after(self.endpoint.timing.connect_timeout).min(deadline);
            self.link = Some(self.in_flight.during(SendingLink::open(&self.endpoint, patience)).await?);
            self.in_flight.opened();
        }
        let Some(link) = &mut self.link else {
            return Err(Error::new(ErrorKind::Disconnected, "there is no connection"));
        };
        let (begun, verdicts_before) = (self.endpoint.timing.clock.now(), self.in_flight.verdicts());
        let left = remaining(&self.endpoint.timing.clock, deadline);
        let transfer = self.endpoint.timing.clock.timeout(left, link.transfer(message));
        match self.in_flight.during(transfer).await {
            Ok(Ok(delivery)) => Ok(delivery),
            Ok(Err(error)) => {
                if error.kind() != ErrorKind::TooLarge {
                    self.leave();
                }
                Err(error)
            }
            Err(elapsed) => {
                self.in_flight.note_silence(begun, verdicts_before);
                Err(Error::new(ErrorKind::Timeout, "the hub did not ask for more messages").because(elapsed))
            }
        }
    }

    /// Forgets a link that is lost.
    fn leave(&mut self) {
        self.link = None;
        self.in_flight.leave_connection();
    }

    /// Makes the next message get a new connection, if there are doubts about this one; and drops the one
    /// before it once no message waits for a verdict on it.
    fn retire_if_in_doubt(&mut self) {
        if let Some(doubt) = self.in_flight.doubt() {
            match doubt {
                Doubt::Silent => {
                    tracing::warn!("the hub does not answer: the next message gets a new connection")
                }
                Doubt::Ignoring => {
                    tracing::warn!("the hub takes messages and does not answer: leaving this connection");
                }
                Doubt::TokenRefused => {
                    tracing::warn!("the hub does not accept the token any more: connecting with a fresh one");
                }
            }
            self.retired = self.link.take();
            self.in_flight.leave_connection();
        }
        if !self.in_flight.waits_on_earlier() {
            self.retired = None;
        }
    }

    /// Refuses what is queued, waits for the answers to what was sent, and says goodbye.
    async fn close(&mut self) -> Result<(), Error> {
        self.requests.close();
        while let Some(request) = self.requests.recv().await {
            let (reply, answer) = match request {
                SenderRequest::Send(outgoing) => (outgoing.reply, Err(closed())),
                SenderRequest::Close(reply) => (reply, Ok(())),
            };
            drop(reply.send(answer));
        }
        while self.in_flight.next().await.is_some() {}
        while let Some((outgoing, refused)) = self.in_flight.next_again() {
            drop(outgoing.reply.send(Err(refused)));
        }
        self.retired = None;
        let Some(link) = self.link.take() else { return Ok(()) };
        match self
            .endpoint
            .timing
            .clock
            .timeout(self.endpoint.timing.close_timeout, Box::pin(link.close()))
            .await
        {
            Ok(closed) => closed,
            Err(elapsed) => Err(Error::new(ErrorKind::Timeout, "closing the connection")
                .hint("every message had its answer, the hub just did not say goodbye")
                .because(elapsed)),
        }
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the message was not sent").hint("the sender was closed")
}

pub(super) fn remaining(clock: &Clock, deadline: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(clock.now())).unwrap_or_default()
}

async fn lost(link: &mut Option<SendingLink>) -> Error {
    match link {
        Some(link) => link.lost().await,
        None => std::future::pending().await,
    }
}
