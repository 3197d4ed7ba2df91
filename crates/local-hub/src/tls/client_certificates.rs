//! This file asks every TLS peer for a client certificate, and keeps what it presented: [`AnyClient`] is the rule of the
//! handshake, and [`ClientChain`] the certificates that passed it.
//!
//! The handshake checks one thing, that the peer has the key of its certificate. Which certificate an identity needs is
//! in the registry, and the peer has not said yet which identity it is; so `authorize` decides later, and an expired or
//! an unknown certificate is refused there with a reason. A peer may also present none.
//!
//! The list of acceptable CAs that goes with the request is empty on purpose. With names in it, clients on OpenSSL and
//! Schannel leave out every certificate that none of these CAs issued, the self-signed ones first.
//!
//! A session that is resumed has the chain of its first handshake: rustls seals it into the ticket and returns it when
//! the ticket comes back, so that a device with a certificate gains by resumption what others gain.

use std::fmt;
use std::sync::Arc;

use iothub_auth::ring_provider;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, OtherError, ServerConnection, SignatureScheme,
};

use crate::x509::{Certificate, Unusable};

/// The largest number of certificates that a peer may present. Chains of devices have two or three.
const MAX_CERTIFICATES: usize = 8;

/// The largest number of bytes that they may have together. They are kept as long as the connection, and go into the
/// ticket of the session.
const MAX_BYTES: usize = 16 * 1024;

/// The certificates that a peer presented, its own first. The peer has proven that it has the key of its own. Cheap to
/// clone.
#[derive(Clone)]
pub(crate) struct ClientChain(Arc<[CertificateDer<'static>]>);

impl ClientChain {
    /// Returns the chain that the peer of a connection presented; `None` if it presented none.
    pub(crate) fn of(connection: &ServerConnection) -> Option<Self> {
        connection.peer_certificates().filter(|chain| !chain.is_empty()).map(|chain| Self(chain.into()))
    }

    /// Returns a chain for tests and fuzz targets, which no handshake has proven.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn unproven(chain: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self(chain.into_iter().map(CertificateDer::from).collect())
    }

    /// Returns the peer's own certificate as DER bytes.
    pub(crate) fn leaf(&self) -> &CertificateDer<'static> {
        // `of` takes no empty chain.
        &self.0[0]
    }

    /// Returns the other certificates, in the order in which they came.
    pub(crate) fn others(&self) -> &[CertificateDer<'static>] {
        self.0.get(1..).unwrap_or_default()
    }
}

/// The number of certificates; the bytes would fill a screen.
impl fmt::Debug for ClientChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientChain({})", self.0.len())
    }
}

/// The reason why a handshake ends at a client certificate, as the hub's activity tells it.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error(
        "the client presented {0} certificates with {1} bytes: at most {MAX_CERTIFICATES} and {MAX_BYTES} bytes are taken"
    )]
    TooMuch(usize, usize),
    #[error("the client's certificate cannot be used: {0}")]
    Unusable(#[from] Unusable),
}

impl From<NotTaken> for Error {
    fn from(reason: NotTaken) -> Self {
        Self::Other(OtherError(Arc::new(reason)))
    }
}

/// The rule of the handshake: any certificate, or none, and the proof that the peer has its key.
#[derive(Debug)]
pub(super) struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyClient {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { algorithms: ring_provider().signature_verification_algorithms })
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// Checks what can be said before the identity is known: the size of the chain, and that the proof that follows can
    /// be verified at all.
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let count = 1 + intermediates.len();
        let bytes = end_entity.len() + intermediates.iter().map(|der| der.len()).sum::<usize>();
        if count > MAX_CERTIFICATES || bytes > MAX_BYTES {
            return Err(NotTaken::TooMuch(count, bytes).into());
        }
        let leaf = Certificate::read(end_entity).map_err(NotTaken::from)?;
        leaf.check_key().map_err(NotTaken::from)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use iothub_testkit::certificates::{Authority, ClientCertificate};
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    fn taken(chain: &[Vec<u8>]) -> Result<(), String> {
        let chain: Vec<_> = chain.iter().cloned().map(CertificateDer::from).collect();
        let verified = AnyClient::new().verify_client_cert(&chain[0], &chain[1..], UnixTime::now());
        verified.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn any_certificate_is_taken_and_none_is_required() {
        let verifier = AnyClient::new();
        assert!(verifier.offer_client_auth() && !verifier.client_auth_mandatory());
        assert!(verifier.root_hint_subjects().is_empty());
        for made in [
            ClientCertificate::self_signed("d1"),
            ClientCertificate::self_signed_between("expired", 1_000, 2_000),
            Authority::root("unknown").intermediate("middle").issue("d1"),
        ] {
            assert_eq!(taken(made.chain()), Ok(()));
        }
    }

    #[test]
    fn a_chain_beyond_the_bounds_is_refused() {
        let leaf = ClientCertificate::self_signed("d1").leaf().to_vec();
        let refused = taken(&vec![leaf.clone(); MAX_CERTIFICATES + 1]).unwrap_err();
        assert!(refused.contains("the client presented 9 certificates"), "{refused}");
        let refused = taken(&[leaf, vec![0; MAX_BYTES]]).unwrap_err();
        assert!(
            refused.contains("2 certificates with") && refused.contains("16384 bytes are taken"),
            "{refused}"
        );
    }

    #[test]
    fn a_certificate_whose_key_cannot_be_verified_is_refused_with_the_reason() {
        let weak = CertificateDer::from_pem_slice(include_bytes!("../../tests/files/rsa-1024.pem")).unwrap();
        let refused = taken(&[weak.to_vec()]).unwrap_err();
        assert!(refused.contains("its key is too weak: RSA with 1024 bits"), "{refused}");
        let refused = taken(&[b"no certificate".to_vec()]).unwrap_err();
        assert!(refused.ends_with("it is not an X.509 certificate"), "{refused}");
    }
}
