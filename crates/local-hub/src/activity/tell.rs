//! This file has one function for each thing that happens in the hub, which makes the record.
//!
//! `hub` calls these functions when it hands on the effects of a transition, and the protocol rooms call [`refused`]:
//!
//! ```text
//! refused("connect", &reason).code(code).of(&id).tell();
//! ```
//! Each refusal is told once, where it is worded for the peer; the layers below hand it up as a value and
//! stay silent. The same sentence goes to `tracing` at the level debug, for programs that embed the hub.

use std::borrow::Cow;
use std::fmt::Display;

use iothub_models::{C2dMessage, DeviceId, ErrorCode, FeedbackStatus, Identity, ModelId};
use jiff::Timestamp;

use super::{ActivityKind, ActivityLog, ActivityResult, Origin, text};
use crate::core::c2d::C2dEnd;
use crate::core::event::HubEvent;

impl ActivityLog {
    /// Tells that a device or module opened a connection.
    pub(crate) fn connected(&self, id: &Identity, model: Option<&ModelId>) {
        self.emit(ActivityKind::Connected, |record| {
            record.set_id(id);
            record.model = model.cloned();
        });
    }

    /// Tells that a connection that was opened at `since` ended.
    pub(crate) fn disconnected(
        &self,
        id: &Identity,
        since: Timestamp,
        (result, code): (ActivityResult, Option<ErrorCode>),
        reason: &dyn Display,
    ) {
        self.emit(ActivityKind::Disconnected, |record| {
            record.set_id(id);
            record.result = result;
            record.code = code.map(|code| code.number().into());
            record.reason = Some(text::bounded(reason));
            record.milliseconds = Some(milliseconds(since, record.time));
        });
    }

    /// Tells of telemetry that the hub accepted: a whole batch, nearly always of one device.
    pub(crate) fn telemetry(&self, batch: &[HubEvent], now: Timestamp) {
        if !self.is_wanted() || batch.is_empty() {
            return;
        }
        let same_sender =
            |a: &HubEvent, b: &HubEvent| a.device_id == b.device_id && a.module_id == b.module_id;
        let mut burst = self.burst();
        if burst.admits(batch.len() as u64, now) {
            drop(burst);
            return batch.iter().for_each(|event| self.telemetry_message(event));
        }
        for events in batch.chunk_by(same_sender) {
            let bytes = events.iter().map(|event| event.message.body.len() as u64).sum();
            if burst.add(sender(&events[0]), events.len() as u64, bytes) {
                self.counting();
            }
        }
    }

    fn telemetry_message(&self, event: &HubEvent) {
        self.emit(ActivityKind::Telemetry, |record| {
            record.set_id(&sender(event));
            record.bytes = Some(event.message.body.len() as u64);
            record.message_id = event.message.message_id.as_ref().map(|id| text::bounded(id));
        });
    }

    /// Tells that a device changed `properties` of its reported properties at the top level.
    pub(crate) fn reported(&self, id: &Identity, properties: usize, version: i64) {
        self.emit(ActivityKind::Reported, |record| {
            record.set_id(id);
            record.count = Some(properties as u64);
            record.version = Some(version);
        });
    }

    /// Tells that a back end wrote `properties` of the desired properties at the top level.
    pub(crate) fn desired_written(&self, id: &Identity, properties: usize, version: i64) {
        self.section_written(ActivityKind::Desired, id, properties, Some(version));
    }

    /// Tells that a back end wrote `tags` at the top level.
    pub(crate) fn tags_written(&self, id: &Identity, tags: usize) {
        self.section_written(ActivityKind::Tags, id, tags, None);
    }

    fn section_written(&self, kind: ActivityKind, id: &Identity, members: usize, version: Option<i64>) {
        self.emit(kind, |record| {
            record.set_id(id);
            record.count = Some(members as u64);
            record.version = version;
        });
    }

    /// Tells that a cloud-to-device message is in its device's queue.
    pub(crate) fn c2d_sent(&self, device: &DeviceId, message: &C2dMessage) {
        self.c2d(ActivityKind::C2dSent, device, message);
    }

    /// Tells that a cloud-to-device message was handed to its device.
    pub(crate) fn c2d_delivered(&self, device: &DeviceId, message: &C2dMessage) {
        self.c2d(ActivityKind::C2dDelivered, device, message);
    }

    fn c2d(&self, kind: ActivityKind, device: &DeviceId, message: &C2dMessage) {
        self.emit(kind, |record| {
            record.device = Some(device.clone());
            record.bytes = Some(message.body.len() as u64);
            record.message_id = message.message_id.as_deref().map(|id| text::bounded(&id));
        });
    }

    /// Tells that a cloud-to-device message left its queue.
    pub(crate) fn c2d_ended(&self, end: &C2dEnd, now: Timestamp) {
        self.emit(ActivityKind::C2dOutcome, |record| {
            let message = &end.message;
            record.device = Some(end.device.clone());
            record.operation = Some(Cow::Borrowed(outcome(end.status)));
            record.bytes = Some(message.body.len() as u64);
            record.milliseconds = Some(milliseconds(end.enqueued_time, now));
            record.message_id = message.message_id.as_ref().map(|id| text::bounded(id));
        });
    }

    /// Tells that a device answered a direct method that was called at `since`.
    pub(crate) fn method(
        &self,
        id: &Identity,
        name: &dyn Display,
        (status, bytes): (i32, usize),
        since: Timestamp,
    ) {
        self.emit(ActivityKind::Method, |record| {
            record.set_id(id);
            record.operation = Some(text::bounded(name).into());
            record.code = Some(status.into());
            record.bytes = Some(bytes as u64);
            record.milliseconds = Some(milliseconds(since, record.time));
        });
    }

