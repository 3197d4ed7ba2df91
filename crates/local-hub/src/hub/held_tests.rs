//! These tests run the hub on a journal that holds its transactions, as a slow or a failing disk does. They check that
//! nothing is acknowledged, told, woken or shown before it is kept, and that nothing is if it cannot be kept.

use futures_util::FutureExt as _;
use iothub_auth::Clock;
use iothub_models::{Acknowledgement, C2dMessage, DeviceId, ErrorCode, Identity, TelemetryMessage};
use serde_json::{Map, json};

use super::tests::{create, hub_in};
use super::{DeviceSession, Hub};
use crate::core::effects::Record;
use crate::core::event::HubEvent;
use crate::core::lease::Settlement;
use crate::core::limits::Limits;
use crate::core::refusal::Precondition;
use crate::core::registry::DeviceWrite;
use crate::core::twins::{SectionWrite, TwinWrite};
use crate::journal::held::Held;

fn id() -> DeviceId {
    "d1".parse().unwrap()
}

/// Returns a hub on a journal with room for so many transactions, with the connected device `d1`, all of it kept.
async fn connected(room: usize) -> (Hub, Held, DeviceSession) {
    let journal = Held::with_room(room);
    let hub = hub_in(Box::new(journal.clone()), Clock::real(), Limits::default());
    let (grant, ()) = tokio::join!(create(&hub, "d1"), keep_next(&journal));
    // A connection is kept nowhere, so that it waits for nothing.
    let session = hub.connect(id().into(), &grant, None).await.unwrap();
    (hub, journal, session)
}

/// Waits until a transaction is there, and keeps it.
async fn keep_next(journal: &Held) {
    for _ in 0..1000 {
        if journal.waiting() > 0 {
            return journal.keep_all();
        }
        tokio::task::yield_now().await;
    }
    panic!("no transaction was handed to the journal");
}

fn event(body: &str) -> HubEvent {
    let now = jiff::Timestamp::now();
    HubEvent::telemetry(TelemetryMessage::new(body), id().into(), "1".into(), "{}".into(), now)
}

fn desired(value: i32) -> TwinWrite {
    let serde_json::Value::Object(desired) = json!({"a": value}) else { unreachable!() };
    TwinWrite { desired: Some(SectionWrite::Merge(desired)), tags: None }
}

#[tokio::test]
async fn a_message_is_accepted_woken_for_and_leased_once_it_is_kept_and_not_before() {
    let (hub, journal, session) = connected(8).await;
    let device = id();
    let mut sent = Box::pin(hub.enqueue_c2d(&device, C2dMessage::new("x")));
    assert!(sent.as_mut().now_or_never().is_none());
    assert_eq!(journal.records(), [Record::Messages(id())]);
    assert!(session.signals().unwrap().wake.notified().now_or_never().is_none());
    assert!(session.lease_messages(10).is_empty());
    journal.keep_all();
    assert_eq!(sent.now_or_never(), Some(Ok(())));
    assert!(session.signals().unwrap().wake.notified().now_or_never().is_some());
    assert_eq!(session.lease_messages(10).len(), 1);
}

#[tokio::test]
async fn a_desired_change_is_told_and_answered_once_it_is_kept() {
    let (hub, journal, session) = connected(8).await;
    let identity = Identity::from(id());
    let (write, precondition) = (desired(1), Precondition::None);
    let mut written = Box::pin(hub.write_twin(&identity, &write, &precondition));
    assert!(written.as_mut().now_or_never().is_none());
    assert_eq!(journal.records(), [Record::Twin(identity.clone())]);
    assert!(session.signals().unwrap().take_told().is_empty());
    // A question waits too: its answer would show what a crash could take back.
    let shown = hub.read(|service, now| service.twin(now, &identity));
    let mut shown = Box::pin(shown);
    assert!(shown.as_mut().now_or_never().is_none());
    journal.keep_all();
    assert_eq!(session.signals().unwrap().take_told().len(), 1);
    assert!(written.now_or_never().unwrap().is_ok() && shown.now_or_never().unwrap().is_ok());
}

#[tokio::test]
async fn events_are_acknowledged_and_seen_once_they_are_kept() {
    let (hub, journal, session) = connected(8).await;
    let mut sent = Box::pin(session.send_telemetry(vec![event("a"), event("b")]));
    assert!(sent.as_mut().now_or_never().is_none());
    assert!(hub.kept_events().is_empty() && hub.telemetry_accepted() == 0);
    assert!(journal.records().is_empty(), "telemetry changes nothing of the service");
    journal.keep_all();
    assert_eq!(sent.now_or_never(), Some(Ok(())));
    assert_eq!((hub.kept_events().len(), hub.telemetry_accepted()), (2, 2));
}

