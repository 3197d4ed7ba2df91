//! [`StreamRestarts`] tells the program of an [`EventReader`](super::EventReader) that partitions began anew.
//! The reader's own task finds that out (`progress.rs`) and writes it here.

use std::sync::Arc;

use tokio::sync::watch;

use super::progress::Progress;

/// The restart of a partition: the events it had before are gone, and its sequence numbers and offsets start
/// over.
///
/// A hub that keeps its events in memory, such as the local hub, begins anew when it is started again or
/// reset; in Azure, after a failover to another region. Events that had not been read by then cannot be read
/// any more, and how many there were is not known.
///
/// ```no_run
/// # async fn example(events: &iothub_amqp_service::EventReader) {
/// use iothub_amqp_service::StreamRestart;
///
/// let seen: Option<StreamRestart> = events.stream_restarts().latest();
/// if let Some(StreamRestart { number, partition_id, .. }) = seen {
///     eprintln!("restart {number}: partition {partition_id} began anew");
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamRestart {
    /// The number of restarts of partitions that the reader has seen since it was opened, this one included.
    pub number: u64,
    /// The partition.
    pub partition_id: Arc<str>,
    /// The sequence number of the last event before, as far as it is known: the last one that was read, that
    /// a checkpoint names, or that was there when reading began. `None` if there was no such event.
    pub reached_sequence_number: Option<i64>,
}

/// The restarts that a reader sees: the latest one and how many there were, and each further one. A program
/// that is away finds the latest, not those between, which [`StreamRestart::number`] counts too. They end with
/// the reader.
///
/// ```no_run
/// # async fn example(events: &iothub_amqp_service::EventReader) {
/// use iothub_amqp_service::StreamRestarts;
///
/// let mut restarts: StreamRestarts = events.stream_restarts();
/// while let Some(restart) = restarts.next().await {
///     eprintln!("partition {} began anew; sequence numbers start over", restart.partition_id);
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StreamRestarts(watch::Receiver<Option<StreamRestart>>);

impl StreamRestarts {
    pub(super) const fn new(restarts: watch::Receiver<Option<StreamRestart>>) -> Self {
        Self(restarts)
    }

    /// Returns how many restarts of partitions the reader has seen since it was opened. When a whole hub begins
    /// anew, each partition that is read counts.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.borrow().as_ref().map_or(0, |restart| restart.number)
    }

    /// The latest restart, if there was one.
    #[must_use]
    pub fn latest(&self) -> Option<StreamRestart> {
        self.0.borrow().clone()
    }

    /// The next restart that this value has not returned yet; `None` after the reader's end.
    ///
    /// # Cancel safety
    /// Dropping the future loses no restart.
    pub async fn next(&mut self) -> Option<StreamRestart> {
        loop {
            self.0.changed().await.ok()?;
            let latest = self.0.borrow_and_update().clone();
            if latest.is_some() {
                return latest;
            }
        }
    }
}

/// The side on which the owner of a reader tells its [`StreamRestarts`] of restarts.
#[derive(Debug)]
pub(super) struct RestartSender(watch::Sender<Option<StreamRestart>>);

impl RestartSender {
    pub(super) fn new() -> (Self, StreamRestarts) {
        let (sender, mut receiver) = watch::channel(None);
        // What is told before anybody looks counts as news.
        receiver.mark_changed();
        (Self(sender), StreamRestarts::new(receiver))
    }

    /// Announces each restart of these partitions that was not announced before.
    pub(super) fn tell<'p>(&self, partitions: impl IntoIterator<Item = &'p mut Progress>) {
        for progress in partitions {
            let Some(restart) = progress.take_restart() else { continue };
            self.0.send_modify(|latest| {
                let number = latest.as_ref().map_or(0, |latest| latest.number) + 1;
                *latest = Some(StreamRestart {
                    number,
                    partition_id: Arc::clone(progress.id()),
                    reached_sequence_number: restart.reached,
                });
            });
        }
    }
}
