//! The hub's messages and feedback against a plain model of them: random steps, compared one by one.
//!
//! The model has lists and whole seconds and nothing else; what it says is what the documentation says.
//! Four hubs with different limits run 2,500 sequences each. A failure names its seed and its steps; the
//! last step is where the two disagreed, so the sequence is as short as it can be.

mod model;

use std::time::Duration;

use futures_util::FutureExt as _;
use iothub_auth::ManualClock;
use iothub_models::{Acknowledgement, C2dMessage, DeviceId, ErrorCode, FeedbackStatus};
use jiff::Timestamp;

use self::model::{Model, Record, Rules};
use super::Hub;
use super::tests::hub_with;
use crate::core::lease::{LockToken, Settlement};
use crate::core::limits::Limits;
use crate::core::refusal::Precondition;
use crate::core::registry::DeviceWrite;

const SEQUENCES: u64 = 2_500;
const STEPS: usize = 40;
const DEVICES: [&str; 3] = ["a", "b", "c"];
const START: &str = "2026-11-21T02:30:00Z";

/// Seconds around every boundary there is: batch, lock, expiry.
const PAUSES: [u64; 10] = [1, 14, 15, 16, 45, 59, 60, 61, 3599, 3600];

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Send {
        device: usize,
        ack: Acknowledgement,
        ttl: Option<u64>,
        times: usize,
    },
    /// By a connection, which holds them until it settles or ends.
    Take {
        device: usize,
        max: usize,
    },
    /// By a device that has a minute for it.
    Receive {
        device: usize,
    },
    /// Of one of the hand-outs so far, also of those that are over, perhaps by another device.
    Settle {
        device: usize,
        lease: u64,
        settlement: Settlement,
    },
    /// Received and abandoned, again and again.
    Refuse {
        device: usize,
        times: usize,
    },
    Purge {
        device: usize,
    },
    Delete {
        device: usize,
    },
    Create {
        device: usize,
    },
    /// With the timer of the hub, or before it ran.
    Pause {
        seconds: u64,
        timer: bool,
    },
    LeaseFeedback,
    SettleFeedback {
        lease: u64,
        settlement: Settlement,
    },
}

/// A generator of numbers, the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn step(&mut self) -> Step {
        use Acknowledgement::{Full, Negative, None as Nothing, Positive};
        let device = self.below(DEVICES.len());
        let settlements =
            [Settlement::Complete, Settlement::Reject, Settlement::Abandon, Settlement::Release];
        match self.below(20) {
            0..=5 => Step::Send {
                device,
                ack: self.one_of(&[Full, Full, Positive, Negative, Nothing]),
                ttl: self.one_of(&[None, None, Some(0), Some(1), Some(60), Some(61), Some(5000)]),
                times: self.one_of(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 40]),
            },
            6 => Step::Take { device, max: 1 + self.below(4) },
            7..=8 => Step::Receive { device },
            9..=11 => Step::Settle { device, lease: self.next(), settlement: self.one_of(&settlements) },
            12 => match self.below(3) {
                0 => Step::Purge { device },
                _ => Step::Refuse { device, times: self.one_of(&[2, 3, 11]) },
            },
            13 => match self.below(4) {
                0 => Step::Delete { device },
                _ => Step::Create { device },
            },
            14..=16 => Step::Pause { seconds: self.one_of(&PAUSES), timer: self.below(2) == 0 },
            17..=18 => Step::LeaseFeedback,
            _ => Step::SettleFeedback { lease: self.next(), settlement: self.one_of(&settlements) },
        }
    }
}

/// A hub and its model, side by side.
struct Both {
    hub: Hub,
    time: ManualClock,
    start: Timestamp,
    model: Model,
    /// Hand-outs so far: the hub's name, the model's name, the device.
    leases: Vec<(LockToken, u64, usize)>,
    feedback_leases: Vec<(LockToken, u64)>,
    sent: u64,
    /// The timer has run since the clock was turned.
    timed: bool,
}

fn id(device: usize) -> DeviceId {
    DEVICES[device].parse().unwrap()
}

/// Transitions of the hub never wait.
fn now<T>(what: impl Future<Output = T>) -> T {
    what.now_or_never().expect("a transition waits")
}

