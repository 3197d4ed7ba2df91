//! [`Authority`] and [`ClientCertificate`] are the certificates with which devices prove themselves: CAs, what they
//! issue, and certificates that are signed with their own key.
//!
//! Tests make them in memory, and `cargo xtask certs` writes them to files. All keys are ECDSA P-256, which every client
//! and a hub in Azure take. Times are seconds since 1970, as the clocks of tests count them.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use ring::digest::{Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

const DAY: u64 = 24 * 60 * 60;

/// The number of days for which a CA is valid unless its times are given.
const CA_DAYS: u64 = 3650;

/// The number of days for which the certificate of a device is valid unless its times are given.
const DEVICE_DAYS: u64 = 365;

/// A CA: its certificate, its key, and those that issued it.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
    pem: String,
    /// The certificates between this CA and its root, this one first; a root has none, since peers have it.
    sent: Vec<Vec<u8>>,
    sent_pem: String,
}

/// What a device presents: its certificate, the certificates of the CAs between it and its root, and its key.
#[derive(Clone)]
pub struct ClientCertificate {
    chain: Vec<Vec<u8>>,
    chain_pem: String,
    key_pem: String,
}

impl Authority {
    /// Makes a root CA that is valid from yesterday on, for ten years.
    ///
    /// # Panics
    /// If the name cannot be in a certificate.
    #[must_use]
    pub fn root(name: &str) -> Self {
        let (from, until) = around_now(CA_DAYS);
        Self::root_between(name, from, until)
    }

    /// Makes a root CA that is valid between two instants.
    ///
    /// # Panics
    /// If the name cannot be in a certificate.
    #[must_use]
    pub fn root_between(name: &str, from: u64, until: u64) -> Self {
        let (params, key) = (ca_params(name, from, until, None), new_key());
        let made = params.self_signed(&key).expect("a root can be made");
        let (der, pem) = (made.der().to_vec(), made.pem());
        Self { params, key, der, pem, sent: Vec::new(), sent_pem: String::new() }
    }

    /// Makes a CA that this one issued.
    ///
    /// # Panics
    /// If the name cannot be in a certificate.
    #[must_use]
    pub fn intermediate(&self, name: &str) -> Self {
        let (from, until) = around_now(CA_DAYS);
        self.intermediate_between(name, from, until, None)
    }

    /// Makes a CA that this one issued, valid between two instants, below which at most `path_length` further CAs may
    /// stand.
    ///
    /// # Panics
    /// If the name cannot be in a certificate.
    #[must_use]
    pub fn intermediate_between(&self, name: &str, from: u64, until: u64, path_length: Option<u8>) -> Self {
        let (params, key) = (ca_params(name, from, until, path_length), new_key());
        let issuer = Issuer::from_params(&self.params, &self.key);
        let made = params.signed_by(&key, &issuer).expect("a CA can be issued");
        let (der, pem) = (made.der().to_vec(), made.pem());
        let sent = [&[der.clone()][..], &self.sent].concat();
        let sent_pem = format!("{pem}{}", self.sent_pem);
        Self { params, key, der, pem, sent, sent_pem }
    }

    /// Issues the certificate of a device or module, with its chain up to the root, valid from yesterday on, for a year.
    ///
    /// # Panics
    /// If the name cannot be in a certificate.
    #[must_use]
    pub fn issue(&self, common_name: &str) -> ClientCertificate {
        let (from, until) = around_now(DEVICE_DAYS);
        self.issue_between(common_name, from, until)
    }

    /// Issues the certificate of a device or module that is valid between two instants, with its chain up to the root.
    ///
    /// # Panics
    /// If the name cannot be in a certificate.
    #[must_use]
    pub fn issue_between(&self, common_name: &str, from: u64, until: u64) -> ClientCertificate {
        let (params, key) = (device_params(common_name, from, until), new_key());
        let issuer = Issuer::from_params(&self.params, &self.key);
        let made = params.signed_by(&key, &issuer).expect("a certificate can be issued");
        ClientCertificate {
            chain: [&[made.der().to_vec()][..], &self.sent].concat(),
            chain_pem: format!("{}{}", made.pem(), self.sent_pem),
            key_pem: key.serialize_pem(),
        }
    }

