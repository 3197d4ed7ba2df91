//! This file reads and settles a batch of feedback, and hands it to the application.

use std::fmt;

use iothub_models::FeedbackRecord;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::owner::{ReceiverRequest, Settlement};
use crate::amqp::{Unsettled, Verdict};
use crate::error::{Error, ErrorKind};

/// Some records of feedback, which the hub still keeps: [`complete`](Self::complete) the batch once they
/// are dealt with.
///
/// A batch that is dropped is abandoned: the hub hands it out again, to whichever receiver asks, ten
/// times at most unless it is set otherwise.
///
/// ```no_run
/// # async fn example(mut feedback: iothub_amqp_service::FeedbackReceiver) -> Result<(), iothub_amqp_service::Error> {
/// if let Some(batch) = feedback.next().await {
///     let batch = batch?;
///     println!("{} records of {:?}", batch.records().len(), batch.hub_name());
///     batch.complete().await?;
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a batch that is dropped comes again: complete it"]
pub struct FeedbackBatch {
    pub(super) records: Vec<FeedbackRecord>,
    pub(super) hub_name: Option<String>,
    pub(super) enqueued_time: Option<Timestamp>,
    pub(super) settle: Settle,
}

impl FeedbackBatch {
    /// Returns the records, each with the outcome of one message, in the hub's order.
    #[must_use]
    pub fn records(&self) -> &[FeedbackRecord] {
        &self.records
    }

    /// Returns the time when the hub made the batch, if it said so.
    #[must_use]
    pub const fn enqueued_time(&self) -> Option<Timestamp> {
        self.enqueued_time
    }

    /// The name of the hub, if it said so.
    #[must_use]
    pub fn hub_name(&self) -> Option<&str> {
        self.hub_name.as_deref()
    }

    /// Tells the hub that the batch is dealt with, so that it forgets it.
    ///
    /// `Ok` means that the word was handed to the connection the batch came on. There is no answer to
    /// it: should the connection break just then, the batch comes again.
    ///
    /// # Errors
    /// [`Disconnected`](ErrorKind::Disconnected) if that connection has ended,
    /// [`Closed`](ErrorKind::Closed) if the receiver has. Nothing is lost: the batch comes again.
    ///
    /// # Cancel safety
    /// Once begun, it goes on if the future is dropped.
    pub async fn complete(mut self) -> Result<(), Error> {
        self.settle.as_told(Verdict::Complete).await
    }

    /// Gives the batch back to the hub, which hands it out again, to whichever receiver asks.
    ///
    /// # Errors
    /// The errors of [`complete`](Self::complete), with the same effect.
    ///
    /// # Cancel safety
    /// Once begun, it goes on if the future is dropped.
    pub async fn abandon(mut self) -> Result<(), Error> {
        self.settle.as_told(Verdict::Abandon).await
    }
}

impl fmt::Debug for FeedbackBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedbackBatch")
            .field("records", &self.records)
            .field("enqueued_time", &self.enqueued_time)
            .finish_non_exhaustive()
    }
}

/// The way back to the owner, used once.
pub(super) struct Settle {
    pub(super) requests: mpsc::UnboundedSender<ReceiverRequest>,
    pub(super) batch: Option<Unsettled>,
    pub(super) epoch: u64,
}

impl Settle {
    async fn as_told(&mut self, verdict: Verdict) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(verdict, Some(reply));
        answer.await.unwrap_or_else(|_| Err(not_settled(ErrorKind::Closed, "the receiver was closed")))
    }

    fn send(&mut self, verdict: Verdict, reply: Option<oneshot::Sender<Result<(), Error>>>) {
        if let Some(batch) = self.batch.take() {
            let settlement = Settlement { batch, epoch: self.epoch, verdict, reply };
            // If the owner is gone, so is the connection: the hub hands the batch out again.
            drop(self.requests.send(ReceiverRequest::Settle(settlement)));
        }
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        self.send(Verdict::Abandon, None);
    }
}

pub(super) fn not_settled(kind: ErrorKind, why: &'static str) -> Error {
    Error::new(kind, "the batch of feedback was not settled")
        .hint(format!("{why}, and the hub hands the batch out again"))
}

/// The records in a batch's body. What is an element and no record is left out, and logged: the others
/// are not to be lost for it. `None` if it is no array.
pub(super) fn records(body: &[u8]) -> Option<Vec<FeedbackRecord>> {
    let elements = serde_json::from_slice::<Vec<Value>>(body).ok()?;
    let read = |element| {
        serde_json::from_value::<FeedbackRecord>(element)
            .inspect_err(|error| tracing::warn!(%error, "an element of a batch of feedback is no record"))
            .ok()
    };
    Some(elements.into_iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use iothub_models::FeedbackStatus;

    use super::*;

    #[test]
    fn one_bad_element_does_not_cost_the_others() {
        let good = r#"{"enqueuedTimeUtc":"2026-01-02T03:04:05Z","statusCode":"Expired","deviceId":"d"}"#;
        let body = format!(r#"[{good}, 7, {{"deviceId":"d"}}, {good}]"#);
        let read = records(body.as_bytes()).unwrap();
        assert_eq!(read.len(), 2);
        assert!(read.iter().all(|record| record.status == FeedbackStatus::Expired));
        assert_eq!(records(b"[]"), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_array_is_no_batch() {
        for body in [&b""[..], b"{}", b"7", b"[", b"\xff\xfe"] {
            assert_eq!(records(body), None);
        }
    }
}
