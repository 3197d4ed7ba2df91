//! From the library's errors to ours: the hub's words where it spoke, ours where it did not.

use std::borrow::Cow;
use std::io;

use fe2o3_amqp::connection::{ConnectionStopReason, OpenError};
use fe2o3_amqp::link::{
    DetachError, IllegalLinkStateError, LinkStateError, ReceiverAttachError, RecvError, SendError,
    SenderAttachError, SessionStopReason,
};
use fe2o3_amqp::session::BeginError;
use fe2o3_amqp::transport;
use fe2o3_amqp_types::definitions::{self, ErrorCondition, LinkError};
use fe2o3_amqp_types::messaging::Outcome;
use iothub_transport::{OpenError as NoStream, OpenFailure, ProxyFailure};
use serde_amqp::Value;
use serde_amqp::primitives::Symbol;

use super::redirect::Redirect;
use crate::error::{Cause, Error, ErrorKind};
use crate::refusal::{Refusal, Scope};

/// Why a step failed, before it is said which step it was.
#[derive(Debug)]
pub(super) enum Failure {
    /// The hub said why.
    Refused(Refusal),
    /// The hub said where to go instead.
    Redirected(Redirect),
    /// There is no stream to the hub.
    Unopened(Box<NoStream>),
    /// The socket said why.
    Io(ErrorKind, io::Error),
    /// We can say why.
    Known(ErrorKind, Cow<'static, str>),
}

impl Failure {
    pub(super) fn known(kind: ErrorKind, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Known(kind, why.into())
    }

    pub(super) fn into_error(self, tried: impl Into<Cow<'static, str>>, scope: Scope) -> Error {
        match self {
            Self::Refused(refusal) => refusal.into_error(tried, scope),
            Self::Redirected(_) => Error::new(ErrorKind::Protocol, tried).because(Cause(ELSEWHERE.into())),
            Self::Unopened(error) => unopened(*error, tried),
            Self::Io(kind, error) => Error::new(kind, tried).because(error),
            Self::Known(kind, why) => Error::new(kind, tried).because(Cause(why)),
        }
    }

    /// Returns whether it is the proxy, and not the hub, that has to be looked at.
    pub(super) fn is_of_the_proxy(&self) -> bool {
        matches!(self, Self::Unopened(error) if matches!(error.failure, OpenFailure::Proxy(_)))
    }

    /// The same, where the message had been sent already.
    fn after_sending(self) -> Error {
        const TRIED: &str = "the connection was lost";
        match self {
            Self::Refused(refusal) => refusal.with_kind(ErrorKind::OutcomeUnknown, TRIED),
            other => Self::known(ErrorKind::OutcomeUnknown, other.why()).into_error(TRIED, Scope::Link),
        }
    }

    fn why(self) -> Cow<'static, str> {
        match self {
            Self::Refused(refusal) => refusal.to_string().into(),
            Self::Redirected(_) => ELSEWHERE.into(),
            Self::Unopened(error) => error.to_string().into(),
            Self::Io(_, error) => error.to_string().into(),
            Self::Known(_, why) => why,
        }
    }
}

/// Returns the error of a stream that could not be opened. Where both ways failed, both reasons are its cause.
fn unopened(error: NoStream, tried: impl Into<Cow<'static, str>>) -> Error {
    let kind = match &error.failure {
        OpenFailure::InvalidHost(_) => ErrorKind::InvalidArgument,
        OpenFailure::Tls(_) => ErrorKind::Tls,
        OpenFailure::Upgrade(_) => ErrorKind::Protocol,
        OpenFailure::Proxy(error) if matches!(error.failure, ProxyFailure::Silent(_)) => ErrorKind::Timeout,
        _ => ErrorKind::Network,
    };
    let said = Error::new(kind, tried);
    if error.before.is_some() {
        return said.because(error);
    }
    match error.failure {
        OpenFailure::Unreachable(error) | OpenFailure::Tls(error) | OpenFailure::Broken(error) => {
            said.because(error)
        }
        failure => said.because(failure),
    }
}

const ELSEWHERE: &str = "it names another place for this";

/// What became of a message.
pub(super) fn outcome(outcome: Result<Outcome, SendError>) -> Result<(), Error> {
    const TRIED: &str = "the hub did not accept it";
    match outcome {
        Ok(Outcome::Accepted(_)) => Ok(()),
        Ok(Outcome::Rejected(rejected)) => Err(match rejected.error {
            Some(error) => refusal(&error).into_error(TRIED, Scope::Message),
            None => Error::new(ErrorKind::Refused, TRIED).because(Cause("it gave no reason".into())),
        }),
        // Not taken, and nothing wrong with the message.
        Ok(Outcome::Released(_) | Outcome::Modified(_)) => {
            Err(Error::new(ErrorKind::Unavailable, TRIED).because(Cause("it released the message".into())))
        }
        Err(error) => Err(Failure::from(error).after_sending()),
    }
}

pub(super) fn refusal(error: &definitions::Error) -> Refusal {
    let tracking_id = error.info.as_deref().and_then(|info| {
        info.iter().find(|(key, _)| key.as_str() == "com.microsoft:tracking-id").and_then(|(_, value)| {
            match value {
                Value::String(text) => Some(text.as_str()),
                _ => None,
            }
        })
    });
    Refusal::new(condition(&error.condition).as_str(), error.description.as_deref(), tracking_id)
}

