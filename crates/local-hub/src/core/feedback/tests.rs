//! The rules of batches, one test each.

use std::time::Duration;

use iothub_models::FeedbackStatus;

use super::*;

fn after(seconds: u64) -> Timestamp {
    "2026-11-21T02:30:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(seconds)
}

fn feedback() -> Feedback {
    Feedback::new(Limits::default(), LockTokens::new(7), Kept::default())
}

fn records(device: &str, count: usize) -> Vec<FeedbackRecord> {
    let record = |n: usize| {
        let device = device.parse().unwrap();
        FeedbackRecord::new(Some(n.to_string()), after(0), FeedbackStatus::Success, device, "1")
    };
    (0..count).map(record).collect()
}

#[test]
fn sixty_four_records_are_a_batch_and_fewer_after_fifteen_seconds() {
    let mut feedback = feedback();
    assert_eq!(feedback.next_due(), None);
    feedback.push(records("d", 1), after(0));
    feedback.push(records("d", 62), after(10));
    assert!(feedback.lease(after(14)).is_none());
    assert!(!feedback.take_became_visible());
    feedback.push(records("d", 2), after(14));
    assert!(feedback.take_became_visible());
    assert_eq!(feedback.lease(after(14)).unwrap().records.len(), 64);
    // The one left over waits its own fifteen seconds.
    assert_eq!(feedback.next_due(), Some(after(29)));
    assert!(feedback.lease(after(28)).is_none());
    let rest = feedback.lease(after(29)).unwrap();
    assert_eq!((rest.records.len(), rest.enqueued_time), (1, after(29)));
    assert_eq!(feedback.records(), 65);
}

#[test]
fn a_batch_is_with_one_receiver_until_its_lock_is_over() {
    let mut feedback = feedback();
    feedback.push(records("d", 128), after(0));
    let first = feedback.lease(after(0)).unwrap();
    let second = feedback.lease(after(0)).unwrap();
    assert!(feedback.lease(after(0)).is_none());
    assert!(feedback.settle(second.lock, Settlement::Complete, after(59)));
    assert!(!feedback.settle(second.lock, Settlement::Complete, after(59)), "it is gone");
    assert!(!feedback.settle(first.lock, Settlement::Complete, after(60)), "its lock is over");
    let again = feedback.lease(after(60)).unwrap();
    assert_ne!(again.lock, first.lock);
    assert_eq!((again.delivery_count, again.records), (1, first.records));
    assert!(feedback.settle(again.lock, Settlement::Complete, after(60)));
    assert_eq!((feedback.records(), feedback.next_due()), (0, None));
}

#[test]
fn a_batch_is_delivered_ten_times_and_one_that_never_arrived_does_not_count() {
    let mut feedback = feedback();
    feedback.push(records("d", 64), after(0));
    for delivery in 0..10 {
        let unsent = feedback.lease(after(0)).unwrap();
        assert!(feedback.settle(unsent.lock, Settlement::Release, after(0)));
        let leased = feedback.lease(after(0)).unwrap();
        assert_eq!((leased.delivery_count, feedback.take_given_up()), (delivery, 0));
        assert!(feedback.settle(leased.lock, Settlement::Abandon, after(0)));
    }
    assert!(feedback.lease(after(0)).is_none());
    assert_eq!((feedback.records(), feedback.take_given_up()), (0, 64));
}

#[test]
fn a_batch_nobody_takes_is_gone_after_an_hour() {
    let mut feedback = feedback();
    feedback.push(records("d", 3), after(0));
    let leased = feedback.lease(after(3600)).unwrap();
    assert_eq!(leased.enqueued_time, after(3600), "it is a batch once somebody looks");
    feedback.settle(leased.lock, Settlement::Release, after(3600));
    assert!(feedback.lease(after(7199)).is_some());
    feedback.advance(after(7200));
    assert_eq!((feedback.records(), feedback.take_given_up(), feedback.next_due()), (0, 3, None));
}

#[test]
fn what_is_told_of_a_deleted_device_is_dropped() {
    let mut feedback = feedback();
    feedback.push([records("gone", 32), records("stays", 32)].concat(), after(0));
    feedback.push(records("gone", 3), after(0));
    feedback.remove_device(&"gone".parse().unwrap());
    assert_eq!(feedback.records(), 32);
    let leased = feedback.lease(after(15)).unwrap();
    assert!(
        leased.records.len() == 32
            && leased.records.iter().all(|record| record.device_id.as_str() == "stays")
    );
    assert!(feedback.lease(after(100)).is_some(), "only the lock of this batch is over");
    feedback.remove_device(&"stays".parse().unwrap());
    assert_eq!((feedback.records(), feedback.next_due()), (0, None));
}
