//! This file reads a setting of a program from an environment variable, and says what is wrong with it.
//!
//! Programs call [`from_env`] once for each variable. The clients' crates re-export it, so that a program needs
//! nothing beside its client. An error begins with the reason: the variable is not set, or it is set and cannot be
//! used for some reason. It ends with advice on where to get the right value. It never holds the value.

use std::convert::Infallible;
use std::env::{self, VarError};
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use iothub_models::DeviceId;

use crate::connection_string::{DeviceConnectionString, EventHubsConnectionString, ServiceConnectionString};
use crate::device_certificate::DeviceCertificate;
use crate::error::ConnectionStringError;
use crate::report::Report;

/// A value that programs read from an environment variable with [`from_env`].
pub trait Setting: FromStr {
    /// The name of the value in an error: "the device's connection string".
    const WHAT: &'static str;

    /// A sentence, without a full stop, that says where to get the value.
    const ORIGIN: &'static str;

    /// Returns why the text could not be read, without the text.
    fn reason(error: Self::Err) -> String;
}

impl Setting for DeviceConnectionString {
    const WHAT: &'static str = "the device's connection string";
    const ORIGIN: &'static str = "On a local hub `iothub device create my-device` registers a device, and \
                                  `iothub device connection-string show my-device` prints its string; \
                                  for a hub in Azure the portal shows it on the device's page";

    fn reason(error: ConnectionStringError) -> String {
        error.defect().to_string()
    }
}

impl Setting for ServiceConnectionString {
    const WHAT: &'static str = "the hub's connection string";
    const ORIGIN: &'static str = "A local hub prints it when it starts (`cargo xtask hub`); for a hub in Azure the \
                                  portal shows it under \"Shared access policies\"";

    fn reason(error: ConnectionStringError) -> String {
        error.defect().to_string()
    }
}

impl Setting for EventHubsConnectionString {
    const WHAT: &'static str = "the Event Hubs-compatible connection string";
    const ORIGIN: &'static str = "A local hub writes it into its ready file (`--ready-file FILE`); for a hub in Azure \
                                  the portal shows it under \"Built-in endpoints\"";

    fn reason(error: ConnectionStringError) -> String {
        error.defect().to_string()
    }
}

impl Setting for DeviceId {
    const WHAT: &'static str = "the id of a registered device";
    const ORIGIN: &'static str =
        "`iothub device create my-device` registers one, and `iothub device list` lists them";

    fn reason(error: Self::Err) -> String {
        error.to_string()
    }
}

/// Returns the value of the environment variable `name`.
///
/// # Errors
/// [`SettingError`] if the variable is not set, or if its value cannot be used.
///
/// # Examples
/// ```no_run
/// use iothub_auth::{DeviceConnectionString, from_env};
///
/// let device: DeviceConnectionString = from_env("IOTHUB_DEVICE_CONNECTION_STRING")?;
/// # Ok::<_, iothub_auth::SettingError>(())
/// ```
pub fn from_env<T: Setting>(name: &str) -> Result<T, SettingError> {
    read(name, env::var(name))
}

fn read<T: Setting>(name: &str, value: Result<String, VarError>) -> Result<T, SettingError> {
    let problem = match value {
        Ok(text) if text.trim().is_empty() => Problem::Unusable("it is empty".to_owned()),
        Ok(text) => match text.parse() {
            Ok(value) => return Ok(value),
            Err(error) => Problem::Unusable(T::reason(error)),
        },
        Err(VarError::NotPresent) => Problem::NotSet,
        // The error of the standard library would show the value.
        Err(VarError::NotUnicode(_)) => Problem::Unusable("it is not UTF-8 text".to_owned()),
    };
    Err(SettingError { name: name.to_owned(), problem, what: T::WHAT, origin: T::ORIGIN })
}

/// Returns the value of the environment variable `name`, or `None` if the variable is not set.
///
/// # Errors
/// [`SettingError`] if the value cannot be used.
///
/// # Examples
/// ```no_run
/// use iothub_auth::{DeviceConnectionString, optional_from_env};
///
/// let device: Option<DeviceConnectionString> = optional_from_env("IOTHUB_DEVICE_CONNECTION_STRING")?;
/// # Ok::<_, iothub_auth::SettingError>(())
/// ```
pub fn optional_from_env<T: Setting>(name: &str) -> Result<Option<T>, SettingError> {
    optional(from_env(name))
}

