//! These tests check the rules of the queues one by one, and one property over any order of steps.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn start() -> Timestamp {
    "2026-11-21T02:30:00Z".parse().unwrap()
}

fn after(seconds: u64) -> Timestamp {
    start() + Duration::from_secs(seconds)
}

fn device() -> DeviceId {
    "d1".parse().unwrap()
}

fn queues() -> C2dQueues {
    C2dQueues::new(Limits::default(), LockTokens::new(7), Kept::default())
}

impl C2dQueues {
    fn send(&mut self, device: &DeviceId, message: C2dMessage, now: Timestamp) -> Result<(), HubError> {
        self.enqueue(device, &"1".into(), message, now).map(drop)
    }

    /// True if any message is visible then.
    fn release(&mut self, device: &DeviceId, locks: &[LockToken], now: Timestamp) -> bool {
        self.take_news();
        self.settle(device, locks, Settlement::Release, now);
        !self.take_news().visible.is_empty()
    }

    fn complete(&mut self, device: &DeviceId, locks: &[LockToken]) -> usize {
        self.settle(device, locks, Settlement::Complete, start())
    }

    /// Device and status of all feedback since the last call, in order.
    fn feedback(&mut self) -> Vec<(String, FeedbackStatus)> {
        let records = self.take_news().feedback;
        records.into_iter().map(|record| (record.original_message_id.unwrap(), record.status)).collect()
    }
}

fn text(text: &str) -> C2dMessage {
    C2dMessage::new(text)
}

fn bodies(leased: &[LeasedC2d]) -> Vec<String> {
    leased.iter().map(|leased| leased.message.body_text().into_owned()).collect()
}

fn locks(leased: &[LeasedC2d]) -> Vec<LockToken> {
    leased.iter().map(|leased| leased.lock).collect()
}

#[test]
fn a_released_message_keeps_its_place() {
    let mut queues = queues();
    for body in ["a", "b", "c"] {
        queues.send(&device(), text(body), start()).unwrap();
    }
    let first = queues.lease(&device(), 2, None, start());
    assert_eq!(bodies(&first), ["a", "b"]);
    assert_eq!(bodies(&queues.lease(&device(), 10, None, start())), ["c"]);
    assert!(queues.lease(&device(), 10, None, start()).is_empty());
    assert!(queues.release(&device(), &locks(&first), start()));
    let again = queues.lease(&device(), 10, None, start());
    assert_eq!(bodies(&again), ["a", "b"]);
    let number = |leased: &[LeasedC2d]| leased.iter().map(|one| one.sequence_number).collect::<Vec<_>>();
    assert_eq!(number(&again), number(&first), "a message keeps its number");
}

#[test]
fn only_the_lock_of_this_hand_out_completes() {
    let mut queues = queues();
    queues.send(&device(), text("a"), start()).unwrap();
    let stale = locks(&queues.lease(&device(), 1, None, start()));
    queues.release(&device(), &stale, start());
    let current = locks(&queues.lease(&device(), 1, None, start()));
    queues.complete(&device(), &stale);
    assert_eq!(queues.pending(&device()), 1);
    queues.complete(&device(), &current);
    assert_eq!((queues.pending(&device()), queues.bytes), (0, 0));
}

#[test]
fn the_51st_is_refused_also_while_some_are_with_the_device() {
    let mut queues = queues();
    for _ in 0..50 {
        queues.send(&device(), text("x"), start()).unwrap();
    }
    let leased = queues.lease(&device(), 10, None, start());
    let refused = queues.send(&device(), text("x"), start()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::DeviceMaximumQueueDepthExceeded);
    queues.complete(&device(), &locks(&leased));
    assert!(queues.send(&device(), text("x"), start()).is_ok());
    // Another device has a queue of its own.
    assert!(queues.send(&"d2".parse().unwrap(), text("x"), start()).is_ok());
}

#[test]
fn messages_expire_after_an_hour_or_when_they_say_but_within_two_days() {
    let far = C2dMessage { expiry_time: Some("3237-07-19T23:06:40Z".parse().unwrap()), ..text("far") };
    let soon = C2dMessage { expiry_time: Some(after(60)), ..text("soon") };
    let zero = C2dMessage { expiry_time: Some(Timestamp::UNIX_EPOCH), ..text("zero") };
    for (at, alive) in [
        (59, vec!["default", "far", "soon", "zero"]),
        (60, vec!["default", "far", "zero"]),
        (3600, vec!["far"]),
        (2 * 86_400, vec![]),
    ] {
        let mut queues = queues();
        for message in [text("default"), far.clone(), soon.clone(), zero.clone()] {
            queues.send(&device(), message, start()).unwrap();
        }
        assert_eq!(queues.alive(&device(), after(at)), alive.len());
        let leased = queues.lease(&device(), 50, None, after(at));
        assert_eq!(bodies(&leased), alive, "after {at} s");
        // What the sender wrote is what the device reads, and what stands for nothing is nothing.
        for leased in &leased {
            let expected = match leased.message.body_text().as_ref() {
                "far" => far.expiry_time,
                "soon" => soon.expiry_time,
                _ => None,
            };
            assert_eq!(leased.message.expiry_time, expected);
        }
    }
}

