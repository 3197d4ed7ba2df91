//! This file runs the one task that owns the connection of a [`FeedbackReceiver`](super::FeedbackReceiver).
//!
//! It asks the hub for a batch when there is room for one, passes the batch on, settles it as the application decides,
//! and makes a lost connection again.

use std::ops::ControlFlow;

use tokio::sync::{mpsc, oneshot};

use super::batch::{self, FeedbackBatch, Settle, not_settled};
use crate::amqp::{Arrived, FeedbackLink, Unsettled, Verdict};
use crate::error::{Error, ErrorKind};
use crate::reconnect::Reconnect;

type Reply = oneshot::Sender<Result<(), Error>>;

/// A request of a [`FeedbackReceiver`](super::FeedbackReceiver) or of one of its batches to the task that owns the
/// connection. There are never more requests than one for each unsettled batch and one to close.
pub(super) enum ReceiverRequest {
    /// Settle a batch.
    Settle(Settlement),
    /// Say goodbye and end.
    Close(Reply),
}

/// The decision of the application on a batch.
pub(super) struct Settlement {
    pub(super) batch: Unsettled,
    /// The number of the connection that the batch came on: it means nothing on another connection.
    pub(super) epoch: u64,
    pub(super) verdict: Verdict,
    /// The sender that tells the outcome, if a caller waits for it.
    pub(super) reply: Option<Reply>,
}

pub(super) struct Owner {
    pub(super) reconnect: Reconnect,
    pub(super) batches: mpsc::Sender<Result<FeedbackBatch, Error>>,
    pub(super) settle: mpsc::WeakUnboundedSender<ReceiverRequest>,
    pub(super) requests: mpsc::UnboundedReceiver<ReceiverRequest>,
    pub(super) epoch: u64,
}

/// The reason why a connection is no longer served.
enum End {
    Lost(Error),
    /// The application closed the receiver, and waits for that, or dropped it.
    Closed(Option<Reply>),
}

impl Owner {
    pub(super) async fn run(mut self, mut link: FeedbackLink) {
        loop {
            let lost = match self.serve(&mut link).await {
                End::Lost(error) => error,
                End::Closed(reply) => return self.close(link, reply).await,
            };
            // Cut, and the hub is free to hand out again what was not settled.
            drop(link);
            self.epoch += 1;
            link = match self.reopen(lost).await {
                ControlFlow::Continue(link) => link,
                ControlFlow::Break(()) => return,
            };
        }
    }

    /// Serves one connection to its end.
    async fn serve(&mut self, link: &mut FeedbackLink) -> End {
        let mut asked = false;
        loop {
            let step = tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some(ReceiverRequest::Settle(settlement)) => self.carry_out(settlement, link).await,
                    Some(ReceiverRequest::Close(reply)) => return End::Closed(Some(reply)),
                    None => return End::Closed(None),
                },
                () = self.batches.closed() => return End::Closed(None),
                arrived = link.next() => match arrived {
                    Ok(arrived) => {
                        asked = false;
                        self.pass_on(arrived, link).await
                    }
                    Err(error) => Err(error),
                },
                room = self.batches.reserve(), if !asked => match room {
                    // Nobody else fills it meanwhile.
                    Ok(_room) => {
                        asked = true;
                        link.ask().await
                    }
                    Err(_closed) => return End::Closed(None),
                },
            };
            if let Err(error) = step {
                return End::Lost(error);
            }
        }
    }

    async fn pass_on(&self, arrived: Option<Arrived>, link: &mut FeedbackLink) -> Result<(), Error> {
        let Some(Arrived { body, hub_name, enqueued_time, delivery }) = arrived else {
            tracing::warn!("the hub sent what is no message: it was refused");
            return Ok(());
        };
        let Some(records) = batch::records(&body) else {
            tracing::warn!("the hub sent what is no batch of feedback: it was refused");
            return link.settle(delivery, Verdict::Refuse).await;
        };
        let Some(requests) = self.settle.upgrade() else { return Ok(()) };
        let settle = Settle { requests, batch: Some(delivery), epoch: self.epoch };
        let batch = FeedbackBatch { records, hub_name, enqueued_time, settle };
        // There is room, or nobody to read it; dropped, it is abandoned.
        drop(self.batches.try_send(Ok(batch)));
        Ok(())
    }

    /// Settles on the link, and tells whoever waits.
    async fn carry_out(&self, settlement: Settlement, link: &mut FeedbackLink) -> Result<(), Error> {
        if settlement.epoch != self.epoch {
            refuse(settlement);
            return Ok(());
        }
        let settled = link.settle(settlement.batch, settlement.verdict).await;
        let answer = match &settled {
            Ok(()) => Ok(()),
            Err(_) => Err(connection_ended()),
        };
        if let Some(reply) = settlement.reply {
            // Whoever asked may be gone.
            drop(reply.send(answer));
        }
        settled
    }

    /// Connects again, unless the application closes the receiver first.
    async fn reopen(&mut self, lost: Error) -> ControlFlow<(), FeedbackLink> {
        let reopening = self
            .reconnect
            .reopen(lost, |endpoint, deadline| Box::pin(FeedbackLink::open(endpoint, deadline)));
        tokio::pin!(reopening);
        loop {
            tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some(ReceiverRequest::Settle(settlement)) => refuse(settlement),
                    Some(ReceiverRequest::Close(reply)) => {
                        drop(reply.send(Ok(())));
                        return ControlFlow::Break(());
                    }
                    None => return ControlFlow::Break(()),
                },
                () = self.batches.closed() => return ControlFlow::Break(()),
                link = &mut reopening => match link {
                    Ok(link) => return ControlFlow::Continue(link),
                    Err(error) => {
                        // The last word, behind at most one batch: the application may take its time.
                        drop(self.batches.send(Err(error)).await);
                        return ControlFlow::Break(());
                    }
                },
            }
        }
    }

    async fn close(self, link: FeedbackLink, reply: Option<Reply>) {
        let timing = &self.reconnect.endpoint.timing;
        let closed = match timing.clock.timeout(timing.close_timeout, Box::pin(link.close())).await {
            Ok(closed) => closed,
            Err(elapsed) => Err(Error::new(ErrorKind::Timeout, "closing the connection")
                .hint("nothing is lost, the hub just did not say goodbye")
                .because(elapsed)),
        };
        match (reply, closed) {
            (Some(reply), closed) => drop(reply.send(closed)),
            (None, Err(error)) => tracing::debug!(%error, "closed without a goodbye from the hub"),
            (None, Ok(())) => {}
        }
    }
}

fn refuse(settlement: Settlement) {
    if let Some(reply) = settlement.reply {
        drop(reply.send(Err(connection_ended())));
    }
}

fn connection_ended() -> Error {
    not_settled(ErrorKind::Disconnected, "the connection it came on has ended")
}
