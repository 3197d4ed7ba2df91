//! The outbox against tables, and against a model of a hub that keeps or loses sessions.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn offers(outbox: &mut Outbox<u32>) -> Vec<(u16, bool, u32)> {
    std::iter::from_fn(|| outbox.offer().map(|offer| (offer.id, offer.dup, *offer.item))).collect()
}

fn filled(window: u16, count: u32) -> Outbox<u32> {
    let mut outbox = Outbox::new(window);
    for item in 0..count {
        outbox.push(u64::from(item), item);
    }
    outbox.connected(false);
    outbox
}

#[test]
fn the_window_bounds_what_is_offered() {
    let mut outbox = filled(2, 5);
    assert_eq!(offers(&mut outbox), [(1, false, 0), (2, false, 1)]);
    assert_eq!(outbox.acknowledged(2), Some(1));
    assert_eq!(offers(&mut outbox), [(3, false, 2)]);
    assert_eq!(outbox.acknowledged(2), None, "an id is acknowledged once");
}

#[test]
fn a_kept_session_is_offered_the_same_ids_again_before_anything_new() {
    let mut outbox = filled(3, 5);
    offers(&mut outbox);
    assert_eq!(outbox.acknowledged(1), Some(0));
    outbox.connected(true);
    assert_eq!(offers(&mut outbox), [(2, true, 1), (3, true, 2), (4, false, 3)]);
}

#[test]
fn an_acknowledgement_may_come_before_the_second_offer_if_the_session_was_kept() {
    let mut outbox = filled(3, 3);
    offers(&mut outbox);
    outbox.connected(true);
    assert_eq!(outbox.acknowledged(2), Some(1));
    assert_eq!(offers(&mut outbox), [(1, true, 0), (3, true, 2)]);
}

#[test]
fn a_lost_session_is_offered_everything_under_new_ids() {
    let mut outbox = filled(3, 4);
    offers(&mut outbox);
    outbox.connected(false);
    assert_eq!(outbox.acknowledged(1), None, "a late acknowledgement of the lost session");
    assert_eq!(offers(&mut outbox), [(4, false, 0), (5, false, 1), (6, false, 2)]);
    assert_eq!(outbox.acknowledged(1), None);
    assert_eq!(outbox.acknowledged(4), Some(0));
}

#[test]
fn ids_run_around_and_wait_for_the_oldest() {
    let mut outbox = Outbox::new(u16::MAX);
    outbox.connected(false);
    for item in 0..u32::from(u16::MAX) {
        outbox.push(u64::from(item), item);
    }
    let last = offers(&mut outbox).last().copied();
    assert_eq!(last, Some((u16::MAX, false, u32::from(u16::MAX) - 1)));
    outbox.push(70_000, 70_000);
    assert_eq!(outbox.acknowledged(2), Some(1));
    assert_eq!(outbox.offer(), None, "id 1 is still in use");
    assert_eq!(outbox.acknowledged(1), Some(0));
    assert_eq!(offers(&mut outbox), [(1, false, 70_000)]);
}

#[test]
fn giving_up_tells_whether_the_hub_may_have_it() {
    let mut outbox = filled(1, 2);
    offers(&mut outbox);
    assert_eq!(outbox.give_up(1), GivenUp::Queued(1));
    assert_eq!(outbox.give_up(0), GivenUp::Offered(0));
    assert_eq!(outbox.give_up(0), GivenUp::Gone);
    assert!(outbox.is_empty() && outbox.offered() == 0);
}

#[derive(Clone, Debug)]
enum Step {
    Push,
    Offer,
    /// The hub acknowledges the n-th of what it received and has not acknowledged.
    Acknowledge(usize),
    Lose {
        session_kept: bool,
    },
    /// An acknowledgement of an id from long ago arrives.
    Stale(u16),
    GiveUp(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Push),
        4 => Just(Step::Offer),
        3 => (0usize..8).prop_map(Step::Acknowledge),
        1 => any::<bool>().prop_map(|session_kept| Step::Lose { session_kept }),
        1 => (1u16..200).prop_map(Step::Stale),
        1 => (0u64..100).prop_map(Step::GiveUp),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    /// Whatever the hub does, nothing is lost, nothing is answered twice, order is kept within a
    /// connection, ids in use are distinct, and DUP is set exactly when the session saw the id.
    #[test]
    fn agrees_with_a_model_of_the_hub(window in 1u16..8, steps in steps()) {
        let mut outbox = Outbox::new(window);
        outbox.connected(false);
        let mut pending: VecDeque<u64> = VecDeque::new();
        let mut pushed = 0u64;
        // What this connection carried and the hub has not acknowledged; what the session saw.
        let mut on_wire: Vec<(u16, u64)> = Vec::new();
        let mut session: Vec<(u16, u64)> = Vec::new();
        let mut last_offered: Option<u64> = None;
        for step in steps {
            match step {
                Step::Push => {
                    outbox.push(pushed, pushed);
                    pending.push_back(pushed);
                    pushed += 1;
                }
                Step::Offer => {
                    if let Some(Offer { id, dup, item: &item }) = outbox.offer() {
                        prop_assert!(pending.contains(&item));
                        prop_assert!(last_offered < Some(item), "order");
                        prop_assert!(!on_wire.iter().any(|(used, _)| *used == id), "id in use");
                        prop_assert_eq!(dup, session.contains(&(id, item)));
                        last_offered = Some(item);
                        on_wire.push((id, item));
                        if !dup {
                            session.push((id, item));
                        }
                        prop_assert!(on_wire.len() <= usize::from(window));
                    } else {
                        let all_out = pending.iter().all(|item| on_wire.iter().any(|(_, out)| out == item));
                        prop_assert!(all_out || on_wire.len() == usize::from(window));
                    }
                }
                Step::Acknowledge(nth) => {
                    if !on_wire.is_empty() {
                        let (id, item) = on_wire.remove(nth % on_wire.len());
                        prop_assert_eq!(outbox.acknowledged(id), Some(item));
                        pending.retain(|pending| *pending != item);
                        session.retain(|(_, seen)| *seen != item);
                    }
                }
                Step::Lose { session_kept } => {
                    outbox.connected(session_kept);
                    on_wire.clear();
                    last_offered = None;
                    if !session_kept {
                        session.clear();
                    }
                }
                Step::Stale(id) => {
                    if !session.iter().any(|(seen, _)| *seen == id) {
                        prop_assert_eq!(outbox.acknowledged(id), None);
                    }
                }
                Step::GiveUp(sequence) => {
                    let sent = session.iter().any(|(_, item)| *item == sequence);
                    let expected = match (pending.contains(&sequence), sent) {
                        (false, _) => GivenUp::Gone,
                        (true, true) => GivenUp::Offered(sequence),
                        (true, false) => GivenUp::Queued(sequence),
                    };
                    prop_assert_eq!(outbox.give_up(sequence), expected);
                    pending.retain(|item| *item != sequence);
                    on_wire.retain(|(_, item)| *item != sequence);
                    session.retain(|(_, item)| *item != sequence);
                }
            }
            prop_assert_eq!(outbox.offered(), on_wire.len());
            prop_assert_eq!(outbox.is_empty(), pending.is_empty());
        }
        prop_assert_eq!(outbox.drain().collect::<VecDeque<_>>(), pending);
    }
}
