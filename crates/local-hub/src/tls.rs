//! This file makes and keeps the hub's certificates, a CA of its own and a leaf for the names that the hub answers to,
//! and says how its ports speak TLS. `client_certificates` has the certificates of peers.
//!
//! ECDSA P-256, since every client takes it and making one takes less than a millisecond. The CA stays
//! the same as long as its folder does, so that clients trust it once; the leaf is made again when its
//! end is near or the names change. TLS 1.2 and 1.3: some official clients speak nothing newer.

mod client_certificates;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use iothub_auth::ring_provider;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::client_certificates::AnyClient;
pub(crate) use self::client_certificates::ClientChain;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Ten years: a CA that is replaced must be trusted again by every client.
const CA_LIFETIME: Duration = DAY.saturating_mul(3650);

/// Under 825 days, which is the most that some platforms accept.
const LEAF_LIFETIME: Duration = DAY.saturating_mul(800);

/// How long before its end a certificate is replaced, at the next start.
const RENEWAL_MARGIN: Duration = DAY.saturating_mul(30);

/// How far a certificate reaches back, for clients whose clocks are late.
const BACKDATED: Duration = DAY;

/// The certificates cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// A name or key that no certificate can be made of.
    #[error("no certificate can be made of them")]
    Make(#[from] rcgen::Error),
    /// Text that is no certificate.
    #[error("they are no PEM text")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// A leaf and a key that do not fit.
    #[error("the TLS library does not take them")]
    Tls(#[from] rustls::Error),
    /// No random serial number.
    #[error("the operating system gave no random bytes for a serial number")]
    NoRandomness,
}

/// The CA and the leaf, with their keys, as they are kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Certificates {
    ca_name: String,
    ca_certificate: String,
    ca_key: Zeroizing<String>,
    ca_not_after: Timestamp,
    leaf_certificate: String,
    leaf_key: Zeroizing<String>,
    leaf_not_after: Timestamp,
    leaf_names: Vec<String>,
}

impl Certificates {
    /// A new CA, and a leaf for `names`.
    pub(crate) fn new(names: Vec<String>, now: Timestamp) -> Result<Self, CertificateError> {
        let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        // The name differs from CA to CA: a client that trusts two of them must not mix them up.
        let ca_name = format!("IoT Hub for Rust, local CA {:08x}", u32::from_be_bytes(random()?));
        let mut params = ca_params(&ca_name);
        let ca_not_after = set_validity(&mut params, now, CA_LIFETIME, Timestamp::MAX);
        params.serial_number = Some(serial_number()?);
        let ca_certificate = params.self_signed(&ca_key)?.pem();
        let empty = Self {
            ca_name,
            ca_certificate,
            ca_key: Zeroizing::new(ca_key.serialize_pem()),
            ca_not_after,
            leaf_certificate: String::new(),
            leaf_key: Zeroizing::default(),
            leaf_not_after: now,
            leaf_names: Vec::new(),
        };
        empty.with_leaf(names, now)
    }

    /// What a hub with `names` uses from `now` on: the same, or with a new leaf, or all new.
    pub(crate) fn renewed(self, names: Vec<String>, now: Timestamp) -> Result<Self, CertificateError> {
        let margin = now.checked_add(RENEWAL_MARGIN).unwrap_or(Timestamp::MAX);
        if self.ca_not_after < margin {
            tracing::warn!(end = %self.ca_not_after, "the CA is near its end: clients must trust the new ca.pem");
            return Self::new(names, now);
        }
        if self.leaf_not_after < margin || self.leaf_names != names {
            return self.with_leaf(names, now);
        }
        Ok(self)
    }

