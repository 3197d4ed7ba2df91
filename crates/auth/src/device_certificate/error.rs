//! This file says why a device's certificate or its key cannot be used.
//!
//! The parser of certificates makes these errors. Each text names the file, what was expected in it, and what to do. No
//! text repeats anything of a file, since it could be a key.

use std::io;

use rustls::pki_types::pem;

/// A device's certificate or key that cannot be used.
///
/// ```
/// use iothub_auth::{DeviceCertificate, DeviceCertificateDefect};
///
/// let error = DeviceCertificate::from_pem("", "").unwrap_err();
/// assert_eq!(error.defect(), DeviceCertificateDefect::NoCertificate);
/// assert!(error.to_string().starts_with("the text of the certificate holds no certificate"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct DeviceCertificateError {
    defect: DeviceCertificateDefect,
    text: String,
    #[source]
    source: Option<io::Error>,
}

impl DeviceCertificateError {
    /// Returns the kind of the defect.
    #[must_use]
    pub const fn defect(&self) -> DeviceCertificateDefect {
        self.defect
    }

    /// Returns whether the defect is one of the key or of its file, and not of the certificate.
    pub(crate) fn is_of_key(&self) -> bool {
        use DeviceCertificateDefect as Defect;
        matches!(self.defect, Defect::NoKey | Defect::EncryptedKey | Defect::UnusableKey | Defect::OtherKey)
            || self.text.starts_with("the key file")
    }
}

/// The kinds of defect that keep a device's certificate from being used.
///
/// ```
/// use iothub_auth::{DeviceCertificate, DeviceCertificateDefect};
///
/// let error = DeviceCertificate::from_pem_files("no-such-file.pem", "no-such-file.pem").unwrap_err();
/// assert_eq!(error.defect(), DeviceCertificateDefect::Unreadable);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceCertificateDefect {
    /// A file cannot be read.
    Unreadable,
    /// A section of PEM text is damaged.
    NotPem,
    /// There is no certificate where one was expected.
    NoCertificate,
    /// There is no private key where one was expected.
    NoKey,
    /// The key is encrypted with a password.
    EncryptedKey,
    /// The key is of a kind that TLS cannot use, or it is damaged.
    UnusableKey,
    /// The certificate cannot be read.
    UnusableCertificate,
    /// The key belongs to another certificate.
    OtherKey,
}

use DeviceCertificateDefect as Defect;

fn error(defect: Defect, text: String) -> DeviceCertificateError {
    DeviceCertificateError { defect, text, source: None }
}

pub(super) fn unreadable(name: &str, source: io::Error) -> DeviceCertificateError {
    let text = format!("{name} cannot be read: check its path, and that this user may read it");
    DeviceCertificateError { defect: Defect::Unreadable, text, source: Some(source) }
}

pub(super) fn not_pem(name: &str, defect: &pem::Error) -> DeviceCertificateError {
    let reason = match defect {
        pem::Error::MissingSectionEnd { .. } => "a section has no line -----END …-----",
        pem::Error::IllegalSectionStart { .. } => "a line -----BEGIN …----- is not complete",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "a section cannot be read",
    };
    error(Defect::NotPem, format!("{name} is no proper PEM text, since {reason}: copy the whole file again"))
}

pub(super) fn no_certificate(name: &str, bytes: &[u8]) -> DeviceCertificateError {
    let advice = if is_der(bytes) {
        "it is in DER form: `openssl x509 -inform der -in FILE -out FILE.pem` converts it"
    } else if holds(bytes, "PRIVATE KEY-----") {
        "it holds a private key only: name the file of the certificate here, and this one as the file of the key"
    } else {
        "name the file that your CA or `openssl req -x509` made"
    };
    let text = format!(
        "{name} holds no certificate; expected is PEM text with -----BEGIN CERTIFICATE-----, the device's own \
         certificate first and then its intermediate CAs: {advice}"
    );
    error(Defect::NoCertificate, text)
}

pub(super) fn no_key(name: &str, bytes: &[u8]) -> DeviceCertificateError {
    let advice = if is_der(bytes) {
        "it is in DER form: `openssl pkey -inform der -in FILE -out FILE.pem` converts it"
    } else if holds(bytes, "-----BEGIN CERTIFICATE-----") {
        "it holds certificates only: name the file of the key that was made with the certificate"
    } else {
        "name the file of the key that was made with the certificate"
    };
    let text = format!(
        "{name} holds no private key; expected is PEM text with -----BEGIN PRIVATE KEY-----, EC PRIVATE KEY or RSA \
         PRIVATE KEY: {advice}"
    );
    error(Defect::NoKey, text)
}

/// Returns whether PEM text holds a key that is encrypted, in the form of PKCS#8 or in the older form of OpenSSL.
pub(super) fn is_encrypted(bytes: &[u8]) -> bool {
    holds(bytes, "-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(bytes, "Proc-Type: 4,ENCRYPTED")
}

pub(super) fn encrypted_key(name: &str) -> DeviceCertificateError {
    let text = format!(
        "{name} holds a key that is encrypted with a password, and expected is one that is not: \
         `openssl pkey -in FILE -out NEW_FILE` asks for the password and writes the key without it; let nobody else \
         read the new file"
    );
    error(Defect::EncryptedKey, text)
}

pub(super) fn unusable_key(name: &str) -> DeviceCertificateError {
    let text = format!(
        "{name} holds a key that cannot be used; expected is ECDSA with P-256 or P-384, Ed25519, or RSA with 2,048 to \
         4,096 bits: copy the whole file again, or make a new key and a certificate for it"
    );
    error(Defect::UnusableKey, text)
}

pub(super) fn unusable_certificate(name: &str) -> DeviceCertificateError {
    let text = format!(
        "the first certificate in {name} cannot be read; expected is an X.509 certificate of version 3: copy the whole \
         file again, or make a new certificate"
    );
    error(Defect::UnusableCertificate, text)
}

pub(super) fn other_key(name: &str, certificate_name: &str) -> DeviceCertificateError {
    let text = format!(
        "{name} holds the key of another certificate than the first one in {certificate_name}: give the key that was \
         made with the device's certificate, and put the device's own certificate before those of its CAs"
    );
    error(Defect::OtherKey, text)
}

/// Returns whether the bytes begin as DER structures of more than 127 bytes do.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x81..=0x84, ..])
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