fn condition(condition: &ErrorCondition) -> Symbol {
    match condition {
        ErrorCondition::AmqpError(error) => error.into(),
        ErrorCondition::ConnectionError(error) => error.into(),
        ErrorCondition::SessionError(error) => error.into(),
        ErrorCondition::LinkError(error) => error.into(),
        ErrorCondition::Custom(symbol) => symbol.clone(),
    }
}

impl From<&definitions::Error> for Failure {
    fn from(error: &definitions::Error) -> Self {
        let redirect = match &error.condition {
            ErrorCondition::LinkError(LinkError::Redirect) => Redirect::from_error(error),
            _ => None,
        };
        redirect.map_or_else(|| Self::Refused(refusal(error)), Self::Redirected)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::RemoteClosedWithError(error) => Self::from(&error),
            OpenError::RemoteClosed => {
                Self::known(ErrorKind::Disconnected, "the hub closed the connection without a reason")
            }
            OpenError::Io(error) | OpenError::TransportError(transport::Error::Io(error)) => {
                Self::Io(ErrorKind::Network, error)
            }
            OpenError::TransportError(error) => Self::known(ErrorKind::Disconnected, error.to_string()),
            OpenError::ProtocolHeaderMismatch(header) => {
                Self::known(ErrorKind::Protocol, format!("it answered {header:?} where AMQP 1.0 begins"))
            }
            other => Self::known(ErrorKind::Protocol, other.to_string()),
        }
    }
}

impl From<BeginError> for Failure {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::RemoteEndedWithError(error) => Self::from(&error),
            BeginError::ConnectionStopped(reason) => Self::from(&reason),
            other => Self::known(ErrorKind::Protocol, other.to_string()),
        }
    }
}

impl From<SenderAttachError> for Failure {
    fn from(error: SenderAttachError) -> Self {
        match error {
            SenderAttachError::RemoteClosedWithError(error) => Self::from(&error),
            SenderAttachError::SessionStopped(reason) => Self::from(&reason),
            other => Self::known(ErrorKind::Protocol, other.to_string()),
        }
    }
}

impl From<ReceiverAttachError> for Failure {
    fn from(error: ReceiverAttachError) -> Self {
        match error {
            ReceiverAttachError::RemoteClosedWithError(error) => Self::from(&error),
            ReceiverAttachError::SessionStopped(reason) => Self::from(&reason),
            other => Self::known(ErrorKind::Protocol, other.to_string()),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::LinkStateError(error) => Self::from(error),
            SendError::Detached(error) => Self::from(error),
            SendError::MessageSizeExceeded(exceeded) => Self::known(
                ErrorKind::TooLarge,
                format!("it has {} bytes, and the hub takes {}", exceeded.size, exceeded.max_size),
            ),
            other => Self::known(ErrorKind::Protocol, other.to_string()),
        }
    }
}

impl From<RecvError> for Failure {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::LinkStateError(error) => Self::from(error),
            other => Self::known(ErrorKind::Protocol, other.to_string()),
        }
    }
}

impl From<LinkStateError> for Failure {
    fn from(error: LinkStateError) -> Self {
        match error {
            LinkStateError::RemoteDetachedWithError(error) | LinkStateError::RemoteClosedWithError(error) => {
                Self::from(&error)
            }
            LinkStateError::SessionStopped(reason) => Self::from(&reason),
            LinkStateError::RemoteDetached | LinkStateError::RemoteClosed => {
                Self::known(ErrorKind::Disconnected, "the hub closed the link without a reason")
            }
            // The library's names for a link that is gone without its knowing why.
            LinkStateError::IllegalState | LinkStateError::ExpectImmediateDetach => lost(),
        }
    }
}

impl From<IllegalLinkStateError> for Failure {
    fn from(error: IllegalLinkStateError) -> Self {
        LinkStateError::from(error).into()
    }
}

impl From<DetachError> for Failure {
    fn from(error: DetachError) -> Self {
        LinkStateError::from(error).into()
    }
}

impl From<&SessionStopReason> for Failure {
    fn from(reason: &SessionStopReason) -> Self {
        match reason {
            SessionStopReason::EndedWithError(error) | SessionStopReason::RemoteEndedWithError(error) => {
                Self::from(error)
            }
            SessionStopReason::ConnectionStopped(reason) => Self::from(reason),
            SessionStopReason::Ended | SessionStopReason::RemoteEnded => {
                Self::known(ErrorKind::Disconnected, "the hub ended the session without a reason")
            }
        }
    }
}

impl From<&ConnectionStopReason> for Failure {
    fn from(reason: &ConnectionStopReason) -> Self {
        match reason {
            ConnectionStopReason::ClosedWithError(error)
            | ConnectionStopReason::RemoteClosedWithError(error) => Self::from(error),
            ConnectionStopReason::RemoteClosed => {
                Self::known(ErrorKind::Disconnected, "the hub closed the connection without a reason")
            }
            ConnectionStopReason::Closed => lost(),
        }
    }
}

impl From<fe2o3_amqp::session::Error> for Failure {
    fn from(error: fe2o3_amqp::session::Error) -> Self {
        Self::known(ErrorKind::Disconnected, error.to_string())
    }
}

impl From<fe2o3_amqp::connection::Error> for Failure {
    fn from(error: fe2o3_amqp::connection::Error) -> Self {
        Self::known(ErrorKind::Disconnected, error.to_string())
    }
}

fn lost() -> Failure {
    Failure::known(ErrorKind::Disconnected, "the connection broke")
}
