//! [`Outlets`] hands on the effects of transitions that are kept: the journal calls it, in the order of transitions.
//!
//! It has the tables of those who wait in this process: signals of connections, callers of methods, receivers of
//! feedback, the alarm, and the followers of the activity. It may run while the service and a partition are locked, so
//! it takes only locks of its own and never asks the service anything.

use std::sync::Arc;

use iothub_auth::Clock;
use tokio::sync::watch;

use super::alarm::Alarm;
use super::calls::CallTable;
use super::signals::SignalTable;
use crate::activity::ActivityLog;
use crate::core::effects::{Effects, Happened};
use crate::core::lease::Kept;
use crate::journal::{Release, Transaction};
use crate::log::EventLog;

/// Everything that hears of the effects of transitions.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) signals: SignalTable,
    pub(super) calls: CallTable,
    pub(super) alarm: Alarm,
    /// Changes whenever there may be a batch of feedback to receive.
    pub(super) feedback_ready: watch::Sender<()>,
    /// Changes whenever a caller that waits for a state of the hub may look again; see `inspect`.
    pub(super) changes: watch::Sender<()>,
    activity: ActivityLog,
    log: EventLog,
    clock: Clock,
    kept: Kept,
}

impl Outlets {
    pub(super) fn new(activity: ActivityLog, log: EventLog, clock: Clock, kept: Kept) -> Arc<Self> {
        Arc::new(Self {
            signals: SignalTable::default(),
            calls: CallTable::default(),
            alarm: Alarm::default(),
            feedback_ready: watch::Sender::new(()),
            changes: watch::Sender::new(()),
            activity,
            log,
            clock,
            kept,
        })
    }

    /// Tells the hub's activity of a fact.
    fn tell(&self, fact: Happened) {
        let activity = &self.activity;
        match fact {
            Happened::Connected(id, model) => activity.connected(&id, model.as_ref()),
            Happened::Registry(change, id) => activity.registry(change, &id),
            Happened::C2dSent(device, message) => activity.c2d_sent(&device, &message),
            Happened::C2dDelivered(device, message) => activity.c2d_delivered(&device, &message),
            Happened::C2dEnded(end) => activity.c2d_ended(&end, self.clock.now()),
            Happened::FeedbackGivenUp(records) => {
                let reason = "feedback is dropped: no back end completed it in time";
                activity.failed("feedback", records as u64, &reason);
            }
            Happened::Reported(id, properties, version) => activity.reported(&id, properties, version),
            Happened::DesiredWritten(id, properties, version) => {
                activity.desired_written(&id, properties, version);
            }
            Happened::TagsWritten(id, tags) => activity.tags_written(&id, tags),
            Happened::NotForMqtt(id) => tracing::warn!(
                %id,
                "the id was registered, but its telemetry and its messages cannot use MQTT, whose topics must not hold \
                 + or #: choose another id, or use HTTPS"
            ),
            Happened::Reset => activity.reset(),
        }
    }
}

impl Release for Outlets {
    fn release(&self, transaction: Transaction) {
        let Transaction { effects, events, room } = transaction;
        let is_kept = !effects.records.is_empty();
        let Effects { wakes, told, closed, calls, feedback_ready, due, happened, position, .. } = effects;
        if is_kept {
            // Before anybody is woken, so that what they fetch is there.
            self.kept.move_to(position);
        }
        // Told before anybody is woken, so that the activity has a cause before its consequence.
        happened.into_iter().for_each(|fact| self.tell(fact));
        if let Some(numbered) = events {
            self.log.release(numbered);
        }
        if !told.is_empty() || !closed.is_empty() || !wakes.is_empty() {
            self.signals.hand_on(told, &closed, &wakes);
        }
        if !calls.is_empty() {
            self.calls.tell(calls);
        }
        if feedback_ready {
            self.feedback_ready.send_replace(());
        }
        self.alarm.set(due);
        if self.changes.receiver_count() > 0 {
            self.changes.send_replace(());
        }
        drop(room);
    }
}
