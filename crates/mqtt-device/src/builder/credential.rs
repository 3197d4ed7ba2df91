//! This file gives a client the certificate with which it proves who it is, and reads the options that the environment
//! names.
//!
//! The builder makes the client's TLS configuration here. A connection string and a certificate that do not go together
//! are refused before a connection is tried.

use std::sync::Arc;

use iothub_auth::{
    DeviceCertificate, DeviceConnectionString, DeviceCredential, SettingError, certificate_from_env,
    client_config, client_config_with, optional_from_env,
};
use rustls::ClientConfig;

use super::{Client, ClientBuilder};
use crate::error::{Error, ErrorKind};

/// The environment variables that [`ClientBuilder::options_from_env`] reads.
const TRANSPORT: &str = "IOTHUB_TRANSPORT";
const CERTIFICATE_FILE: &str = "IOTHUB_X509_CERT";
const KEY_FILE: &str = "IOTHUB_X509_KEY";

impl<C: Client> ClientBuilder<C> {
    /// Sets the certificate with which the device or module proves who it is. The connection string then has `x509=true`
    /// in place of a key, and there is no token to renew.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use iothub_mqtt_device::{DeviceCertificate, DeviceClient};
    ///
    /// let certificate = DeviceCertificate::from_pem_files("my-device.pem", "my-device.key.pem")?;
    /// let client = DeviceClient::builder("HostName=…;DeviceId=my-device;x509=true").certificate(certificate);
    /// let client = client.connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn certificate(mut self, certificate: DeviceCertificate) -> Self {
        self.options.certificate = Some(certificate);
        self
    }

    /// Sets the options that the environment names, for programs whose users choose them:
    ///
    /// | variable | option |
    /// |---|---|
    /// | `IOTHUB_TRANSPORT` | [`transport`](Self::transport): `tcp`, `websocket` or `auto` |
    /// | `IOTHUB_X509_CERT` and `IOTHUB_X509_KEY` | [`certificate`](Self::certificate), as two PEM files. They are read if the connection string says `x509=true` and the program gave no certificate |
    ///
    /// A variable that is not set changes nothing.
    ///
    /// # Errors
    /// [`SettingError`] if a variable cannot be used, or if a certificate is needed and a variable is not set.
    pub fn options_from_env(mut self) -> Result<Self, SettingError> {
        if let Some(transport) = optional_from_env(TRANSPORT)? {
            self.options.transport = transport;
        }
        let needed =
            matches!(&self.identity, Ok(identity) if matches!(identity.credential, DeviceCredential::X509));
        if needed && self.options.certificate.is_none() {
            self.options.certificate = Some(certificate_from_env(CERTIFICATE_FILE, KEY_FILE)?);
        }
        Ok(self)
    }
}

/// Returns the TLS configuration of a client, which presents the certificate if there is one.
pub(super) fn tls(
    identity: &DeviceConnectionString,
    certificate: Option<&DeviceCertificate>,
) -> Result<Arc<ClientConfig>, Error> {
    let invalid = |text: String| Error::of(ErrorKind::InvalidArgument, &identity.device_id, text);
    let ca_file = identity.address.trusted_ca_file.as_deref();
    let tls = match (&identity.credential, certificate) {
        (DeviceCredential::X509, None) => {
            return Err(invalid(format!(
                "{identity} proves itself with a certificate (x509=true), and the program gave none: give one with `.certificate(DeviceCertificate::from_pem_files(CERTIFICATE, KEY)?)` of the builder, or call `.options_from_env()?` and set {CERTIFICATE_FILE} and {KEY_FILE}"
            )));
        }
        (DeviceCredential::X509, Some(certificate)) => client_config_with(ca_file, certificate),
        (_, None) => client_config(ca_file),
        (_, Some(_)) => {
            return Err(invalid(format!(
                "{identity} has two proofs, a certificate and what is in its connection string: give one of them, and for the certificate write x509=true in the string in place of the key or the token"
            )));
        }
    };
    tls.map_err(|error| {
        let text = format!("the hub of {identity} cannot be trusted: check the file and TrustedCaFile=");
        Error::of(ErrorKind::Tls, &identity.device_id, text).because(error)
    })
}
