//! [`Record`] names a piece of the service's state that a transition changed, for a journal that keeps it.
//!
//! Transitions add records to their [`Effects`](super::effects::Effects). A record names its piece and does not hold
//! it: the journal writes the piece as it is after the transition, while the service is locked, so that two changes of
//! one twin in one transaction are written once.

use iothub_models::{DeviceId, Identity};

/// A changed piece of the service's state.
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
