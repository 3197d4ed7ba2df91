//! [`refused`] puts together the record of a refusal, for the protocol rooms.
//!
//! ```text
//! refused("connect", &reason).code(code).of(&id).tell();
//! ```
//! Each refusal is told once, where it is worded for the peer; the layers below hand it up as a value and
//! stay silent. The same sentence goes to `tracing` at the level debug, for those who embed the hub.

use std::borrow::Cow;
use std::fmt::Display;

use iothub_models::{ErrorCode, Identity};

use super::{ActivityKind, ActivityResult, origin, text};

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
        origin::with_log(|log| {
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