    /// Tells that a page of a query that was asked at `since` is answered.
    pub(crate) fn query(&self, rows: usize, since: Timestamp) {
        self.emit(ActivityKind::Query, |record| {
            record.count = Some(rows as u64);
            record.milliseconds = Some(milliseconds(since, record.time));
        });
    }

    /// Tells that an identity was `created`, `updated` or `deleted`.
    pub(crate) fn registry(&self, change: &'static str, id: &Identity) {
        self.emit(ActivityKind::Registry, |record| {
            record.set_id(id);
            record.operation = Some(Cow::Borrowed(change));
        });
    }

    /// Tells that a back end reads a partition from now on, until the returned value is dropped.
    pub(crate) fn reader(&self, group: &str, partition: usize) -> ReaderActivity {
        let reader = ReaderActivity {
            log: self.clone(),
            origin: Origin::here(),
            name: format!("{group}/{partition}").into(),
        };
        reader.tell(ActivityKind::ReaderAttached);
        reader
    }

    /// Tells that the hub forgot everything it did not start with.
    pub(crate) fn reset(&self) {
        self.emit(ActivityKind::Reset, |_| {});
    }

    /// Tells that the hub lost `count` things that it should have kept or handed out. While nobody listens, `tracing`
    /// has it as a warning, since a loss must be seen somewhere.
    pub(crate) fn failed(&self, operation: &'static str, count: u64, reason: &dyn Display) {
        if self.is_wanted() {
            tracing::debug!(operation, count, %reason, "failed");
        } else {
            tracing::warn!(operation, count, %reason, "failed");
        }
        self.emit(ActivityKind::Failed, |record| {
            record.operation = Some(Cow::Borrowed(operation));
            record.result = ActivityResult::Failed;
            record.count = Some(count);
            record.reason = Some(text::bounded(reason));
        });
    }
}

/// A reader of the event stream. Dropping it tells that the reader went.
#[derive(Debug)]
pub(crate) struct ReaderActivity {
    log: ActivityLog,
    origin: Option<Origin>,
    name: Box<str>,
}

impl ReaderActivity {
    fn tell(&self, kind: ActivityKind) {
        self.log.emit(kind, |record| {
            record.operation = Some(self.name.to_string().into());
            if let Some(origin) = &self.origin {
                origin.name(record);
            }
        });
    }
}

impl Drop for ReaderActivity {
    fn drop(&mut self) {
        self.tell(ActivityKind::ReaderDetached);
    }
}

/// A refusal that [`tell`](Self::tell) puts into the log.
#[must_use]
pub(crate) struct Refusal<'a> {
    operation: Cow<'static, str>,
    reason: &'a dyn Display,
    id: Option<&'a Identity>,
    code: Option<ErrorCode>,
    tracking_id: Option<&'a dyn Display>,
}

/// Begins the record of a refusal of `operation`.
pub(crate) fn refused(operation: impl Into<Cow<'static, str>>, reason: &dyn Display) -> Refusal<'_> {
    Refusal { operation: operation.into(), reason, id: None, code: None, tracking_id: None }
}

impl<'a> Refusal<'a> {
    /// Adds the identity that the peer has, or claims to have.
    pub(crate) fn of(mut self, id: impl Into<Option<&'a Identity>>) -> Self {
        self.id = id.into();
        self
    }

    /// Adds the code by which programs know the refusal.
    pub(crate) fn code(mut self, code: impl Into<Option<ErrorCode>>) -> Self {
        self.code = code.into();
        self
    }

    /// Adds the id that the peer is told with the refusal.
    pub(crate) fn tracking_id(mut self, id: &'a dyn Display) -> Self {
        self.tracking_id = Some(id);
        self
    }

    /// Puts the refusal into the log, as one of the connection whose task is running.
    pub(crate) fn tell(self) {
        let Self { operation, reason, id, code, tracking_id } = self;
        tracing::debug!(
            operation = operation.as_ref(),
            id = id.map(tracing::field::display),
            code = code.map(tracing::field::display),
            tracking_id = tracking_id.map(tracing::field::display),
            %reason,
            "refused"
        );
        Origin::with_log(|log| {
            log.emit(ActivityKind::Refused, |record| {
                if let Some(id) = id {
                    record.set_id(id);
                }
                record.operation = Some(match operation {
                    Cow::Borrowed(_) => operation,
                    Cow::Owned(named) => text::bounded(&named).into(),
                });
                record.result = ActivityResult::Refused;
                record.code = code.map(|code| code.number().into());
                record.reason = Some(text::bounded(reason));
                record.tracking_id = tracking_id.map(text::bounded);
            });
        });
    }
}

fn sender(event: &HubEvent) -> Identity {
    Identity { device: event.device_id.clone(), module: event.module_id.clone() }
}

fn milliseconds(since: Timestamp, until: Timestamp) -> u64 {
    u64::try_from(until.as_millisecond() - since.as_millisecond()).unwrap_or(0)
}

const fn outcome(status: FeedbackStatus) -> &'static str {
    match status {
        FeedbackStatus::Success => "completed",
        FeedbackStatus::Expired => "expired",
        FeedbackStatus::DeliveryCountExceeded => "deliveryCountExceeded",
        FeedbackStatus::Rejected => "rejected",
        FeedbackStatus::Purged => "purged",
        _ => "ended",
    }
}
