//! This file defines which outcomes of a cloud-to-device message its sender wants to hear of.

use std::fmt;
use std::str::FromStr;

/// The feedback a back end asks for with a cloud-to-device message (`iothub-ack` on the wire).
///
/// Source: *Send cloud-to-device messages from an IoT hub*, "Message feedback".
///
/// ```
/// # use iothub_models::{Acknowledgement, C2dMessage};
/// let message = C2dMessage { ack: Some(Acknowledgement::Full), ..C2dMessage::new("hello") };
/// assert_eq!("positive".parse(), Ok(Acknowledgement::Positive));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Acknowledgement {
    /// No feedback (the default).
    #[default]
    None,
    /// Feedback when the device completed the message.
    Positive,
    /// Feedback when the message expired or was rejected.
    Negative,
    /// Feedback in both cases.
    Full,
}

impl Acknowledgement {
    /// The word used on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is none of `none`, `positive`, `negative`, `full`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown acknowledgement kind {0:?}: use none, positive, negative or full")]
pub struct UnknownAcknowledgement(String);

impl FromStr for Acknowledgement {
    type Err = UnknownAcknowledgement;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::None, Self::Positive, Self::Negative, Self::Full]
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownAcknowledgement(text.chars().take(32).collect()))
    }
}