/// A message that says what it is called and which outcomes its sender wants.
fn asking(id: &str, ack: &str) -> C2dMessage {
    C2dMessage { message_id: Some(id.to_owned()), ack: Some(ack.parse().unwrap()), ..text(id) }
}

#[test]
fn a_message_expires_also_while_the_device_has_it() {
    for lock_time in [None, Some(Duration::from_secs(7200))] {
        let mut queues = queues();
        queues.send(&device(), asking("x", "full"), start()).unwrap();
        let leased = queues.lease(&device(), 1, lock_time, start());
        assert!(queues.lease(&device(), 1, None, after(3599)).is_empty());
        assert_eq!(queues.pending(&device()), 1);
        queues.advance(after(3600));
        assert_eq!(queues.pending(&device()), 0);
        assert_eq!(queues.settle(&device(), &locks(&leased), Settlement::Complete, after(3600)), 0);
        assert_eq!(queues.feedback(), [("x".to_owned(), FeedbackStatus::Expired)]);
    }
}

#[test]
fn a_lock_that_is_over_makes_the_message_visible_and_counts_nothing() {
    let mut queues = queues();
    queues.send(&device(), text("x"), start()).unwrap();
    let minute = Some(Duration::from_secs(60));
    let first = queues.lease(&device(), 1, minute, start());
    assert_eq!(queues.next_due(), Some(after(60)));
    assert!(queues.lease(&device(), 1, minute, after(59)).is_empty());
    queues.take_news();
    queues.advance(after(60));
    assert_eq!(queues.take_news().visible, [device()]);
    let second = queues.lease(&device(), 1, minute, after(60));
    assert_eq!(second[0].delivery_count, 0);
    // The lock that is over settles nothing, the one that holds does.
    for settlement in [Settlement::Complete, Settlement::Reject, Settlement::Abandon] {
        assert_eq!(queues.settle(&device(), &locks(&first), settlement, after(61)), 0);
    }
    assert_eq!(queues.settle(&device(), &locks(&second), Settlement::Complete, after(119)), 1);
    assert_eq!(queues.next_due(), None, "nothing waits, so nothing is due");
}

#[test]
fn the_tenth_abandon_is_the_last() {
    let mut queues = queues();
    queues.send(&device(), asking("x", "negative"), start()).unwrap();
    for count in 0..10 {
        let leased = queues.lease(&device(), 1, None, start());
        assert_eq!(leased[0].delivery_count, count);
        assert_eq!(queues.feedback(), []);
        assert_eq!(queues.settle(&device(), &locks(&leased), Settlement::Abandon, start()), 1);
    }
    assert_eq!(queues.pending(&device()), 0);
    assert_eq!(queues.feedback(), [("x".to_owned(), FeedbackStatus::DeliveryCountExceeded)]);
}

#[test]
fn each_kind_of_acknowledgement_hears_of_its_outcomes() {
    use FeedbackStatus::{Expired, Purged, Rejected, Success};
    type End = Box<dyn Fn(&mut C2dQueues)>;
    let settled = |settlement| {
        move |queues: &mut C2dQueues| {
            let leased = queues.lease(&device(), 50, None, start());
            queues.settle(&device(), &locks(&leased), settlement, start());
        }
    };
    let ends: [(FeedbackStatus, End); 4] = [
        (Success, Box::new(settled(Settlement::Complete))),
        (Rejected, Box::new(settled(Settlement::Reject))),
        (Expired, Box::new(|queues| queues.advance(after(3600)))),
        (Purged, Box::new(|queues| assert_eq!(queues.purge(&device(), start()), 5))),
    ];
    for (status, end) in ends {
        let mut queues = queues();
        queues.send(&device(), text("silent"), start()).unwrap();
        for ack in ["none", "positive", "negative", "full"] {
            queues.send(&device(), asking(ack, ack), start()).unwrap();
        }
        assert_eq!(queues.awaited(), 3);
        end(&mut queues);
        let asked = if status == Success { "positive" } else { "negative" };
        assert_eq!(queues.feedback(), [(asked.to_owned(), status), ("full".to_owned(), status)]);
        assert_eq!((queues.awaited(), queues.bytes), (0, 0));
    }
}