impl Both {
    fn new(rules: &Rules) -> Self {
        let start: Timestamp = START.parse().unwrap();
        let time = ManualClock::new(start);
        let limits = Limits {
            c2d_queue_depth: rules.depth,
            c2d_max_delivery_count: rules.deliveries,
            feedback_max_delivery_count: rules.deliveries,
            feedback_records: rules.records,
            ..Limits::default()
        };
        let both = Self {
            hub: hub_with(time.clock(), limits),
            time,
            start,
            model: Model::new(rules.clone()),
            leases: Vec::new(),
            feedback_leases: Vec::new(),
            sent: 0,
            timed: true,
        };
        for device in 0..DEVICES.len() {
            both.create(device);
        }
        both
    }

    fn create(&self, device: usize) -> bool {
        now(self.hub.put_device(DeviceWrite::new(id(device)), &Precondition::None)).is_ok()
    }

    /// Nothing waits, and all devices are there. The clock goes on.
    fn start_over(&mut self) {
        self.hub.apply(|service, _| service.forget_messages());
        for device in 0..DEVICES.len() {
            self.create(device);
        }
        self.model.start_over();
        self.leases.clear();
        self.feedback_leases.clear();
        self.timed = true;
    }

    fn tick(&mut self) {
        now(self.hub.pass_time()).unwrap();
        self.timed = true;
    }

    /// Does a step on both sides, and compares what they say to it.
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { device, ack, ttl, times } => (0..times).for_each(|_| self.send(device, ack, ttl)),
            Step::Take { device, max } => {
                let leased = self.hub.lease_c2d(&id(device), max);
                let expected = self.model.lease(device, max, None);
                self.compare_leases(device, &leased, &expected);
            }
            Step::Receive { device } => {
                let leased: Vec<_> = self.hub.receive_c2d(&id(device)).into_iter().collect();
                let expected = self.model.lease(device, 1, Some(60));
                self.compare_leases(device, &leased, &expected);
            }
            Step::Settle { device, lease, settlement } => {
                if self.leases.is_empty() {
                    return;
                }
                let (token, name, of) = self.leases[lease as usize % self.leases.len()];
                // Mostly by the device that has it.
                let by = if lease % 8 == 0 { device } else { of };
                let settled = now(self.hub.settle_c2d(&id(by), token, settlement));
                assert_eq!(settled.is_ok(), self.model.settle(by, name, settlement));
                if let Err(error) = settled {
                    assert_eq!(error.code, ErrorCode::DeviceMessageLockLost);
                }
            }
            Step::Refuse { device, times } => {
                for _ in 0..times {
                    self.step(&Step::Receive { device });
                    let lease = self.leases.len().saturating_sub(1) as u64;
                    self.step(&Step::Settle { device, lease, settlement: Settlement::Abandon });
                }
            }
            Step::Purge { device } => {
                assert_eq!(now(self.hub.purge_c2d(&id(device))).ok(), self.model.purge(device));
            }
            Step::Delete { device } => {
                // Else what expired at the same instant would be in other batches.
                self.tick();
                let deleted = now(self.hub.delete_device(&id(device), &Precondition::None)).is_ok();
                assert_eq!(deleted, self.model.delete(device));
            }
            Step::Create { device } => assert_eq!(self.create(device), self.model.create(device)),
            Step::Pause { seconds, timer } => {
                // It always ran before the clock is turned again.
                self.tick();
                self.time.advance(Duration::from_secs(seconds));
                self.timed = false;
                self.model.pause(seconds);
                if timer {
                    self.tick();
                }
            }
            Step::LeaseFeedback => self.lease_feedback(),
            Step::SettleFeedback { lease, settlement } => {
                if self.feedback_leases.is_empty() {
                    return;
                }
                let (token, name) = self.feedback_leases[lease as usize % self.feedback_leases.len()];
                self.tick();
                let held = now(self.hub.settle_feedback(token, settlement)).is_ok();
                assert_eq!(held, self.model.settle_feedback(name, settlement));
            }
        }
        for device in 0..DEVICES.len() {
            assert_eq!(self.hub.pending_c2d(&id(device)), self.model.pending(device), "device {device}");
        }
        if self.timed {
            assert_eq!(self.hub.pending_feedback(), self.model.pending_feedback());
            let due = self.model.next_due().map(|seconds| self.start + Duration::from_secs(seconds));
            assert_eq!(self.hub.peek(|service, _| service.next_due()), due, "when the timer is set for");
        }
    }

    fn send(&mut self, device: usize, ack: Acknowledgement, ttl: Option<u64>) {
        self.sent += 1;
        let message = C2dMessage {
            message_id: Some(self.sent.to_string()),
            ack: Some(ack),
            expiry_time: ttl.map(|seconds| self.hub.clock().now() + Duration::from_secs(seconds)),
            ..C2dMessage::new("x")
        };
        let sent = now(self.hub.enqueue_c2d(&id(device), message));
        assert_eq!(sent.map_err(|error| error.code), self.model.send(device, self.sent, ack, ttl));
    }

    fn compare_leases(
        &mut self,
        device: usize,
        leased: &[crate::core::c2d::LeasedC2d],
        expected: &[model::Lease],
    ) {
        let seen: Vec<_> = leased
            .iter()
            .map(|leased| (leased.message.message_id.clone().unwrap(), leased.delivery_count))
            .collect();
        let wanted: Vec<_> = expected.iter().map(|lease| (lease.id.to_string(), lease.failed)).collect();
        assert_eq!(seen, wanted);
        self.leases.extend(leased.iter().zip(expected).map(|(hub, model)| (hub.lock, model.name, device)));
    }

    fn lease_feedback(&mut self) {
        let leased = self.hub.lease_feedback();
        self.timed = true;
        let expected = self.model.lease_feedback();
        let record = |record: &iothub_models::FeedbackRecord| Record {
            id: record.original_message_id.as_ref().unwrap().parse().unwrap(),
            status: record.status,
            device: DEVICES.iter().position(|name| *name == record.device_id.as_str()).unwrap(),
            at: u64::try_from(record.enqueued_time.duration_since(self.start).as_secs()).unwrap(),
        };
        let seen = leased.as_ref().map(|leased| leased.records.iter().map(record).collect::<Vec<_>>());
        assert_eq!(seen.as_ref(), expected.as_ref().map(|(_, records)| records));
        if let (Some(leased), Some((name, _))) = (leased, expected) {
            self.feedback_leases.push((leased.lock, name));
        }
    }
}

