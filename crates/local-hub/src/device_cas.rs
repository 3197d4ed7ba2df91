//! [`DeviceCas`] are the CAs whose certificates the hub takes from devices, and the check that a device's chain leads to
//! one of them.
//!
//! The builder reads them from PEM text. `authorize` asks them about devices whose identities have the type
//! `certificateAuthority`. `webpki` verifies signatures and constraints; this file decides which certificates it sees,
//! and says what is wrong in words.
//!
//! # Which chains are taken
//! The registered CA may be any CA of the chain, or the one that issued the last certificate of it. Links are
//! followed by name, from the device's certificate upwards, and each step has one candidate, so that a chain costs at
//! most as many signatures as it has certificates, plus those of registered CAs with equal names. webpki would try every
//! combination of certificates with equal names, and a stranger can send such certificates.

use std::sync::Arc;
use std::time::Duration;

use iothub_auth::ring_provider;
use jiff::Timestamp;
use rustls::pki_types::pem::{self, PemObject as _, SectionKind};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath};

use crate::tls::ClientChain;
use crate::x509::{Certificate, NotValid, Unusable};

/// The CAs that may issue certificates of devices. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeviceCas(Arc<[DeviceCa]>);

#[derive(Debug)]
struct DeviceCa {
    der: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
}

/// The text is not the certificate of a CA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotACa {
    #[error("there is no certificate in it: PEM text with -----BEGIN CERTIFICATE----- is expected")]
    Empty,
    #[error("it is not PEM text: {0}")]
    NotPem(String),
    #[error("there is a private key in it: give the CA's certificate alone, the hub needs no key of it")]
    Key,
    #[error("certificate {0} cannot be read: {1}")]
    Unusable(usize, Unusable),
    #[error(
        "certificate {0} ({1}) is not a CA's: a CA has the basic constraint CA, and may sign certificates"
    )]
    NoCa(usize, String),
}

/// The reason why a chain does not lead to a registered CA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainFault {
    #[error("this hub has no CA for devices; give it one with --device-ca")]
    NoCas,
    #[error("a certificate of the chain cannot be used: {0}")]
    Unusable(#[from] Unusable),
    #[error("the certificate of {0} in the chain {1}")]
    NotValid(String, NotValid),
    #[error(
        "the certificate is self-signed, and the identity's type is certificateAuthority: it needs one that a CA issued"
    )]
    SelfSigned,
    #[error("the chain ends at the root {0}, which is not one of the hub's CAs for devices (--device-ca)")]
    UnknownRoot(String),
    #[error(
        "the chain ends at {0}, whose issuer {1} is neither in the chain nor one of the hub's CAs for devices: \
         the device must send that intermediate, or the hub must be given it (--device-ca)"
    )]
    UnknownIssuer(String, String),
    #[error("the signature of a certificate in the chain is not that of its issuer, although the names fit")]
    Signature,
    #[error(
        "the signature of a certificate in the chain is too weak, or of a kind that this hub does not verify"
    )]
    Algorithm,
    #[error("the device presents the certificate of a CA as its own")]
    CaAsDevice,
    #[error("{0} issued a certificate of the chain and is not a CA that may")]
    NotAnIssuer(String),
    #[error("a CA of the chain allows fewer CAs below it than there are")]
    PathLength,
    #[error("the extended key usage of a certificate in the chain does not allow client authentication")]
    Usage,
    #[error("the chain cannot be verified: {0}")]
    Other(Error),
}

