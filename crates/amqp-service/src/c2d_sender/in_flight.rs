//! The messages that were handed to the link and wait for the hub's verdict.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use iothub_auth::Clock;

use super::owner::Reply;
use crate::amqp::Delivery;
use crate::error::{Error, ErrorKind};

/// Whether the hub answered.
enum End {
    Answered,
    Ignored,
}

/// Deliveries, at most `max` of them, each answered to its sender as its verdict comes.
pub(super) struct InFlight {
    clock: Clock,
    deliveries: FuturesUnordered<BoxFuture<'static, End>>,
    max: usize,
    /// How many deliveries of this connection were given up; the library still holds their messages.
    ignored: usize,
}

impl InFlight {
    pub(super) fn new(clock: Clock, max: usize) -> Self {
        Self { clock, deliveries: FuturesUnordered::new(), max, ignored: 0 }
    }

    pub(super) fn has_room(&self) -> bool {
        self.deliveries.len() < self.max
    }

    /// Whether the hub left so many messages unanswered that the connection should be left.
    pub(super) const fn is_ignored(&self) -> bool {
        self.ignored >= self.max
    }

    /// Starts counting anew, for a new connection.
    pub(super) const fn forgive(&mut self) {
        self.ignored = 0;
    }

    pub(super) fn push(&mut self, delivery: Delivery, patience: Duration, reply: Reply) {
        let clock = self.clock.clone();
        self.deliveries.push(Box::pin(async move {
            let (verdict, end) = match clock.timeout(patience, delivery.outcome()).await {
                Ok(verdict) => (verdict, End::Answered),
                Err(elapsed) => (
                    Err(Error::new(ErrorKind::OutcomeUnknown, "the hub did not answer").because(elapsed)),
                    End::Ignored,
                ),
            };
            // Whoever sent it may be gone.
            drop(reply.send(verdict));
            end
        }));
    }

    /// Waits for the next verdict; `None` if there is nothing to wait for.
    pub(super) async fn next(&mut self) -> Option<()> {
        if let End::Ignored = self.deliveries.next().await? {
            self.ignored += 1;
        }
        Some(())
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
