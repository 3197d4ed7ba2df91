//! This file opens connections to a hub on this machine, with and without TLS, and with a client certificate where a
//! test has one. What is said on them is left to the
//! peers; a connection whose bytes are typed by the test itself needs no peer.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::ClientCertificate;
use crate::wire::{PATIENCE, Stream, in_time};

/// The trust in one hub's CA, with which any number of TLS connections is opened. They share sessions, so that a later
/// handshake may be a shorter one.
#[derive(Clone)]
pub struct Trust(TlsConnector);

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Trust").finish()
    }
}

impl Trust {
    /// Returns the trust in the certificates of a PEM file and in no others: TLS 1.2 and 1.3, with ring, and without a
    /// certificate of the client.
    ///
    /// # Errors
    /// If the file cannot be read, or holds no certificate that can be trusted.
    pub fn in_file(ca_file: &Path) -> Result<Self> {
        Self::made(ca_file, None, rustls::ALL_VERSIONS)
    }

    /// Returns the same trust as [`in_file`](Self::in_file), with a certificate that the client presents when the hub
    /// asks for one.
    ///
    /// # Errors
    /// As [`in_file`](Self::in_file), and if the certificate and its key do not fit.
    pub fn with_certificate(ca_file: &Path, certificate: &ClientCertificate) -> Result<Self> {
        Self::made(ca_file, Some(certificate), rustls::ALL_VERSIONS)
    }

    /// Returns the same trust as [`with_certificate`](Self::with_certificate), for TLS 1.2 alone.
    ///
    /// # Errors
    /// As [`with_certificate`](Self::with_certificate).
    pub fn with_certificate_over_tls12(ca_file: &Path, certificate: &ClientCertificate) -> Result<Self> {
        Self::made(ca_file, Some(certificate), &[&rustls::version::TLS12])
    }

    fn made(
        ca_file: &Path,
        certificate: Option<&ClientCertificate>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self> {
        let invalid = |error: String| {
            Error::new(ErrorKind::InvalidData, format!("the CA file {}: {error}", ca_file.display()))
        };
        let mut roots = RootCertStore::empty();
        let certificates =
            CertificateDer::pem_file_iter(ca_file).map_err(|error| invalid(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            roots.add(certificate).map_err(|error| invalid(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(invalid("there is no certificate in it".to_owned()));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .map_err(|error| invalid(error.to_string()))?
            .with_root_certificates(roots);
        let config = match certificate {
            None => config.with_no_client_auth(),
            Some(certificate) => {
                let chain = certificate.chain().iter().cloned().map(CertificateDer::from).collect();
                let key = PrivateKeyDer::from_pem_slice(certificate.key_pem().as_bytes());
                let key = key.map_err(Error::other)?;
                config.with_client_auth_cert(chain, key).map_err(Error::other)?
            }
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Does the handshake on a stream, with a hub whose certificate is for `localhost`.
    ///
    /// # Errors
    /// If the handshake fails, or does not end within [`PATIENCE`].
    pub async fn handshake<S: Stream>(&self, stream: S) -> Result<TlsStream<S>> {
        let name = ServerName::try_from("localhost").map_err(Error::other)?;
        in_time(PATIENCE, "the TLS handshake did not end", self.0.connect(name, stream)).await
    }

    /// Opens a TLS connection to a port of this machine.
    ///
    /// # Errors
    /// If nothing listens there, or the handshake fails, or either does not end within [`PATIENCE`].
    pub async fn try_connect(&self, port: u16) -> Result<TlsStream<TcpStream>> {
        self.handshake(try_tcp(port).await?).await
    }
}

/// Opens a TLS connection to a port of this machine, and trusts the certificates of a PEM file.
///
/// # Panics
/// If the file holds no certificate, or nothing listens there, or the handshake fails or takes too long.
pub async fn connect(port: u16, ca_file: &Path) -> TlsStream<TcpStream> {
    let trust = Trust::in_file(ca_file).expect("the CA file can be used");
    trust.try_connect(port).await.expect("the hub takes TLS connections on this port")
}

/// Opens a TCP connection to a port of this machine.
///
/// # Panics
/// If nothing listens there, or that takes too long.
pub async fn tcp(port: u16) -> TcpStream {
    try_tcp(port).await.expect("the hub takes connections on this port")
}

/// Opens a TCP connection to a port of this machine. It sends small packets at once.
///
/// # Errors
/// If nothing listens there, or the connection is not there within [`PATIENCE`].
pub async fn try_tcp(port: u16) -> Result<TcpStream> {
    let stream = in_time(PATIENCE, "no connection was made", TcpStream::connect(("127.0.0.1", port))).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let message = || Trust::in_file(&file).unwrap_err().to_string();
        assert!(message().starts_with(&format!("the CA file {}: ", file.display())), "{}", message());
        std::fs::write(&file, "no certificate").unwrap();
        assert!(message().ends_with("there is no certificate in it"), "{}", message());
    }
}