impl DeviceCas {
    /// Reads the CAs of several PEM texts, each of which has one CA or more. A fault comes with the index of its text.
    pub(crate) fn read(texts: &[impl AsRef<[u8]>]) -> Result<Self, (usize, NotACa)> {
        let mut cas = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            cas.extend(read_text(text.as_ref()).map_err(|fault| (index, fault))?);
        }
        Ok(Self(cas.into()))
    }

    /// Returns the CAs among certificates, and reads each as a CA file, for the fuzz targets.
    #[cfg(fuzzing)]
    pub(crate) fn fuzzing(certificates: &[Vec<u8>]) -> Self {
        let as_files = certificates.iter().filter_map(|text| read_text(text).ok()).flatten();
        let as_der = certificates.iter().filter_map(|der| read_ca(1, der.clone()).ok());
        Self(as_files.chain(as_der).collect())
    }

    /// Checks that a chain leads to one of the CAs, and that each certificate on the way is valid now.
    pub(crate) fn check(&self, chain: &ClientChain, now: Timestamp) -> Result<(), ChainFault> {
        if self.0.is_empty() {
            return Err(ChainFault::NoCas);
        }
        let others: Vec<Certificate<'_>> =
            chain.others().iter().map(|der| Certificate::read(der)).collect::<Result<_, _>>()?;
        let leaf = Certificate::read(chain.leaf())?;
        let links = links(&leaf, &others);
        let path: Vec<&Certificate<'_>> =
            std::iter::once(&leaf).chain(links.iter().map(|index| &others[*index])).collect();
        let intermediates: Vec<CertificateDer<'_>> =
            links.iter().map(|index| CertificateDer::from(chain.others()[*index].as_ref())).collect();
        let anchors: Vec<TrustAnchor<'_>> = self.0.iter().map(|ca| ca.anchor.clone()).collect();
        let end_entity = EndEntityCert::try_from(chain.leaf()).map_err(ChainFault::Other)?;
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let verified = end_entity.verify_for_usage(
            ring_provider().signature_verification_algorithms.all,
            &anchors,
            &intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            KeyUsage::client_auth(),
            None,
            Some(&|path| self.check_anchor(path, now)),
        );
        match verified {
            // webpki takes no notice of the key usage of those that issued.
            Ok(verified) => match path[1..]
                .iter()
                .take(verified.intermediate_certificates().count())
                .find(|ca| !ca.may_issue())
            {
                None => Ok(()),
                Some(issuer) => Err(ChainFault::NotAnIssuer(issuer.subject())),
            },
            Err(error) => Err(self.fault(error, &path, now)),
        }
    }

    /// Checks what webpki does not check of a CA that it was told to trust: its validity, and the number of CAs below
    /// it. After an error webpki goes on with the next registered CA that may fit.
    fn check_anchor(&self, path: &VerifiedPath<'_>, now: Timestamp) -> Result<(), Error> {
        let below = path.intermediate_certificates().count();
        let fits = |ca: &DeviceCa| -> Result<(), Error> {
            let read = Certificate::read(&ca.der).map_err(|_| Error::BadDer)?;
            // The instant is told by `fault`, which looks for it again.
            read.check_validity(now).map_err(|_| Error::InvalidCertValidity)?;
            match read.path_length() {
                Some(most) if u32::try_from(below).is_ok_and(|below| below > most) => {
                    Err(Error::PathLenConstraintViolated)
                }
                _ => Ok(()),
            }
        };
        // A CA may be registered twice with one key, as an old certificate and its successor. webpki sees no difference
        // between them, so one that fits is enough.
        let registered = self.0.iter().filter(|ca| ca.anchor == *path.anchor());
        let mut last = Err(Error::UnknownIssuer);
        for ca in registered {
            last = fits(ca);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// Says what webpki found.
    fn fault(&self, error: Error, path: &[&Certificate<'_>], now: Timestamp) -> ChainFault {
        match error {
            Error::CertExpired { .. } | Error::CertNotValidYet { .. } | Error::InvalidCertValidity => {
                self.not_valid(path, now).unwrap_or(ChainFault::Other(error))
            }
            Error::UnknownIssuer => match path {
                [leaf] if leaf.is_self_issued() => ChainFault::SelfSigned,
                [.., last] if last.is_self_issued() => ChainFault::UnknownRoot(last.subject()),
                [.., last] => ChainFault::UnknownIssuer(last.subject(), last.issuer()),
                [] => ChainFault::Other(error),
            },
            Error::InvalidSignatureForPublicKey => ChainFault::Signature,
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | Error::SignatureAlgorithmMismatch => ChainFault::Algorithm,
            Error::CaUsedAsEndEntity => ChainFault::CaAsDevice,
            Error::EndEntityUsedAsCa => match path.iter().skip(1).find(|ca| !ca.may_issue()) {
                Some(issuer) => ChainFault::NotAnIssuer(issuer.subject()),
                None => ChainFault::Other(error),
            },
            Error::PathLenConstraintViolated => ChainFault::PathLength,
            Error::RequiredEkuNotFoundContext(_) => ChainFault::Usage,
            other => ChainFault::Other(other),
        }
    }

    /// Returns which certificate of a path, or which registered CA above it, is not valid now.
    fn not_valid(&self, path: &[&Certificate<'_>], now: Timestamp) -> Option<ChainFault> {
        let fault = |certificate: &Certificate<'_>| {
            let reason = certificate.check_validity(now).err()?;
            Some(ChainFault::NotValid(certificate.subject(), reason))
        };
        path.iter().find_map(|certificate| fault(certificate)).or_else(|| {
            self.0.iter().find_map(|ca| {
                let ca = Certificate::read(&ca.der).ok()?;
                path.iter().any(|certificate| certificate.names_as_issuer(&ca)).then(|| fault(&ca)).flatten()
            })
        })
    }
}

/// Returns the places among `others` of the certificates that issued each other, from the issuer of the leaf upwards.
fn links(leaf: &Certificate<'_>, others: &[Certificate<'_>]) -> Vec<usize> {
    let mut links: Vec<usize> = Vec::new();
    let mut top = leaf;
    while !top.is_self_issued() {
        let next =
            (0..others.len()).find(|index| !links.contains(index) && top.names_as_issuer(&others[*index]));
        let Some(index) = next else { break };
        links.push(index);
        top = &others[index];
    }
    links
}

fn read_text(text: &[u8]) -> Result<Vec<DeviceCa>, NotACa> {
    let mut cas = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, bytes) = section.map_err(|error| NotACa::NotPem(not_pem(&error)))?;
        match kind {
            SectionKind::Certificate => cas.push(read_ca(cas.len() + 1, bytes)?),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                return Err(NotACa::Key);
            }
            _ => {}
        }
    }
    if cas.is_empty() { Err(NotACa::Empty) } else { Ok(cas) }
}

/// Says what is wrong with PEM text without a byte of it, which may be part of a key.
fn not_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section begins with a damaged line",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "a section cannot be read",
    }
    .to_owned()
}

fn read_ca(number: usize, der: Vec<u8>) -> Result<DeviceCa, NotACa> {
    let der = CertificateDer::from(der);
    let read = Certificate::read(&der).map_err(|fault| NotACa::Unusable(number, fault))?;
    read.check_key().map_err(|fault| NotACa::Unusable(number, fault))?;
    if !read.may_issue() {
        return Err(NotACa::NoCa(number, read.subject()));
    }
    let unreadable = |_| NotACa::Unusable(number, Unusable::NotACertificate);
    let anchor = webpki::anchor_from_trusted_cert(&der).map_err(unreadable)?.to_owned();
    Ok(DeviceCa { anchor, der })
}

#[cfg(test)]
mod tests;
