//! [`Start`] is the beginning that a reader asks for: an offset, a number, a time, or one of the two ends.

/// The measure by which a reader names its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// The oldest event that is kept.
    Earliest,
    /// The newest event there is: the reader gets it if its beginning is inclusive, and otherwise only
    /// the events that come later.
    Latest,
    /// An event's offset.
    Offset(u64),
    /// An event's sequence number.
    SequenceNumber(i64),
    /// An event's enqueued time, in milliseconds since the Unix epoch.
    EnqueuedTime(i64),
}

/// The beginning of a reader. A place older than all events in the log means the oldest of them; a place
/// newer than all of them, and every place in an empty log, means the next event that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) at: StartAt,
    /// True if the event there is meant as well, and not only those after it.
    pub(crate) inclusive: bool,
}

impl Start {
    pub(crate) const EARLIEST: Self = Self { at: StartAt::Earliest, inclusive: true };
}
