//! [`Certificate`] is an X.509 certificate with the parts that the hub compares and names: subject, issuer, validity,
//! key, and whether it is a CA's. `tls`, `device_cas` and `authorize` read certificates with it.
//!
//! This file is the only one that names `x509-parser`. It verifies no signature: `webpki` does, in `device_cas`, and
//! rustls for the handshake. Nothing here may panic, whatever bytes a peer sends as its certificate.

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{X509Name, X509Version};

/// The smallest and the largest RSA key, in bits, whose signatures the TLS library verifies.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The sizes of the elliptic curves whose signatures the TLS library verifies: P-256 and P-384.
const CURVE_BITS: [usize; 2] = [256, 384];

/// The object identifier of Ed25519 keys.
const ED25519: &str = "1.3.101.112";

/// The longest text of a name that is shown, in characters. The names are chosen by strangers.
const SHOWN_NAME: usize = 120;

/// The bytes are not a certificate that the hub can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it is not an X.509 certificate")]
    NotACertificate,
    #[error("it is an X.509 certificate of version {0}; make one of version 3, which has extensions")]
    Version(u32),
    #[error("its key is too weak: RSA with {0} bits, where {min} to {max} are needed", min = RSA_BITS.start(), max = RSA_BITS.end())]
    WeakRsa(usize),
    #[error("its key is of a kind that this hub does not verify; use ECDSA P-256 or P-384, Ed25519, or RSA")]
    Key,
}

/// The reason why a certificate is not valid at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotValid {
    #[error("expired at {0}")]
    Expired(Timestamp),
    #[error("is not valid before {0}")]
    NotYet(Timestamp),
}

/// A certificate that was read. It borrows the bytes.
#[derive(Debug)]
pub(crate) struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    /// Reads a certificate from its DER bytes, without any byte after it.
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, Unusable> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(Self(certificate)),
            _ => Err(Unusable::NotACertificate),
        }
    }

    /// Checks that the TLS library can verify what was signed with the certificate's key.
    pub(crate) fn check_key(&self) -> Result<(), Unusable> {
        if self.0.version() != X509Version::V3 {
            return Err(Unusable::Version(self.0.version().0.saturating_add(1)));
        }
        let key = self.0.public_key();
        match key.parsed() {
            Ok(PublicKey::RSA(rsa)) if RSA_BITS.contains(&rsa.key_size()) => Ok(()),
            Ok(PublicKey::RSA(rsa)) => Err(Unusable::WeakRsa(rsa.key_size())),
            Ok(PublicKey::EC(point)) if CURVE_BITS.contains(&point.key_size()) => Ok(()),
            _ if key.algorithm.algorithm.to_id_string() == ED25519 => Ok(()),
            _ => Err(Unusable::Key),
        }
    }

    /// Checks that the certificate is valid at an instant; both ends of its validity belong to it.
    pub(crate) fn check_validity(&self, now: Timestamp) -> Result<(), NotValid> {
        let validity = self.0.validity();
        let seconds = now.as_second();
        if seconds < validity.not_before.timestamp() {
            return Err(NotValid::NotYet(time(validity.not_before.timestamp())));
        }
        if seconds > validity.not_after.timestamp() {
            return Err(NotValid::Expired(time(validity.not_after.timestamp())));
        }
        Ok(())
    }

    /// Returns the common name of the subject; `None` if it has none, or several, or one that is not text.
    pub(crate) fn common_name(&self) -> Option<&str> {
        let mut names = self.0.subject().iter_common_name();
        let only = names.next()?;
        if names.next().is_some() {
            return None;
        }
        only.as_str().ok()
    }

    /// Returns the subject as text for a message, cut where it is long.
    pub(crate) fn subject(&self) -> String {
        shown(self.0.subject())
    }

    /// Returns the issuer as text for a message, cut where it is long.
    pub(crate) fn issuer(&self) -> String {
        shown(self.0.issuer())
    }

    /// Returns whether the names say that `issuer` issued this certificate. Nothing is proven by it.
    pub(crate) fn names_as_issuer(&self, issuer: &Certificate<'_>) -> bool {
        self.0.issuer().as_raw() == issuer.0.subject().as_raw()
    }

    /// Returns whether the certificate names itself as its issuer, as a root does.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.0.issuer().as_raw() == self.0.subject().as_raw()
    }

    /// Returns whether the certificate is a CA's, which may issue certificates.
    pub(crate) fn may_issue(&self) -> bool {
        let usage = match self.0.key_usage() {
            Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
            Err(_) => false,
        };
        usage && matches!(self.0.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca)
    }

    /// Returns the number of CAs that may stand between this CA and a device; `None` if any number may.
    pub(crate) fn path_length(&self) -> Option<u32> {
        let constraints = self.0.basic_constraints().ok().flatten()?;
        constraints.value.path_len_constraint
    }
}

