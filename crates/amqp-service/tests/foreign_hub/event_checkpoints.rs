//! Checkpoints: a reader that starts again goes on after the last one.

use iothub_amqp_service::{
    Checkpoint, CheckpointScope, CheckpointStore, ErrorKind, EventPosition, EventReader, FileCheckpointStore,
    MemoryCheckpointStore, StoreFuture,
};

use crate::hub::{Behaviour, ForeignHub, soon};

fn two_partitions() -> Behaviour {
    Behaviour { partitions: vec![(0, 50), (0, 50)], ..Behaviour::default() }
}

/// Reads one event of partition 0 and keeps its place.
async fn read_one(hub: &mut ForeignHub, events: &mut EventReader, number: i64) {
    let mut outlet = hub.outlet().await;
    let _other = hub.outlet().await;
    outlet.send_events([number]).await;
    let event = soon(events.next()).await.unwrap().unwrap();
    assert_eq!(event.system_properties.sequence_number, number);
    events.checkpoint(&event).await.unwrap();
}

#[tokio::test]
async fn a_new_reader_goes_on_after_the_checkpoint_and_begins_elsewhere_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoints.json");
    let mut hub = ForeignHub::start_with(two_partitions()).await;
    let reader = |hub: &ForeignHub| {
        hub.reader().checkpoint_store(FileCheckpointStore::new(&path)).from(EventPosition::Earliest)
    };
    let mut events = soon(reader(&hub).open()).await.unwrap();
    read_one(&mut hub, &mut events, 7).await;
    drop(events);

    // What is dropped here would be attached again.
    let mut kept = Vec::new();
    let again = soon(reader(&hub).open()).await.unwrap();
    let anew = soon(reader(&hub).ignore_checkpoints().open()).await.unwrap();
    // Another group has its own.
    let other = soon(reader(&hub).consumer_group("other").open()).await.unwrap();
    for offset in ["700", "-1", "-1", "-1", "-1", "-1"] {
        let outlet = hub.outlet().await;
        assert_eq!(outlet.selector(), format!("amqp.annotation.x-opt-offset > '{offset}'"));
        kept.push(outlet);
    }
    drop((again, anew, other));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("localhost/foreign-events/$Default"), "{text}");
}

#[tokio::test]
async fn readers_of_one_program_share_a_store_in_memory() {
    let store = MemoryCheckpointStore::new();
    let mut hub = ForeignHub::start_with(two_partitions()).await;
    let mut events = soon(hub.reader().checkpoint_store(store.clone()).open()).await.unwrap();
    read_one(&mut hub, &mut events, 51).await;
    drop(events);
    // The hub has forgotten what came: the checkpoint lies beyond the end, and all is new.
    let _again = soon(hub.reader().checkpoint_store(store).open()).await.unwrap();
    assert_eq!(hub.outlet().await.selector(), "amqp.annotation.x-opt-offset > '-1'");
}

#[derive(Debug)]
struct Broken;

impl CheckpointStore for Broken {
    fn load<'s>(&'s self, scope: &'s CheckpointScope) -> StoreFuture<'s, Vec<Checkpoint>> {
        assert_eq!(scope.consumer_group, "$Default");
        Box::pin(async { Err("the database is away".into()) })
    }

    fn save<'s>(&'s self, _scope: &'s CheckpointScope, _checkpoint: Checkpoint) -> StoreFuture<'s, ()> {
        Box::pin(async { Err("the database is away".into()) })
    }
}

#[tokio::test]
async fn a_store_that_fails_says_why() {
    let mut hub = ForeignHub::start_with(two_partitions()).await;
    let failure = soon(hub.reader().checkpoint_store(Broken).open()).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::CheckpointStore);
    assert!(format!("{failure:?}").contains("the database is away"), "{failure:?}");

    let store = hub.reader().checkpoint_store(Broken).ignore_checkpoints();
    let mut events = soon(store.open()).await.unwrap();
    hub.outlet().await.send_events([51]).await;
    let event = soon(events.next()).await.unwrap().unwrap();
    let failure = events.checkpoint(&event).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::CheckpointStore);

    let without = soon(hub.reader().open()).await.unwrap();
    let failure = without.checkpoint(&event).await.unwrap_err();
    assert!(failure.to_string().contains("checkpoint_store"), "{failure}");
}

#[tokio::test]
async fn a_batch_is_what_has_come_and_leaves_one_checkpoint_for_each_partition() {
    let store = MemoryCheckpointStore::new();
    let mut hub = ForeignHub::start_with(two_partitions()).await;
    let mut events = soon(hub.reader().checkpoint_store(store.clone()).open()).await.unwrap();
    let (mut zero, mut one) = (hub.outlet().await, hub.outlet().await);
    zero.send_events(51..60).await;
    one.send_events(51..55).await;
    let mut all = Vec::new();
    while all.len() < 13 {
        let batch = soon(events.next_batch(5)).await.unwrap().unwrap();
        assert!((1..=5).contains(&batch.len()));
        all.extend(batch);
    }
    events.checkpoint_batch(&all).await.unwrap();
    let scope = CheckpointScope {
        host_name: "localhost".to_owned(),
        event_hub: "foreign-events".to_owned(),
        consumer_group: "$Default".to_owned(),
    };
    let mut kept: Vec<_> = store.load(&scope).await.unwrap();
    kept.sort_by(|a, b| a.partition_id.cmp(&b.partition_id));
    let kept: Vec<_> = kept.iter().map(|kept| (kept.partition_id.as_str(), kept.sequence_number)).collect();
    assert_eq!(kept, [("0", 59), ("1", 54)]);

    // What ends the stream comes after the events before it.
    zero.send_events([60]).await;
    hub.behave(|behaviour| behaviour.token_status = Some(401));
    soon(zero.close_with(crate::hub::error("amqp:link:detach-forced", "moving"))).await;
    let mut numbers = Vec::new();
    let failure = loop {
        match soon(events.next_batch(100)).await.unwrap() {
            Ok(batch) => numbers.extend(batch.iter().map(|event| event.system_properties.sequence_number)),
            Err(failure) => break failure,
        }
    };
    assert_eq!((numbers, failure.kind()), (vec![60], ErrorKind::NotAuthorized));
    assert!(soon(events.next_batch(100)).await.is_none());
}