#[tokio::test]
async fn what_cannot_be_kept_is_neither_acknowledged_nor_told() {
    let (hub, journal, session) = connected(8).await;
    let identity = Identity::from(id());
    let (device, write, precondition) = (id(), desired(1), Precondition::None);
    let mut sent = Box::pin(hub.enqueue_c2d(&device, C2dMessage::new("x")));
    let mut written = Box::pin(hub.write_twin(&identity, &write, &precondition));
    let mut telemetry = Box::pin(session.send_telemetry(vec![event("a")]));
    assert!(sent.as_mut().now_or_never().is_none());
    assert!(written.as_mut().now_or_never().is_none());
    assert!(telemetry.as_mut().now_or_never().is_none());
    journal.fail_all();
    let refused = sent.now_or_never().unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::ServiceUnavailable);
    assert!(refused.text.contains("the disk is full"), "{refused}");
    assert_eq!(written.now_or_never().unwrap().unwrap_err().code, ErrorCode::ServiceUnavailable);
    assert_eq!(telemetry.now_or_never().unwrap().unwrap_err().code, ErrorCode::ServiceUnavailable);
    assert!(session.signals().unwrap().take_told().is_empty());
    assert!(session.lease_messages(10).is_empty() && hub.kept_events().is_empty());
}

#[tokio::test]
async fn the_end_of_a_session_waits_for_no_journal_and_the_next_one_for_no_more_than_the_end() {
    let (hub, journal, session) = connected(8).await;
    let device = id();
    let sent = hub.enqueue_c2d(&device, C2dMessage::new("x"));
    let (sent, ()) = tokio::join!(sent, keep_next(&journal));
    sent.unwrap();
    assert_eq!(session.lease_messages(10).len(), 1);
    let gone = session.signals().unwrap().gone.clone();
    drop(session);
    assert!(gone.is_cancelled());
    assert!(!hub.is_connected(&id()));
}

#[tokio::test]
async fn changes_wait_for_room_before_they_run_and_telemetry_takes_none_of_theirs() {
    let (hub, journal, session) = connected(1).await;
    let (first, second) = (vec![event("a")], vec![event("b")]);
    let mut telemetry = Box::pin(session.send_telemetry(first));
    assert!(telemetry.as_mut().now_or_never().is_none());
    let mut more = Box::pin(session.send_telemetry(second));
    assert!(more.as_mut().now_or_never().is_none());
    assert_eq!(journal.waiting(), 1, "there is no room for the second batch");
    // A change of the service has a share of its own.
    let device = id();
    let mut sent = Box::pin(hub.enqueue_c2d(&device, C2dMessage::new("x")));
    assert!(sent.as_mut().now_or_never().is_none());
    assert_eq!(journal.waiting(), 2);
    journal.keep_all();
    assert_eq!((telemetry.now_or_never(), sent.now_or_never()), (Some(Ok(())), Some(Ok(()))));
    assert!(more.as_mut().now_or_never().is_none());
    journal.keep_all();
    assert_eq!(more.now_or_never(), Some(Ok(())));
}

#[tokio::test]
async fn each_change_names_what_a_journal_must_keep() {
    let (hub, journal, session) = connected(32).await;
    let identity = Identity::from(id());
    let records = |journal: &Held| {
        let records = journal.records();
        journal.keep_all();
        records
    };
    let asking = C2dMessage { ack: Some(Acknowledgement::Full), ..C2dMessage::new("x") };
    let (sent, kept) = {
        let device = id();
        let mut sent = Box::pin(hub.enqueue_c2d(&device, asking));
        assert!(sent.as_mut().now_or_never().is_none());
        let kept = records(&journal);
        (sent.await, kept)
    };
    assert_eq!((sent, kept), (Ok(()), vec![Record::Messages(id())]));
    // A lease, and its end, change nothing that must be kept.
    let leased = session.lease_messages(1);
    session.release_messages(&[leased[0].lock]);
    let leased = session.lease_messages(1);
    assert_eq!(records(&journal), []);
    session.settle_messages(&[leased[0].lock], Settlement::Complete);
    let completed = records(&journal);
    assert!(
        completed.contains(&Record::Messages(id())) && completed.contains(&Record::Feedback),
        "{completed:?}"
    );
    session.report(&Map::new(), None, crate::journal::Room::default());
    assert_eq!(records(&journal), [Record::Twin(identity.clone())]);
    let device = id();
    let precondition = Precondition::None;
    let mut deleted = Box::pin(hub.delete_device(&device, &precondition));
    assert!(deleted.as_mut().now_or_never().is_none());
    assert!(session.signals().unwrap().close_reason().is_none());
    assert!(records(&journal).contains(&Record::Identity(identity)));
    assert_eq!(deleted.now_or_never(), Some(Ok(())));
    assert!(session.signals().unwrap().close_reason().is_some());
    let again = hub.put_device(DeviceWrite::new(id()), &precondition);
    let (again, ()) = tokio::join!(again, keep_next(&journal));
    again.unwrap();
}