/// Returns an instant; the nearest one that can be told if it lies beyond. Certificates that never expire end in the
/// last second of the year 9999.
fn time(seconds: i64) -> Timestamp {
    let beyond = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(seconds).unwrap_or(beyond)
}

fn shown(name: &X509Name<'_>) -> String {
    let text = name.to_string();
    match text.char_indices().nth(SHOWN_NAME) {
        None => text,
        Some((end, _)) => format!("{}\u{2026}", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use iothub_testkit::certificates::{Authority, ClientCertificate};

    use super::*;

    #[test]
    fn a_certificate_is_read_with_its_names_and_its_times() {
        let root = Authority::root("the root");
        let made = root.issue("d1");
        let read = Certificate::read(made.leaf()).unwrap();
        assert_eq!((read.common_name(), read.subject().as_str()), (Some("d1"), "CN=d1"));
        assert_eq!(read.issuer(), "CN=the root");
        assert!(!read.is_self_issued() && !read.may_issue());
        assert_eq!(read.check_key(), Ok(()));
        let own = Certificate::read(root.der()).unwrap();
        assert!(own.is_self_issued() && own.may_issue() && read.names_as_issuer(&own));
        assert!(!own.names_as_issuer(&read));
    }

    #[test]
    fn both_ends_of_the_validity_belong_to_it() {
        let made = ClientCertificate::self_signed_between("d1", 1_000, 2_000);
        let read = Certificate::read(made.leaf()).unwrap();
        let at = |seconds| read.check_validity(Timestamp::from_second(seconds).unwrap());
        assert_eq!(at(999), Err(NotValid::NotYet(Timestamp::from_second(1_000).unwrap())));
        assert_eq!((at(1_000), at(2_000)), (Ok(()), Ok(())));
        let expired = at(2_001).unwrap_err();
        assert_eq!(expired.to_string(), "expired at 1970-01-01T00:33:20Z");
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        let made = ClientCertificate::self_signed("d1");
        let mut longer = made.leaf().to_vec();
        longer.push(0);
        for bytes in [&[][..], b"no certificate", &longer, &made.leaf()[..made.leaf().len() - 1]] {
            assert_eq!(Certificate::read(bytes).unwrap_err(), Unusable::NotACertificate);
        }
    }

    /// The file was made once with OpenSSL, since no library here makes such a weak key.
    #[test]
    fn a_weak_key_is_refused() {
        let pem = include_bytes!("../tests/files/rsa-1024.pem");
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem).unwrap();
        let refused = Certificate::read(&pem.contents).unwrap().check_key().unwrap_err();
        assert_eq!(refused, Unusable::WeakRsa(1024));
        assert!(refused.to_string().contains("RSA with 1024 bits, where 2048 to 8192 are needed"));
    }

    #[test]
    fn a_certificate_of_the_first_version_is_refused() {
        let pem = include_bytes!("../tests/files/version-1.pem");
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem).unwrap();
        assert_eq!(Certificate::read(&pem.contents).unwrap().check_key(), Err(Unusable::Version(1)));
    }
}
