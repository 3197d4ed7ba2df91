//! This file defines the position in a partition at which reading begins.

use jiff::Timestamp;

/// The position in each partition at which reading begins.
///
/// ```
/// use iothub_amqp_service::EventPosition;
/// use iothub_amqp_service::jiff::{SignedDuration, Timestamp};
///
/// let an_hour_ago = EventPosition::EnqueuedTime(Timestamp::now() - SignedDuration::from_hours(1));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventPosition {
    /// With what comes from now on: after the event that is the last when reading begins (the default).
    #[default]
    Latest,
    /// With the oldest event that is still kept.
    Earliest,
    /// With the first event that was put into the partition at this time or later, to the millisecond.
    EnqueuedTime(Timestamp),
    /// After the event of this offset.
    AfterOffset(String),
    /// After the event of this sequence number. What lies before the oldest event begins there.
    AfterSequenceNumber(i64),
}
