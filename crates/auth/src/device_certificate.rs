//! This file reads the X.509 certificate with which a device proves who it is, and the private key that belongs to it.
//!
//! Programs read one from two PEM files or from PEM text, and give it to the builder of their client;
//! [`client_config_with`](crate::client_config_with) makes TLS present it. A certificate that TLS could not present is
//! refused here, before a connection is tried, with the name of the file and what to do. Whether the hub takes the
//! certificate is not decided here: the hub compares thumbprints, names and times.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

mod error;
#[cfg(test)]
pub(crate) mod tests;

pub use error::{DeviceCertificateDefect, DeviceCertificateError};

/// The most bytes that a file of certificates or keys may have. A chain has a few thousand.
const MAX_BYTES: u64 = 1024 * 1024;

/// A device's or module's X.509 certificate, the certificates of the CAs between it and its root, and its private key.
///
/// Cheap to clone; clones share the key. `Debug` shows no part of the key. What was read of the files, and the
/// decoded key, are wiped from memory; the key stays there in the form that the cryptography library signs with.
///
/// ```no_run
/// use iothub_auth::DeviceCertificate;
///
/// let certificate = DeviceCertificate::from_pem_files("my-device.pem", "my-device.key.pem")?;
/// # Ok::<_, iothub_auth::DeviceCertificateError>(())
/// ```
#[derive(Clone)]
pub struct DeviceCertificate(Arc<CertifiedKey>);

impl DeviceCertificate {
    /// Reads a certificate and its key from two PEM files, which may be one and the same.
    ///
    /// The file of the certificate has the device's own certificate first, and behind it the intermediate CAs, each
    /// before the one that issued it. The key is PKCS#8 (`PRIVATE KEY`), SEC1 (`EC PRIVATE KEY`) or PKCS#1
    /// (`RSA PRIVATE KEY`), and not encrypted.
    ///
    /// # Errors
    /// [`DeviceCertificateError`], which names the file, if one cannot be read, or if TLS could not present them.
    pub fn from_pem_files(
        certificate_file: impl AsRef<Path>,
        key_file: impl AsRef<Path>,
    ) -> Result<Self, DeviceCertificateError> {
        let (certificate_file, key_file) = (certificate_file.as_ref(), key_file.as_ref());
        let certificates = named("the certificate file", certificate_file);
        let key = named("the key file", key_file);
        let chain_pem = read(certificate_file).map_err(|source| error::unreadable(&certificates, source))?;
        let key_pem = read(key_file).map_err(|source| error::unreadable(&key, source))?;
        parse((&certificates, &chain_pem), (&key, &key_pem))
    }

    /// Reads a certificate and its key from PEM text, which has the form of the files that
    /// [`from_pem_files`](Self::from_pem_files) reads. Both may be in one text.
    ///
    /// # Errors
    /// [`DeviceCertificateError`] if TLS could not present them.
    pub fn from_pem(
        certificates: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, DeviceCertificateError> {
        let (certificates, key) = (certificates.as_ref(), key.as_ref());
        parse(("the text of the certificate", certificates), ("the text of the key", key))
    }

    /// Returns the certificate as rustls presents it.
    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.0
    }
}

impl fmt::Debug for DeviceCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceCertificate").field("certificates", &self.0.cert.len()).finish_non_exhaustive()
    }
}

fn named(what: &str, path: &Path) -> String {
    format!("{what} {}", path.display())
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    // With room for the whole file, so that no part of a key is left behind where the buffer was before it grew.
    let length = file.metadata()?.len().min(MAX_BYTES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1));
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if read as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// Reads both texts. Each comes with the name that an error gives it.
fn parse(
    (certificate_name, certificates): (&str, &[u8]),
    (key_name, key): (&str, &[u8]),
) -> Result<DeviceCertificate, DeviceCertificateError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|defect| error::not_pem(certificate_name, &defect))?;
    if chain.is_empty() {
        return Err(error::no_certificate(certificate_name, certificates));
    }
    if error::is_encrypted(key) {
        return Err(error::encrypted_key(key_name));
    }
    let key = match PrivateKeyDer::pem_slice_iter(key).next() {
        Some(Ok(key)) => key,
        Some(Err(defect)) => return Err(error::not_pem(key_name, &defect)),
        None => return Err(error::no_key(key_name, key)),
    };
    // `CertifiedKey::from_der` does the same, but takes the bytes of the key and drops them without wiping them.
    let key = Zeroizing::new(key);
    let signing = rustls::crypto::ring::sign::any_supported_type(&key);
    let signing = signing.map_err(|_| error::unusable_key(key_name))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) => Ok(DeviceCertificate(Arc::new(certified))),
        Err(rustls::Error::InconsistentKeys(_)) => Err(error::other_key(key_name, certificate_name)),
        Err(_) => Err(error::unusable_certificate(certificate_name)),
    }
}