fn optional<T>(value: Result<T, SettingError>) -> Result<Option<T>, SettingError> {
    match value {
        Err(error) if error.is_not_set() => Ok(None),
        value => value.map(Some),
    }
}

/// Returns the certificate whose PEM files the environment variables `certificate` and `key` name.
///
/// # Errors
/// [`SettingError`] if one of the variables is not set, or if its file cannot be used.
///
/// # Examples
/// ```no_run
/// use iothub_auth::certificate_from_env;
///
/// let certificate = certificate_from_env("IOTHUB_X509_CERT", "IOTHUB_X509_KEY")?;
/// # Ok::<_, iothub_auth::SettingError>(())
/// ```
pub fn certificate_from_env(certificate: &str, key: &str) -> Result<DeviceCertificate, SettingError> {
    read_certificate((certificate, env::var(certificate)), (key, env::var(key)))
}

fn read_certificate(
    (certificate_name, certificate): (&str, Result<String, VarError>),
    (key_name, key): (&str, Result<String, VarError>),
) -> Result<DeviceCertificate, SettingError> {
    let certificate: CertificateFile = read(certificate_name, certificate)?;
    let key: KeyFile = read(key_name, key)?;
    DeviceCertificate::from_pem_files(certificate.0, key.0).map_err(|error| {
        let problem = Problem::Unusable(format!("{:#}", Report::new(&error)));
        if error.is_of_key() {
            SettingError { name: key_name.to_owned(), problem, what: KeyFile::WHAT, origin: KeyFile::ORIGIN }
        } else {
            let (what, origin) = (CertificateFile::WHAT, CertificateFile::ORIGIN);
            SettingError { name: certificate_name.to_owned(), problem, what, origin }
        }
    })
}

/// The path of the PEM file of a device's certificate.
struct CertificateFile(PathBuf);

/// The path of the PEM file of a device's private key.
struct KeyFile(PathBuf);

impl FromStr for CertificateFile {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}

impl FromStr for KeyFile {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}

impl Setting for CertificateFile {
    const WHAT: &'static str = "the PEM file with the device's certificate and its intermediate CAs, since its connection string says x509=true";
    const ORIGIN: &'static str = "For a local hub `cargo xtask certs DIRECTORY` makes certificates";

    fn reason(error: Infallible) -> String {
        match error {}
    }
}

impl Setting for KeyFile {
    const WHAT: &'static str = "the PEM file with the private key of the device's certificate";
    const ORIGIN: &'static str =
        "`cargo xtask certs DIRECTORY` writes it beside the certificate, as ….key.pem";

    fn reason(error: Infallible) -> String {
        match error {}
    }
}

/// The error of an environment variable that gives no usable value.
///
/// ```
/// use iothub_auth::{DeviceConnectionString, SettingError, from_env};
///
/// let missing: SettingError = from_env::<DeviceConnectionString>("A_VARIABLE_THAT_IS_NOT_SET").unwrap_err();
/// assert!(missing.to_string().starts_with("A_VARIABLE_THAT_IS_NOT_SET is not set"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    name: String,
    problem: Problem,
    what: &'static str,
    origin: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    NotSet,
    Unusable(String),
}

impl SettingError {
    /// Returns whether the variable is not set at all.
    #[must_use]
    pub const fn is_not_set(&self) -> bool {
        matches!(self.problem, Problem::NotSet)
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, problem, what, origin } = self;
        match problem {
            Problem::NotSet => write!(f, "{name} is not set. Set it to {what}. {origin}"),
            Problem::Unusable(reason) => {
                write!(f, "{name} is set and cannot be used: {reason}. It has to be {what}. {origin}")
            }
        }
    }
}

