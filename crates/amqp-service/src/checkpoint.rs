//! This file defines checkpoints, which say how far a reader has come, and the stores that keep them.

mod file;
mod memory;

use std::future::Future;
use std::pin::Pin;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::file::FileCheckpointStore;
pub use self::memory::MemoryCheckpointStore;

/// The last event of a partition that is dealt with. Reading goes on after it.
///
/// ```no_run
/// # async fn example(mut events: iothub_amqp_service::EventReader) -> Result<(), iothub_amqp_service::Error> {
/// if let Some(event) = events.next().await {
///     let checkpoint = event?.checkpoint();
///     println!("partition {} is read up to {}", checkpoint.partition_id, checkpoint.sequence_number);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// The partition.
    pub partition_id: String,
    /// The event's offset.
    pub offset: String,
    /// The event's sequence number.
    pub sequence_number: i64,
    /// The time when the event was put into the partition; for people who look at the checkpoint.
    pub enqueued_time: Timestamp,
}

/// The scope of checkpoints: readers with the same three values share them.
///
/// ```
/// use iothub_amqp_service::CheckpointScope;
///
/// let scope = CheckpointScope {
///     host_name: "localhost".to_owned(),
///     event_hub: "local-hub".to_owned(),
///     consumer_group: "$Default".to_owned(),
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckpointScope {
    /// The host name of the Event Hubs-compatible endpoint.
    pub host_name: String,
    /// The name of the event hub.
    pub event_hub: String,
    /// The consumer group.
    pub consumer_group: String,
}

/// The future that a store's methods return. An error may say anything; it reaches the reader's caller as the
/// source of a [`CheckpointStore`](crate::ErrorKind::CheckpointStore) error.
///
/// ```
/// use iothub_amqp_service::StoreFuture;
///
/// fn unreachable_database<'s>() -> StoreFuture<'s, ()> {
///     Box::pin(async { Err("the database cannot be reached".into()) })
/// }
/// ```
pub type StoreFuture<'s, T> =
    Pin<Box<dyn Future<Output = Result<T, Box<dyn std::error::Error + Send + Sync>>> + Send + 's>>;

/// A place for checkpoints.
///
/// A store of one's own, in a database for instance, keeps one [`Checkpoint`] per scope and partition.
///
/// ```
/// use iothub_amqp_service::{Checkpoint, CheckpointScope, CheckpointStore, StoreFuture};
///
/// /// Forgets everything: its reader begins anew every time.
/// #[derive(Debug)]
/// struct Nowhere;
///
/// impl CheckpointStore for Nowhere {
///     fn load<'s>(&'s self, _: &'s CheckpointScope) -> StoreFuture<'s, Vec<Checkpoint>> {
///         Box::pin(async { Ok(Vec::new()) })
///     }
///
///     fn save<'s>(&'s self, _: &'s CheckpointScope, checkpoint: Checkpoint) -> StoreFuture<'s, ()> {
///         Box::pin(async move {
///             println!("partition {} is at {}", checkpoint.partition_id, checkpoint.offset);
///             Ok(())
///         })
///     }
/// }
/// ```
pub trait CheckpointStore: std::fmt::Debug + Send + Sync {
    /// The checkpoints of a scope, at most one per partition; none at first.
    fn load<'s>(&'s self, scope: &'s CheckpointScope) -> StoreFuture<'s, Vec<Checkpoint>>;

    /// Keeps a checkpoint in place of the last one of its partition. Done when it would survive a crash
    /// of the program.
    fn save<'s>(&'s self, scope: &'s CheckpointScope, checkpoint: Checkpoint) -> StoreFuture<'s, ()>;
}
