//! This file lists what can be wrong with a connection string, a SAS token or the trust roots.
//!
//! The parsers of this crate return these errors. Every message names the part that is wrong and what to do about
//! it; no message holds a value, since a value could be a secret.

use std::path::PathBuf;

/// A connection string that cannot be used.
///
/// ```
/// # use iothub_auth::{Defect, DeviceConnectionString};
/// let error = "HostName=localhost".parse::<DeviceConnectionString>().unwrap_err();
/// assert_eq!(*error.defect(), Defect::Missing("DeviceId"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} connection string cannot be used: {defect}")]
pub struct ConnectionStringError {
    pub(crate) kind: &'static str,
    pub(crate) defect: Defect,
}

impl ConnectionStringError {
    /// Returns the exact defect.
    #[must_use]
    pub const fn defect(&self) -> &Defect {
        &self.defect
    }
}

/// One defect of a connection string. It names keys and positions, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// There is no text.
    #[error("it is empty")]
    Empty,
    /// The text is longer than this many bytes.
    #[error("it is longer than {0} bytes, and a connection string has a few hundred: copy it again")]
    TooLong(usize),
    /// The text begins with a byte order mark.
    #[error(
        "it begins with a byte order mark, an invisible character that some editors write at the start of a file: \
         save the file as UTF-8 without it"
    )]
    ByteOrderMark,
    /// A line ends within this part, counted from 1.
    #[error("there is a line break in part {0}: the whole string has to be one line")]
    LineBreak(usize),
    /// This part, counted from 1, begins or ends with a quotation mark.
    #[error(
        "part {0} begins or ends with a quotation mark: leave the quotation marks out, they belong to the command \
         line and not to the string"
    )]
    QuotationMark(usize),
    /// The text is a command that sets a variable, up to the given key: `export NAME=HostName=…`.
    #[error(
        "it begins with the command \"{command}=\": give only what follows, from {key}= on, without quotation marks"
    )]
    Command {
        /// The command, without the `=` at its end.
        command: String,
        /// The key that the connection string begins with.
        key: &'static str,
    },
    /// A part between two semicolons has no `=`.
    #[error("part {0} has no '=': every part is Key=Value, and parts are separated by ';'")]
    NoEquals(usize),
    /// A part does not begin with what could be the name of a key.
    #[error(
        "part {0} does not begin with the name of a key: every part is Key=Value, and parts are separated by ';'"
    )]
    NoKey(usize),
    /// A key that this kind of connection string does not have.
    #[error("part {position} has the unknown key {key:?}; known are {known}")]
    UnknownKey {
        /// The number of the part, from 1.
        position: usize,
        /// The key, without its value.
        key: String,
        /// The keys this kind of string may hold.
        known: String,
    },
    /// A key that is given twice.
    #[error("{0} is given twice")]
    Duplicate(&'static str),
    /// A key that is needed and is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A key without a value.
    #[error("{0} has no value")]
    NoValue(&'static str),
    /// A key whose value is not base64.
    #[error("{0} is not base64: copy it again, with the '=' at its end")]
    NotBase64(&'static str),
    /// A port that is no number from 1 to 65535.
    #[error("{0} is not a port number from 1 to 65535")]
    NotAPort(&'static str),
    /// A host name with a character that no host name has.
    #[error("{0} is not a host name: letters, digits, '-', '.', '_', or an IP address")]
    NotAHost(&'static str),
    /// A host name with a port.
    #[error("{0} holds a port: give ports as MqttsPort=, AmqpsPort= and HttpsPort= instead")]
    HostWithPort(&'static str),
    /// An id that breaks the service's rules.
    #[error("{key} is not valid: {reason}")]
    NotAnId {
        /// The key.
        key: &'static str,
        /// The rule that is broken.
        reason: iothub_models::InvalidId,
    },
    /// `x509` that is neither `true` nor `false`.
    #[error("{0} must be true or false")]
    NotABool(&'static str),
    /// More than one proof of identity.
    #[error("it holds {0} and {1}: give one proof of identity only")]
    TwoCredentials(&'static str, &'static str),
    /// No proof of identity.
    #[error("it holds no proof of identity: {0} is missing")]
    NoCredential(&'static str),
    /// A string of another kind.
    #[error("it is {found} connection string; {remedy}")]
    WrongKind {
        /// The kind that it is instead.
        found: &'static str,
        /// The place to get the right one.
        remedy: &'static str,
    },
    /// `SharedAccessSignature` that is not a SAS token.
    #[error("SharedAccessSignature is not a SAS token: {0}")]
    NotASasToken(SasError),
    /// `Endpoint` that is not `sb://host/`.
    #[error("Endpoint must look like sb://HOST/")]
    NotAnEndpoint,
}

/// A SAS token that cannot be made or does not prove what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SasError {
    /// The key is not base64.
    #[error("the shared access key is not base64: copy it again, with the '=' at its end")]
    KeyNotBase64,
    /// The text does not start with `SharedAccessSignature `.
    #[error("a SAS token starts with \"SharedAccessSignature \"")]
    NotASasToken,
    /// `sr`, `sig` or `se` is missing.
    #[error("the SAS token has no field {0}")]
    Missing(&'static str),
    /// A field is given twice.
    #[error("the SAS token has the field {0} twice")]
    Duplicate(&'static str),
    /// `se` is not a number of seconds.
    #[error("the SAS token's expiry (se) is not a number of seconds since 1970")]
    BadExpiry,
    /// A field is not validly encoded.
    #[error("the SAS token's field {0} is not validly encoded")]
    BadEncoding(&'static str),
    /// The token is longer than any real one.
    #[error("the SAS token is longer than {0} bytes")]
    TooLong(usize),
    /// The time in `se` has passed.
    #[error("the SAS token expired {0} s ago: sign a new one, and check both clocks")]
    Expired(i64),
    /// Signed with another key, or changed since.
    #[error("the SAS token's signature does not match: it was signed with another key")]
    WrongSignature,
    /// `sr` names something else.
    #[error("the SAS token is for another resource (sr)")]
    WrongScope,
}

/// The trust roots cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the trusted CA file {path:?} cannot be used; TrustedCaFile= must name a PEM file with the hub's CA")]
pub struct TlsError {
    pub(crate) path: PathBuf,
    #[source]
    pub(crate) source: std::io::Error,
}