    /// Returns the CA's certificate as PEM text: what a hub is told to trust.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns the CA's certificate as DER bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the CA's key as PEM text.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

impl ClientCertificate {
    /// Makes a certificate that is signed with its own key, valid from yesterday on, for a year.
    ///
    /// # Panics
    /// If the name cannot be in a certificate.
    #[must_use]
    pub fn self_signed(common_name: &str) -> Self {
        let (from, until) = around_now(DEVICE_DAYS);
        Self::self_signed_between(common_name, from, until)
    }

    /// Makes a certificate that is signed with its own key and valid between two instants.
    ///
    /// # Panics
    /// If the name cannot be in a certificate.
    #[must_use]
    pub fn self_signed_between(common_name: &str, from: u64, until: u64) -> Self {
        let (params, key) = (device_params(common_name, from, until), new_key());
        let made = params.self_signed(&key).expect("a certificate can be made");
        Self { chain: vec![made.der().to_vec()], chain_pem: made.pem(), key_pem: key.serialize_pem() }
    }

    /// Returns the same certificate, presented without the CAs that issued it.
    #[must_use]
    pub fn alone(&self) -> Self {
        let end = "-----END CERTIFICATE-----\n";
        let first = self.chain_pem.find(end).map_or(self.chain_pem.len(), |at| at + end.len());
        Self {
            chain: self.chain[..1].to_vec(),
            chain_pem: self.chain_pem[..first].to_owned(),
            key_pem: self.key_pem.clone(),
        }
    }

    /// Returns the same certificate, presented with one more certificate at the end of its chain.
    #[must_use]
    pub fn with(&self, authority: &Authority) -> Self {
        let mut with = self.clone();
        with.chain.push(authority.der.clone());
        with.chain_pem.push_str(&authority.pem);
        with
    }

    /// Returns the certificate itself as DER bytes.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        &self.chain[0]
    }

    /// Returns what the device presents as DER bytes, its own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// Returns what the device presents as PEM text, its own certificate first.
    #[must_use]
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// Returns the key as PEM text.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Returns the SHA-1 thumbprint, 40 hexadecimal digits in upper case.
    #[must_use]
    pub fn sha1(&self) -> String {
        hex(&digest(&SHA1_FOR_LEGACY_USE_ONLY, self.leaf()))
    }

    /// Returns the SHA-256 thumbprint, 64 hexadecimal digits in upper case.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex(&digest(&SHA256, self.leaf()))
    }
}

/// Without the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authority").field(&self.pem).finish()
    }
}

/// Without the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCertificate").field(&self.chain_pem).finish()
    }
}

fn hex(digest: &Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("the system has random bytes for a key")
}

/// Returns yesterday, and the instant that many days from now.
fn around_now(days: u64) -> (u64, u64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    (now.saturating_sub(DAY), now + days * DAY)
}

fn params(name: &str, from: u64, until: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(from);
    params.not_after = epoch + Duration::from_secs(until);
    params.use_authority_key_identifier_extension = true;
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).expect("the system has random bytes for a serial number");
    // Positive, and of one length.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn ca_params(name: &str, from: u64, until: u64, path_length: Option<u8>) -> CertificateParams {
    let mut params = params(name, from, until);
    let constraints = path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn device_params(common_name: &str, from: u64, until: u64) -> CertificateParams {
    let mut params = params(common_name, from, until);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_the_certificate_first_and_not_the_root() {
        let root = Authority::root("root");
        let issued = root.intermediate("middle").intermediate("lower").issue("d1");
        assert_eq!((issued.chain().len(), issued.chain_pem().matches("BEGIN CERTIFICATE").count()), (3, 3));
        assert!(!issued.chain().iter().any(|der| der == root.der()));
        let alone = issued.alone();
        assert_eq!((alone.chain().len(), alone.chain_pem().matches("BEGIN CERTIFICATE").count()), (1, 1));
        assert_eq!(alone.leaf(), issued.leaf());
        assert_eq!(alone.with(&root).chain()[1], root.der());
    }

    #[test]
    fn thumbprints_have_the_lengths_of_their_hashes_and_debug_shows_no_key() {
        let made = ClientCertificate::self_signed("d1");
        assert_eq!((made.sha1().len(), made.sha256().len()), (40, 64));
        assert!(made.key_pem().contains("PRIVATE KEY") && !format!("{made:?}").contains("PRIVATE KEY"));
        assert!(!format!("{:?}", Authority::root("root")).contains("PRIVATE KEY"));
    }
}
