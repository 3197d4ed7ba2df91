//! [`StartError`] says why a hub cannot start.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::config::{ConsumerGroupError, NotAHostName};
use crate::core::policies::NoRandomness;
use crate::core::refusal::HubError;
use crate::core::routes::RouteError;
use crate::device_cas::NotACa;
use crate::ports::PortError;
use crate::state_dir::StateError;
use crate::tls::CertificateError;

/// The hub cannot start. `Display` says which part cannot be had and what to do, in one line;
/// `source()` says what the system answered.
#[derive(Debug)]
pub struct StartError(Why);

#[derive(Debug)]
pub(crate) enum Why {
    HostName(NotAHostName),
    ConsumerGroup(ConsumerGroupError),
    OwnerKey,
    State(StateError),
    Certificates(CertificateError),
    /// The file with a CA of devices cannot be read.
    DeviceCaFile {
        path: PathBuf,
        error: io::Error,
    },
    /// A text is not a CA of devices; it has a path if it came from a file.
    DeviceCa {
        path: Option<PathBuf>,
        fault: NotACa,
    },
    Port(PortError),
    Device(HubError),
    Route(RouteError),
    NoRandomness(NoRandomness),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::HostName(error) => error.fmt(f),
            Why::ConsumerGroup(error) => error.fmt(f),
            Why::OwnerKey => f.write_str("the owner key must be base64 of 16 to 64 bytes"),
            Why::State(error) => error.fmt(f),
            Why::Certificates(error) => write!(f, "the hub's certificates cannot be used: {error}"),
            Why::DeviceCaFile { path, .. } => {
                write!(f, "the file {path:?} with a CA of devices cannot be read")
            }
            Why::DeviceCa { path: Some(path), fault } => {
                write!(f, "the file {path:?} has no CA of devices: {fault}")
            }
            Why::DeviceCa { path: None, fault } => write!(f, "a CA of devices cannot be used: {fault}"),
            Why::Port(error) => error.fmt(f),
            Why::Device(error) => write!(f, "a device cannot be created: {error}"),
            Why::Route(error) => error.fmt(f),
            Why::NoRandomness(error) => error.fmt(f),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Why::State(error) => error.source(),
            Why::Certificates(error) => error.source(),
            Why::Port(error) => error.source(),
            Why::DeviceCaFile { error, .. } => Some(error),
            Why::HostName(_)
            | Why::ConsumerGroup(_)
            | Why::OwnerKey
            | Why::DeviceCa { .. }
            | Why::Device(_)
            | Why::Route(_)
            | Why::NoRandomness(_) => None,
        }
    }
}

impl From<Why> for StartError {
    fn from(why: Why) -> Self {
        Self(why)
    }
}

macro_rules! from {
    ($($error:ty => $variant:ident),* $(,)?) => {
        $(impl From<$error> for Why {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

from! {
    NotAHostName => HostName,
    ConsumerGroupError => ConsumerGroup,
    StateError => State,
    CertificateError => Certificates,
    PortError => Port,
    HubError => Device,
    RouteError => Route,
    NoRandomness => NoRandomness,
}