#[test]
fn a_purge_leaves_what_the_device_has() {
    let mut queues = queues();
    for id in ["with the device", "waiting"] {
        queues.send(&device(), asking(id, "full"), start()).unwrap();
    }
    let leased = queues.lease(&device(), 1, None, start());
    assert_eq!(queues.purge(&device(), start()), 1);
    assert_eq!(queues.feedback(), [("waiting".to_owned(), FeedbackStatus::Purged)]);
    assert_eq!(queues.complete(&device(), &locks(&leased)), 1);
    assert_eq!(queues.feedback(), [("with the device".to_owned(), FeedbackStatus::Success)]);
    assert_eq!(queues.purge(&device(), start()), 0);
}

#[test]
fn an_expiry_in_the_past_is_refused_aloud() {
    let late = C2dMessage { expiry_time: Some(start()), ..text("late") };
    let refused = queues().send(&device(), late, start()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidMessageExpiryTime);
}

#[test]
fn the_size_limit_counts_properties() {
    let at_limit = C2dMessage { message_id: Some("limit".into()), ..C2dMessage::new(vec![0; 64 * 1024 - 5]) };
    assert!(queues().send(&device(), at_limit.clone(), start()).is_ok());
    let over = C2dMessage { content_type: Some("x".into()), ..at_limit };
    assert_eq!(queues().send(&device(), over, start()).unwrap_err().code, ErrorCode::MessageTooLarge);
}

#[test]
fn application_properties_are_printable_ascii() {
    let with = |name: &str, value: &str| C2dMessage {
        properties: [(name, value)].into_iter().collect(),
        ..C2dMessage::default()
    };
    let all: String = (b' '..=b'~').map(char::from).collect();
    assert!(queues().send(&device(), with(&all, &all), start()).is_ok());
    assert!(queues().send(&device(), with("name", ""), start()).is_ok());
    for (name, value) in
        [("n\u{e9}", "v"), ("n", "\u{e9}"), ("", "v"), ("n", "a\nb"), ("n\0", "v"), ("n", "\u{7f}")]
    {
        let refused = queues().send(&device(), with(name, value), start()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::ArgumentInvalid, "{name:?} {value:?}");
    }
}

#[test]
fn what_no_topic_could_carry_is_refused() {
    let with = |value: String| C2dMessage {
        properties: [("k", value.as_str())].into_iter().collect(),
        ..C2dMessage::default()
    };
    assert!(queues().send(&device(), with(" ".repeat(21_000)), start()).is_ok());
    let refused = queues().send(&device(), with(" ".repeat(22_000)), start()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::ArgumentInvalid);
    let id = |length: usize| C2dMessage { message_id: Some("x".repeat(length)), ..C2dMessage::default() };
    assert!(queues().send(&device(), id(128), start()).is_ok());
    assert_eq!(queues().send(&device(), id(129), start()).unwrap_err().code, ErrorCode::ArgumentInvalid);
}

#[test]
fn all_queues_together_are_bounded_and_expired_ones_make_room() {
    let mut queues = C2dQueues::new(
        Limits { c2d_total_bytes: 10, ..Limits::default() },
        LockTokens::new(7),
        Kept::default(),
    );
    queues.send(&device(), text("1234567890"), start()).unwrap();
    let other = "d2".parse().unwrap();
    assert_eq!(queues.send(&other, text("x"), start()).unwrap_err().code, ErrorCode::ServerBusy);
    assert!(queues.send(&other, text("x"), after(3600)).is_ok());
    assert_eq!(queues.bytes, 1);
}

proptest! {
    /// Whatever the order of steps: completed messages never come back, the others are all there, in
    /// the order they were sent, and the bytes add up.
    #[test]
    fn nothing_is_lost_and_order_is_kept(steps in proptest::collection::vec(0_u8..4, 1..120)) {
        let mut queues = queues();
        let (mut sent, mut expected, mut leased) = (0_u32, Vec::new(), Vec::new());
        for step in steps {
            match step {
                0 => if queues.send(&device(), text(&sent.to_string()), start()).is_ok() {
                    expected.push(sent.to_string());
                    sent += 1;
                },
                1 => leased.extend(queues.lease(&device(), 3, None, start())),
                2 => if let Some(one) = leased.pop() {
                    queues.complete(&device(), &[one.lock]);
                    let body = one.message.body_text().into_owned();
                    expected.retain(|left| *left != body);
                },
                _ => {
                    queues.release(&device(), &locks(&leased), start());
                    leased.clear();
                }
            }
        }
        queues.release(&device(), &locks(&leased), start());
        prop_assert_eq!(queues.bytes, expected.iter().map(String::len).sum::<usize>());
        prop_assert_eq!(bodies(&queues.lease(&device(), 50, None, start())), expected);
    }
}
