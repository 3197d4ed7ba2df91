//! This file keeps checkpoints in one file of JSON that a person can read and edit.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use iothub_models::NotJson;

use super::{Checkpoint, CheckpointScope, CheckpointStore, StoreFuture};

/// Scope, written as `{host}/{event hub}/{consumer group}`; partition; checkpoint.
type Kept = BTreeMap<String, BTreeMap<String, Checkpoint>>;

/// Largest file looked at; one of 32 partitions has some 5 KB.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// Keeps checkpoints in a file, which is replaced as a whole whenever one is saved: a crash leaves the
/// old file or the new one.
///
/// One program at a time may write the file; its readers may share it, and so may clones. A file that is
/// not there is an empty one; deleting it starts over.
///
/// ```no_run
/// # async fn example(source: iothub_amqp_service::EventSource) -> Result<(), iothub_amqp_service::Error> {
/// use iothub_amqp_service::{EventReader, FileCheckpointStore};
///
/// let store = FileCheckpointStore::new("checkpoints.json");
/// let mut events = EventReader::builder(source).checkpoint_store(store).open().await?;
/// while let Some(event) = events.next().await {
///     events.checkpoint(&event?).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FileCheckpointStore {
    path: Arc<Path>,
    /// One writer at a time.
    turn: Arc<Mutex<()>>,
}

impl FileCheckpointStore {
    /// A store in this file. Nothing is read or written yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into().into(), turn: Arc::default() }
    }

    /// Reads or changes the file, where that may block.
    fn with_file<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let (path, turn) = (Arc::clone(&self.path), Arc::clone(&self.turn));
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                work(&path)
                    .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
            });
            Ok(done.await??)
        })
    }
}

impl CheckpointStore for FileCheckpointStore {
    fn load<'s>(&'s self, scope: &'s CheckpointScope) -> StoreFuture<'s, Vec<Checkpoint>> {
        let scope = name(scope);
        self.with_file(move |path| {
            let of_scope = read(path)?.remove(&scope).unwrap_or_default();
            Ok(of_scope.into_values().collect())
        })
    }

    fn save<'s>(&'s self, scope: &'s CheckpointScope, checkpoint: Checkpoint) -> StoreFuture<'s, ()> {
        let scope = name(scope);
        self.with_file(move |path| {
            let mut kept = read(path)?;
            kept.entry(scope).or_default().insert(checkpoint.partition_id.clone(), checkpoint);
            replace(path, &kept)
        })
    }
}

fn name(scope: &CheckpointScope) -> String {
    format!("{}/{}/{}", scope.host_name, scope.event_hub, scope.consumer_group)
}

fn read(path: &Path) -> io::Result<Kept> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::new()),
        Ok(found) if found.len() <= MAX_SIZE => {}
        Ok(_) => {
            return Err(io::Error::other("too large for a file of checkpoints: delete it to start over"));
        }
        Err(error) => return Err(error),
    }
    let text = fs::read(path)?;
    serde_json::from_slice(&text).map_err(|error| {
        let defect = NotJson::of(&text, &error);
        let text =
            format!("not a file of checkpoints, since it {defect}: correct it, or delete it to start over");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Writes beside the file, then takes its place.
fn replace(path: &Path, kept: &Kept) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    serde_json::to_writer_pretty(&mut file, kept)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(group: &str) -> CheckpointScope {
        CheckpointScope {
            host_name: "localhost".to_owned(),
            event_hub: "hub".to_owned(),
            consumer_group: group.to_owned(),
        }
    }

    fn at(partition: &str, sequence_number: i64) -> Checkpoint {
        Checkpoint {
            partition_id: partition.to_owned(),
            offset: (sequence_number * 100).to_string(),
            sequence_number,
            enqueued_time: "2026-01-02T03:04:05.006Z".parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn keeps_the_last_of_each_partition_and_scope() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints.json");
        let store = FileCheckpointStore::new(&path);
        let (a, b) = (scope("a"), scope("b"));
        assert_eq!(store.load(&a).await.unwrap(), []);
        for checkpoint in [at("0", 1), at("1", 5), at("0", 2)] {
            store.save(&a, checkpoint).await.unwrap();
        }
        store.clone().save(&b, at("0", 9)).await.unwrap();
        let again = FileCheckpointStore::new(&path);
        assert_eq!(again.load(&a).await.unwrap(), [at("0", 2), at("1", 5)]);
        assert_eq!(again.load(&b).await.unwrap(), [at("0", 9)]);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"localhost/hub/a\": {\n    \"0\": {\n"), "{text}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn writers_of_one_program_do_not_lose_each_other_s_checkpoints() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileCheckpointStore::new(folder.path().join("c.json"));
        let a = scope("a");
        let saving = (0..20).map(|partition| store.save(&a, at(&partition.to_string(), partition)));
        for saved in futures_util::future::join_all(saving).await {
            saved.unwrap();
        }
        assert_eq!(store.load(&a).await.unwrap().len(), 20);
    }

    #[tokio::test]
    async fn a_file_that_is_none_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        fs::write(&path, "not json").unwrap();
        let store = FileCheckpointStore::new(&path);
        let failure = store.load(&scope("a")).await.unwrap_err().to_string();
        assert!(failure.contains("c.json") && failure.contains("delete it"), "{failure}");
        store.save(&scope("a"), at("0", 1)).await.unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "not json");
        let nowhere = FileCheckpointStore::new(folder.path().join("missing/c.json"));
        nowhere.save(&scope("a"), at("0", 1)).await.unwrap_err();
    }
}
