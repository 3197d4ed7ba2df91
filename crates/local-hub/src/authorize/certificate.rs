//! This file decides whether the certificate that a peer presented proves that it is a device or module.
//!
//! `authorize` asks for peers that bring no token, and for those whose identity has an X.509 type. The two types have
//! different rules:
//!
//! | type | the certificate proves the identity if |
//! |---|---|
//! | `selfSigned` | its thumbprint is one of the two in the registry, and it is valid now |
//! | `certificateAuthority` | its chain leads to a CA of the hub, each link is valid now, and its common name is the id |
//!
//! Every certificate goes through both examinations before the identity is looked at, so that the time of an answer
//! does not tell a stranger which identities there are, or of which type.
//! Source: *Authenticate identities with X.509 certificates*.

use std::fmt::Write as _;

use iothub_models::{AuthenticationType, Identity, X509Thumbprints};
use jiff::Timestamp;
use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use crate::core::grant::CertificateKind;
use crate::core::limits::{SHA1_DIGITS, SHA256_DIGITS};
use crate::device_cas::{ChainFault, DeviceCas};
use crate::tls::ClientChain;
use crate::x509::{Certificate, NotValid, Unusable};

/// The reason why a certificate does not prove an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CertificateFault {
    #[error("the client certificate cannot be used: {0}")]
    Unusable(#[from] Unusable),
    #[error(
        "the client certificate has the {algorithm} thumbprint {presented}, which is neither the primary nor the secondary \
         thumbprint of this identity"
    )]
    Thumbprint { algorithm: &'static str, presented: String },
    #[error("the identity has no thumbprint; write one to authentication.x509Thumbprint")]
    NoThumbprint,
    #[error("the client certificate {0}")]
    NotValid(#[from] NotValid),
    #[error("{0}")]
    Chain(#[from] ChainFault),
    #[error("the common name of the client certificate is {0:?}, and it must be {1:?}")]
    CommonName(String, String),
    #[error("the client certificate has no common name, or several; it must have one, {0:?}")]
    NoCommonName(String),
    #[error(
        "the identity's authentication type is {0}: it proves itself with a SAS token, and its client certificate does not count"
    )]
    Type(&'static str),
}

/// A certificate that was examined in every way, before anybody knows which way counts.
#[derive(Debug)]
pub(super) struct Examined {
    sha1: String,
    sha256: String,
    validity: Result<(), NotValid>,
    chain: Result<(), ChainFault>,
    common_name: Option<String>,
}

impl Examined {
    /// Examines what a peer presented.
    pub(super) fn new(
        chain: &ClientChain,
        cas: &DeviceCas,
        now: Timestamp,
    ) -> Result<Self, CertificateFault> {
        let leaf = Certificate::read(chain.leaf())?;
        Ok(Self {
            sha1: thumbprint(&SHA1_FOR_LEGACY_USE_ONLY, chain.leaf()),
            sha256: thumbprint(&SHA256, chain.leaf()),
            validity: leaf.check_validity(now),
            chain: cas.check(chain, now),
            common_name: leaf.common_name().map(str::to_owned),
        })
    }

    /// Checks that the certificate proves an identity with this type and these thumbprints.
    pub(super) fn check(
        &self,
        id: &Identity,
        kind: AuthenticationType,
        registered: &X509Thumbprints,
    ) -> Result<CertificateKind, CertificateFault> {
        match kind {
            AuthenticationType::SelfSigned => {
                self.check_thumbprint(registered)?;
                self.validity?;
                Ok(CertificateKind::SelfSigned)
            }
            AuthenticationType::CertificateAuthority => {
                // The certificate of the device itself first, since most often it is the one that expired.
                self.validity?;
                self.chain.clone()?;
                self.check_common_name(&id.to_string())?;
                Ok(CertificateKind::CertificateAuthority)
            }
            AuthenticationType::Sas => Err(CertificateFault::Type("sas")),
            _ => Err(CertificateFault::Type("none")),
        }
    }

    /// Compares by the hash that the length of what is registered stands for. Case does not count.
    fn check_thumbprint(&self, registered: &X509Thumbprints) -> Result<(), CertificateFault> {
        let registered = [&registered.primary_thumbprint, &registered.secondary_thumbprint];
        let mut fault = CertificateFault::NoThumbprint;
        for text in registered.into_iter().flatten() {
            let (algorithm, presented) = match text.len() {
                SHA1_DIGITS => ("SHA-1", &self.sha1),
                SHA256_DIGITS => ("SHA-256", &self.sha256),
                // The registry takes no other length.
                _ => continue,
            };
            if presented.eq_ignore_ascii_case(text) {
                return Ok(());
            }
            fault = CertificateFault::Thumbprint { algorithm, presented: presented.clone() };
        }
        Err(fault)
    }

    /// Compares the common name with the id as it is in the registry. Case counts.
    fn check_common_name(&self, id: &str) -> Result<(), CertificateFault> {
        match &self.common_name {
            Some(name) if name == id => Ok(()),
            // An id has at most 128 characters, for device and module each.
            Some(name) => Err(CertificateFault::CommonName(name.chars().take(300).collect(), id.to_owned())),
            None => Err(CertificateFault::NoCommonName(id.to_owned())),
        }
    }
}

fn thumbprint(algorithm: &'static Algorithm, der: &[u8]) -> String {
    digest(algorithm, der).as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02X}");
        text
    })
}

/// Examines a chain as that of a device, with CAs from its own bytes, and holds it against an identity of each type.
#[cfg(fuzzing)]
pub(super) fn fuzzing(chain: Vec<Vec<u8>>) {
    crate::tls::fuzzing_handshake(&chain);
    let cas = DeviceCas::fuzzing(&chain);
    let id = Identity::device("d1".parse().expect("it is an id"));
    let now = Timestamp::from_second(1_800_000_000).expect("it is an instant");
    if let Ok(examined) = Examined::new(&ClientChain::unproven(chain), &cas, now) {
        let registered =
            X509Thumbprints { primary_thumbprint: Some(examined.sha256.clone()), secondary_thumbprint: None };
        for kind in [AuthenticationType::SelfSigned, AuthenticationType::CertificateAuthority] {
            if let Err(fault) = examined.check(&id, kind, &registered) {
                drop(fault.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests;
