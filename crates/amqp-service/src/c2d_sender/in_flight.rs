//! This file keeps the messages that were handed to the link and wait for the hub's verdict.
//!
//! The [`owner`](super::owner) pushes each message here once the link has it, and asks whether the verdicts,
//! or their absence, are a reason to replace the connection.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use iothub_auth::Clock;
use jiff::Timestamp;

use super::owner::Outgoing;
use crate::amqp::Delivery;
use crate::error::{Error, ErrorKind};

/// The time for which a connection may bring no verdict at all, while a message waits for its own, before it is
/// taken for dead. A message that its sender gives up earlier is not proof enough by itself.
const SILENCE: Duration = Duration::from_secs(5);

/// The age from which a connection's refused token is taken for an old one: a younger connection has just put a
/// fresh token, and another would be refused as well.
const FRESH: Duration = Duration::from_secs(10);

/// A reason to replace a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Messages were sent and no verdict came, on any of them.
    Silent,
    /// The hub gave verdicts, but left as many messages without one as may wait at once.
    Ignoring,
    /// The hub no longer accepts the token that was put on it.
    TokenRefused,
}

/// The end of the wait for a verdict.
enum End {
    /// The sender of the message has its answer.
    Answered,
    /// The hub refused the message because of the token.
    TokenRefused(Outgoing, Error),
    /// No verdict came in time, and the sender was told so.
    Ignored,
}

struct Ended {
    end: End,
    /// The number of the connection the message was sent on.
    connection: u64,
    handed_over: Timestamp,
    /// The number of verdicts that the connection had brought before that.
    verdicts_before: u64,
}

/// Deliveries, at most `max` of them, each answered to its sender as its verdict comes.
pub(super) struct InFlight {
    clock: Clock,
    deliveries: FuturesUnordered<BoxFuture<'static, Ended>>,
    max: usize,
    /// The number of the connection that messages are sent on now.
    connection: u64,
    opened: Timestamp,
    /// The number of deliveries of that connection.
    on_this_connection: usize,
    /// Verdicts that came on that connection.
    verdicts: u64,
    /// The time when the first message was handed over to which that connection has brought no verdict,
    /// if it has brought no verdict on a later message either.
    silent_since: Option<Timestamp>,
    /// The number of deliveries of that connection that were given up; the library still holds their messages.
    ignored: usize,
    token_refused: bool,
    /// Messages that the hub refused because of the token, to be sent once more with a fresh one.
    again: VecDeque<(Outgoing, Error)>,
}

impl InFlight {
    /// Returns the account of a connection that was just opened.
    pub(super) fn new(clock: Clock, max: usize) -> Self {
        let opened = clock.now();
        Self {
            clock,
            deliveries: FuturesUnordered::new(),
            max,
            connection: 0,
            opened,
            on_this_connection: 0,
            verdicts: 0,
            silent_since: None,
            ignored: 0,
            token_refused: false,
            again: VecDeque::new(),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.deliveries.len() < self.max
    }

    /// Returns the reason to replace the connection, if there is one.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        if self.token_refused {
            return Some(Doubt::TokenRefused);
        }
        if self.silent_since.is_some_and(|since| elapsed(since, self.clock.now()) >= SILENCE) {
            return Some(Doubt::Silent);
        }
        (self.ignored >= self.max).then_some(Doubt::Ignoring)
    }

    /// Counts anew, for a connection that replaces the one on which messages were sent before.
    pub(super) fn leave_connection(&mut self) {
        self.connection += 1;
        self.on_this_connection = 0;
        self.verdicts = 0;
        self.silent_since = None;
        self.ignored = 0;
        self.token_refused = false;
    }

    /// Takes note that a connection was opened.
    pub(super) fn opened(&mut self) {
        self.opened = self.clock.now();
    }

    /// Returns whether a message waits for a verdict from a connection that was left.
    pub(super) fn waits_on_earlier(&self) -> bool {
        self.deliveries.len() > self.on_this_connection
    }

    /// The next message to send once more, and why the hub refused it.
    pub(super) fn next_again(&mut self) -> Option<(Outgoing, Error)> {
        self.again.pop_front()
    }

    pub(super) fn push(&mut self, delivery: Delivery, patience: Duration, outgoing: Outgoing) {
        let clock = self.clock.clone();
        let (connection, verdicts_before, handed_over) = (self.connection, self.verdicts, clock.now());
        self.on_this_connection += 1;
        self.deliveries.push(Box::pin(async move {
            let (verdict, end) = match clock.timeout(patience, delivery.outcome()).await {
                Err(elapsed) => (
                    Err(Error::new(ErrorKind::OutcomeUnknown, "the hub did not answer").because(elapsed)),
                    End::Ignored,
                ),
                Ok(Err(error)) if error.kind() == ErrorKind::NotAuthorized && !outgoing.is_second_attempt => {
                    let end = End::TokenRefused(outgoing, error);
                    return Ended { end, connection, handed_over, verdicts_before };
                }
                Ok(verdict) => (verdict, End::Answered),
            };
            // The sender may have given up.
            drop(outgoing.reply.send(verdict));
            Ended { end, connection, handed_over, verdicts_before }
        }));
    }

    /// Waits for the next verdict; `None` if there is nothing to wait for.
    pub(super) async fn next(&mut self) -> Option<()> {
        let Ended { end, connection, handed_over, verdicts_before } = self.deliveries.next().await?;
        let is_current = connection == self.connection;
        if is_current {
            self.on_this_connection -= 1;
        }
        match end {
            End::Ignored if is_current => {
                self.ignored += 1;
                self.note_silence(handed_over, verdicts_before);
            }
            End::Ignored => {}
            End::Answered => self.note_verdict(is_current),
            End::TokenRefused(outgoing, error) => {
                self.note_verdict(is_current);
                let is_old = elapsed(self.opened, self.clock.now()) >= FRESH;
                self.token_refused |= is_current && is_old;
                if self.token_refused || !is_current {
                    self.again.push_back((outgoing, error));
                } else {
                    drop(outgoing.reply.send(Err(error)));
                }
            }
        }
        Some(())
    }

    /// Returns how many verdicts this connection has brought.
    pub(super) const fn verdicts(&self) -> u64 {
        self.verdicts
    }

    /// Takes note that a request on the connection at `since` got no answer. The connection had brought
    /// `verdicts_before` verdicts then.
    pub(super) fn note_silence(&mut self, since: Timestamp, verdicts_before: u64) {
        if verdicts_before == self.verdicts {
            self.silent_since.get_or_insert(since);
        }
    }

    fn note_verdict(&mut self, is_current: bool) {
        if is_current {
            self.verdicts += 1;
            self.silent_since = None;
        }
    }

    /// Does `work`, and passes on verdicts meanwhile.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(()) = self.next() => {}
            }
        }
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