fn run(rules: &Rules, first_seed: u64) {
    let mut both = Both::new(rules);
    let mut outcomes = std::collections::HashSet::new();
    for seed in first_seed..first_seed + SEQUENCES {
        both.start_over();
        let mut random = Random(seed);
        let mut steps = Vec::with_capacity(STEPS);
        for _ in 0..STEPS {
            let step = random.step();
            steps.push(step.clone());
            let compared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| both.step(&step)));
            assert!(compared.is_ok(), "seed {seed} with {rules:?}, the last step of:\n{steps:#?}");
        }
        outcomes.extend(both.model.outcomes());
    }
    // The sequences are worth nothing if they never come to something.
    for status in [
        FeedbackStatus::Success,
        FeedbackStatus::Expired,
        FeedbackStatus::DeliveryCountExceeded,
        FeedbackStatus::Rejected,
        FeedbackStatus::Purged,
    ] {
        assert!(outcomes.contains(&status), "no sequence came to {status}");
    }
}

#[test]
fn a_small_hub_does_as_the_model_says() {
    run(&Rules { depth: 4, deliveries: 2, records: 30 }, 0);
}

#[test]
fn a_hub_with_the_service_s_limits_does_as_the_model_says() {
    run(&Rules { depth: 50, deliveries: 10, records: 100_000 }, 100_000);
}

#[test]
fn a_hub_with_little_room_for_feedback_does_as_the_model_says() {
    run(&Rules { depth: 50, deliveries: 3, records: 70 }, 200_000);
}

#[test]
fn a_hub_with_short_queues_and_many_batches_does_as_the_model_says() {
    run(&Rules { depth: 40, deliveries: 1, records: 1000 }, 300_000);
}
