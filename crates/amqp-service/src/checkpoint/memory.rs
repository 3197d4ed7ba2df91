//! This file keeps checkpoints for as long as the program runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Checkpoint, CheckpointScope, CheckpointStore, StoreFuture};

type Kept = HashMap<(CheckpointScope, String), Checkpoint>;

/// Keeps checkpoints in memory. Clones share them: with one, a new reader goes on where the last one of
/// the same program stopped.
///
/// ```no_run
/// # async fn example(source: iothub_amqp_service::EventSource) -> Result<(), iothub_amqp_service::Error> {
/// use iothub_amqp_service::{EventReader, MemoryCheckpointStore};
///
/// let store = MemoryCheckpointStore::new();
/// let first = EventReader::builder(source.clone()).checkpoint_store(store.clone()).open().await?;
/// // The second reader goes on where the first one stopped.
/// let second = EventReader::builder(source).checkpoint_store(store).open().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryCheckpointStore(Arc<Mutex<Kept>>);

impl MemoryCheckpointStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl CheckpointStore for MemoryCheckpointStore {
    fn load<'s>(&'s self, scope: &'s CheckpointScope) -> StoreFuture<'s, Vec<Checkpoint>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_scope = kept.iter().filter(|((known, _), _)| known == scope);
        let checkpoints = of_scope.map(|(_, checkpoint)| checkpoint.clone()).collect();
        Box::pin(std::future::ready(Ok(checkpoints)))
    }

    fn save<'s>(&'s self, scope: &'s CheckpointScope, checkpoint: Checkpoint) -> StoreFuture<'s, ()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert((scope.clone(), checkpoint.partition_id.clone()), checkpoint);
        Box::pin(std::future::ready(Ok(())))
    }
}
