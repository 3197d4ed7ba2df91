//! [`Ended`] is the reason why the connection of a device or module ended. `connection` returns it, and the hub's
//! activity shows its text.

use std::io;
use std::time::Duration;

use iothub_models::ErrorCode;

use super::codec::Fault;
use super::telemetry::TelemetryError;
use super::topics::TopicError;
use crate::activity::ActivityResult;
use crate::core::connections::CloseReason;
use crate::core::sessions::TooManySubscriptions;
use crate::journal::NotKept;
use crate::websocket::is_fault;

/// The longest time that a peer may take none of its output before it is disconnected.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// The reason why a connection ended. The texts are for the hub's activity.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the device said goodbye")]
    Goodbye,
    #[error("the device left without a DISCONNECT")]
    Left,
    #[error("the connection broke: {0}")]
    Io(io::Error),
    #[error("{0}")]
    Told(CloseReason),
    #[error("the hub shuts down")]
    Shutdown,
    #[error("nothing was heard from the device for {secs} s, one and a half times its keep-alive", secs = .0.as_secs())]
    Silent(Duration),
    #[error("the SAS token expired, and its time of grace is over")]
    TokenExpired,
    #[error("the device is slow: it took none of {0} waiting bytes for {secs} s", secs = STALL.as_secs())]
    Slow(usize),
    #[error("it sent {0}")]
    Fault(Fault),
    #[error("it published to {0:?}: {1}")]
    PublishTopic(String, TopicError),
    #[error("it subscribed to {0:?}: {1}")]
    Filter(String, TopicError),
    #[error("it asked for {0}")]
    Subscriptions(TooManySubscriptions),
    #[error("its telemetry is refused: {0}")]
    Telemetry(TelemetryError),
    #[error(transparent)]
    NotKept(NotKept),
}

impl Ended {
    /// Returns the result for the hub's activity, and the service's code for it, if there is one.
    pub(super) fn result(&self) -> (ActivityResult, Option<ErrorCode>) {
        match self {
            Self::Told(reason) => (ActivityResult::Ok, Some(reason.code())),
            Self::Io(error) if is_fault(error) => (ActivityResult::Refused, None),
            Self::Goodbye
            | Self::Left
            | Self::Io(_)
            | Self::Shutdown
            | Self::Silent(_)
            | Self::TokenExpired => (ActivityResult::Ok, None),
            Self::NotKept(_) => (ActivityResult::Failed, Some(ErrorCode::ServiceUnavailable)),
            Self::Slow(_)
            | Self::Fault(_)
            | Self::PublishTopic(..)
            | Self::Filter(..)
            | Self::Subscriptions(_)
            | Self::Telemetry(_) => (ActivityResult::Refused, None),
        }
    }
}