    fn with_leaf(mut self, names: Vec<String>, now: Timestamp) -> Result<Self, CertificateError> {
        let ca_key = KeyPair::from_pem(&self.ca_key)?;
        let ca_params = ca_params(&self.ca_name);
        let issuer = Issuer::from_params(&ca_params, &ca_key);
        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names.clone())?;
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial_number()?);
        self.leaf_not_after = set_validity(&mut params, now, LEAF_LIFETIME, self.ca_not_after);
        self.leaf_certificate = params.signed_by(&leaf_key, &issuer)?.pem();
        self.leaf_key = Zeroizing::new(leaf_key.serialize_pem());
        self.leaf_names = names;
        Ok(self)
    }

    /// The CA's certificate as PEM: what clients trust.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_certificate
    }

    /// Returns how the hub's listeners speak TLS, with these protocols offered by ALPN. A peer is asked for a certificate
    /// and need not have one.
    pub(crate) fn server_config(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, CertificateError> {
        let chain = vec![CertificateDer::from_pem_slice(self.leaf_certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(self.leaf_key.as_bytes())?;
        let mut config = ServerConfig::builder_with_provider(ring_provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .with_client_cert_verifier(AnyClient::new())
            .with_single_cert(chain, key)?;
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        // Sessions are kept by the clients, sealed, so that a thousand devices cost the hub nothing.
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(Arc::new(config))
    }
}

/// Opens the check of a client's certificates in its handshake to the fuzz targets.
#[cfg(fuzzing)]
pub(crate) fn fuzzing_handshake(chain: &[Vec<u8>]) {
    use rustls::pki_types::UnixTime;
    use rustls::server::danger::ClientCertVerifier as _;

    let chain: Vec<_> = chain.iter().cloned().map(CertificateDer::from).collect();
    if let Some((leaf, others)) = chain.split_first() {
        drop(AnyClient::new().verify_client_cert(leaf, others, UnixTime::since_unix_epoch(DAY)));
    }
}

/// Without the keys.
impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("ca_name", &self.ca_name)
            .field("ca_not_after", &self.ca_not_after)
            .field("leaf_not_after", &self.leaf_not_after)
            .field("leaf_names", &self.leaf_names)
            .finish_non_exhaustive()
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // It signs leaves and no further authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Sets from when to when a certificate is valid, to the second, and returns its end.
fn set_validity(
    params: &mut CertificateParams,
    now: Timestamp,
    lifetime: Duration,
    at_most: Timestamp,
) -> Timestamp {
    let end = now.checked_add(lifetime).unwrap_or(Timestamp::MAX).min(at_most);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
    params.not_before = epoch + since_epoch(now).saturating_sub(BACKDATED);
    params.not_after = epoch + since_epoch(end);
    end
}

/// 127 random bits, as certificates of public authorities have, and positive.
fn serial_number() -> Result<SerialNumber, CertificateError> {
    let mut bytes: [u8; 16] = random()?;
    bytes[0] &= 0x7f;
    bytes[0] |= 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn random<const N: usize>() -> Result<[u8; N], CertificateError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CertificateError::NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::now()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_ca_stays_and_the_leaf_follows_names_and_time() {
        let first = Certificates::new(names(&["localhost", "127.0.0.1", "::1"]), now()).unwrap();
        let same = first.clone().renewed(first.leaf_names.clone(), now()).unwrap();
        assert_eq!(same.leaf_certificate, first.leaf_certificate);
        let renamed = first.clone().renewed(names(&["my-hub.example"]), now()).unwrap();
        assert_eq!(renamed.ca_certificate, first.ca_certificate);
        assert_ne!(renamed.leaf_certificate, first.leaf_certificate);
        let later = now() + DAY * 790;
        let aged = first.clone().renewed(first.leaf_names.clone(), later).unwrap();
        assert_eq!(aged.ca_certificate, first.ca_certificate);
        assert!(aged.leaf_not_after > first.leaf_not_after);
        let much_later = now() + DAY * 3640;
        let replaced = first.clone().renewed(first.leaf_names.clone(), much_later).unwrap();
        assert_ne!(replaced.ca_certificate, first.ca_certificate);
    }

    #[test]
    fn a_leaf_never_outlives_its_ca() {
        let first = Certificates::new(names(&["localhost"]), now()).unwrap();
        let late = first.clone().renewed(names(&["other"]), now() + DAY * 3000).unwrap();
        assert_eq!(late.leaf_not_after, first.ca_not_after);
    }

    /// The verifier of the clients accepts the leaf for each of its names and no other.
    #[test]
    fn clients_that_trust_the_ca_accept_the_hub_s_names() {
        let all = ["localhost", "127.0.0.1", "::1", "hub.localhost", "my-hub.example"];
        let made = Certificates::new(names(&all), now()).unwrap();
        let made = made.renewed(names(&[&all[..], &["later.example"]].concat()), now()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(made.ca_pem().as_bytes()).unwrap()).unwrap();
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), ring_provider());
        let verifier = verifier.build().unwrap();
        let leaf = CertificateDer::from_pem_slice(made.leaf_certificate.as_bytes()).unwrap();
        let accepts = |name: &str| {
            use rustls::client::danger::ServerCertVerifier as _;
            let name = name.to_owned().try_into().unwrap();
            verifier.verify_server_cert(&leaf, &[], &name, &[], rustls::pki_types::UnixTime::now()).is_ok()
        };
        for name in all.into_iter().chain(["later.example"]) {
            assert!(accepts(name), "{name}");
        }
        assert!(!accepts("other.example") && !accepts("127.0.0.2"));
    }

    #[test]
    fn debug_shows_no_key() {
        let made = Certificates::new(names(&["localhost"]), now()).unwrap();
        assert!(!format!("{made:?}").contains("PRIVATE KEY"));
    }
}
