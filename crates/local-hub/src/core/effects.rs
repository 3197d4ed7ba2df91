//! [`Effects`] holds the consequences of transitions until the hub may hand them on.
//!
//! A transition of [`Service`](super::service::Service) changes the service's own state at once and adds to its
//! effects whatever must follow outside of it: records to keep, events for the stream, connections to wake, to tell
//! and to close. The transition itself tells nobody, because a change that was told and then lost would be a promise
//! broken. `hub/commit.rs` takes the effects while the service is still locked and gives them to the journal, which
//! releases them, in the order of the transitions, once their records are kept.

use std::sync::Arc;

use iothub_models::{C2dMessage, DeviceId, Identity, ModelId};
use jiff::Timestamp;

use super::c2d::C2dEnd;
use super::connections::CloseReason;
use super::event::HubEvent;
use super::lease::Position;
use super::methods::Progress;
use super::twins::DesiredChange;

/// The consequences of one or more transitions, each kind in the order in which it was added.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// The changes that must be kept before anything else here is released; empty while no journal keeps records.
    pub(crate) records: Vec<Record>,
    /// Events of the hub itself that a route takes. They get their numbers before the service is unlocked.
    pub(crate) events: Vec<HubEvent>,
    /// Identities whose connection, if there is one by then, has something to fetch.
    pub(crate) wakes: Vec<Identity>,
    /// Changes of desired properties, each for the connection with this number and for no later one.
    pub(crate) told: Vec<(u64, DesiredChange)>,
    /// Connections that end, by their numbers.
    pub(crate) closed: Vec<(u64, CloseReason)>,
    /// Direct method calls that got a new deadline or an outcome, by their numbers.
    pub(crate) calls: Vec<(u64, Progress)>,
    /// True if a back end may receive a batch of feedback.
    pub(crate) feedback_ready: bool,
    /// The next time at which the passing of time changes something.
    pub(crate) due: Option<Timestamp>,
    /// Facts for the hub's activity log.
    pub(crate) happened: Vec<Happened>,
    /// The position of the transition; the first one for ever while no journal wants records.
    pub(crate) position: Position,
    /// True if a journal wants records. It is part of no transition; the hub sets it when it starts.
    pub(crate) keeps_records: bool,
    /// True if somebody follows the hub's activity, so that [`happened`](Self::happened) is worth its cost.
    pub(crate) is_watched: bool,
}

/// A piece of the service's state that a transition changed, for a journal that keeps it.
///
/// A record names its piece and does not hold it: the journal writes the piece as it is after the transition, while the
/// service is locked, so that two changes of one twin in one transaction are written once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Record {
    /// The identity was created, changed or deleted; its twin goes with it.
    Identity(Identity),
    /// The twin was changed, or has another model id.
    Twin(Identity),
    /// The device's cloud-to-device messages or their delivery counts were changed.
    Messages(DeviceId),
    /// Feedback records or batches were changed.
    Feedback,
    /// The session was opened, discarded or changed.
    Session(Identity),
    /// Everything was forgotten.
    Reset,
}

impl Record {
    /// Returns about how many bytes the record itself takes while it waits for the journal.
    pub(crate) fn weight(&self) -> usize {
        let id = match self {
            Self::Identity(id) | Self::Twin(id) | Self::Session(id) => {
                id.device.as_str().len() + id.module.as_ref().map_or(0, |module| module.as_str().len())
            }
            Self::Messages(device) => device.as_str().len(),
            Self::Feedback | Self::Reset => 0,
        };
        size_of::<Self>() + id
    }
}

/// A fact for the hub's activity log.
#[derive(Debug)]
pub(crate) enum Happened {
    /// A device or a module opened a connection, and may have announced a model.
    Connected(Identity, Option<ModelId>),
    /// An identity was `created`, `updated` or `deleted`.
    Registry(&'static str, Identity),
    /// A cloud-to-device message is in its device's queue.
    C2dSent(DeviceId, Arc<C2dMessage>),
    /// A cloud-to-device message was handed to its device.
    C2dDelivered(DeviceId, Arc<C2dMessage>),
    /// A cloud-to-device message left its queue with an outcome.
    C2dEnded(C2dEnd),
    /// This number of feedback records is dropped, since no back end completed them in time.
    FeedbackGivenUp(usize),
    /// A device changed this number of its reported properties at the top level, which gave them this version.
    Reported(Identity, usize, i64),
    /// A back end wrote this number of desired properties at the top level, which gave them this version.
    DesiredWritten(Identity, usize, i64),
    /// A back end wrote this number of tags at the top level.
    TagsWritten(Identity, usize),
    /// An identity was created whose id no MQTT topic may hold.
    NotForMqtt(Identity),
    /// The hub forgot everything it did not start with.
    Reset,
}

impl Effects {
    /// Adds a record, which is made only if a journal keeps it.
    pub(crate) fn record(&mut self, make: impl FnOnce() -> Record) {
        if self.keeps_records {
            self.records.push(make());
        }
    }

    /// Adds a fact for the activity log, which is made only if somebody follows it.
    pub(crate) fn happened(&mut self, make: impl FnOnce() -> Happened) {
        if self.is_watched {
            self.happened.push(make());
        }
    }

    /// Adds that the identity's connection has something to fetch.
    pub(crate) fn wake(&mut self, identity: Identity) {
        self.wakes.push(identity);
    }

    /// Returns whether the journal must see these effects: there is something to keep, or to number.
    pub(crate) const fn must_be_kept(&self) -> bool {
        !self.records.is_empty() || !self.events.is_empty()
    }

    /// Returns the effects so far, and leaves none.
    pub(crate) fn take(&mut self) -> Self {
        let Self { position, keeps_records, is_watched, .. } = *self;
        std::mem::replace(self, Self { position, keeps_records, is_watched, ..Self::default() })
    }
}