impl Error for SettingError {}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "c2VjcmV0LWtleQ==";

    fn device(value: Result<String, VarError>) -> String {
        read::<DeviceConnectionString>("NAME", value).unwrap_err().to_string()
    }

    #[test]
    fn a_variable_that_is_set_is_not_called_unset() {
        let unset = device(Err(VarError::NotPresent));
        assert!(unset.starts_with("NAME is not set. Set it to the device's connection string. "), "{unset}");
        for (value, expected) in [
            (
                "",
                "NAME is set and cannot be used: it is empty. It has to be the device's connection string. ",
            ),
            (" \n", "NAME is set and cannot be used: it is empty. "),
            ("HostName=h;DeviceId=d", "NAME is set and cannot be used: it holds no proof of identity"),
            ("export X='HostName=h;DeviceId=d", "NAME is set and cannot be used: it begins with the command"),
        ] {
            let error = device(Ok(value.to_owned()));
            assert!(error.starts_with(expected), "{error}");
            assert!(error.contains("`iothub device connection-string show my-device`"), "{error}");
        }
        let id = read::<DeviceId>("ID", Ok("a/b".to_owned())).unwrap_err();
        assert!(id.to_string().starts_with("ID is set and cannot be used: the id holds '/'"), "{id}");
        assert!(!id.is_not_set());
        let hub = read::<ServiceConnectionString>("HUB", Err(VarError::NotPresent)).unwrap_err();
        assert!(hub.is_not_set() && hub.to_string().contains("`cargo xtask hub`"), "{hub}");
    }

    #[cfg(unix)]
    #[test]
    fn text_that_is_not_unicode_is_named_and_not_shown() {
        use std::ffi::OsString;
        use std::os::unix::ffi::OsStringExt as _;

        let value =
            OsString::from_vec([format!("HostName=h;SharedAccessKey={KEY}").as_bytes(), b"\xff"].concat());
        let error = read::<DeviceConnectionString>("NAME", Err(VarError::NotUnicode(value))).unwrap_err();
        assert!(
            error.to_string().starts_with("NAME is set and cannot be used: it is not UTF-8 text"),
            "{error}"
        );
        assert!(!format!("{error} {error:?}").contains(KEY));
    }

    #[test]
    fn what_can_be_read_is_given() {
        let text = format!("HostName=h;DeviceId=d;SharedAccessKey={KEY}");
        let device: DeviceConnectionString = read("NAME", Ok(text)).unwrap();
        assert_eq!(device.device_id.as_str(), "d");
    }

    #[test]
    fn a_variable_that_may_be_missing_is_none_and_a_wrong_one_is_an_error() {
        assert_eq!(optional(read::<DeviceId>("ID", Err(VarError::NotPresent))).unwrap(), None);
        assert_eq!(optional(read::<DeviceId>("ID", Ok("d1".to_owned()))).unwrap().unwrap().as_str(), "d1");
        optional(read::<DeviceId>("ID", Ok("a/b".to_owned()))).unwrap_err();
    }

    #[test]
    fn the_variable_whose_file_is_wrong_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = crate::device_certificate::tests::made();
        let write = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let certificate = write("d1.pem", certificate);
        let key = write("d1.key.pem", key);
        let gone = directory.path().join("gone").to_str().unwrap().to_owned();
        let read = |certificate, key| read_certificate(("CERT", certificate), ("KEY", key));
        read(Ok(certificate.clone()), Ok(key.clone())).unwrap();
        let unset = || Err(VarError::NotPresent);
        for (certificate, key, expected) in [
            (unset(), Ok(key.clone()), "CERT is not set. Set it to the PEM file"),
            (Ok(certificate.clone()), unset(), "KEY is not set. Set it to the PEM file with the private key"),
            (Ok(gone.clone()), Ok(key.clone()), "CERT is set and cannot be used: the certificate file"),
            (Ok(certificate.clone()), Ok(gone), "KEY is set and cannot be used: the key file"),
            (Ok(certificate.clone()), Ok(certificate), "KEY is set and cannot be used: the key file"),
            (Ok(key.clone()), Ok(key), "CERT is set and cannot be used: the certificate file"),
        ] {
            let error = read(certificate, key).unwrap_err().to_string();
            assert!(error.starts_with(expected) && error.contains("`cargo xtask certs"), "{error}");
        }
    }
}
