//! This file makes the TLS configuration of clients: whom they trust, the certificate that they present, and the
//! cryptography, which is rustls with ring, everywhere and explicitly.
//!
//! The clients' crates call it; the hub takes only the cryptography from here.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};

use crate::device_certificate::DeviceCertificate;
use crate::error::TlsError;

/// Returns the one cryptography provider of the workspace.
#[must_use]
pub fn ring_provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// Returns the certificates a client trusts: the system's (`SSL_CERT_FILE` is honored), Mozilla's where the
/// system has none, and those of `ca_file`.
///
/// # Errors
/// [`TlsError`] if `ca_file` cannot be read or holds no certificate.
pub fn trust_roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = system_roots().clone();
    if let Some(path) = ca_file {
        let fail = |source| TlsError { path: path.to_owned(), source };
        let pem = std::fs::read(path).map_err(fail)?;
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let invalid = |error: String| fail(std::io::Error::new(std::io::ErrorKind::InvalidData, error));
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            roots.add(certificate).map_err(|error| invalid(error.to_string()))?;
            found += 1;
        }
        if found == 0 {
            return Err(fail(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "there is no certificate in it",
            )));
        }
    }
    Ok(roots)
}

/// Returns the TLS configuration of a client, with [`trust_roots`]: TLS 1.2 and 1.3, no client certificate.
///
/// Clients that trust the same CA share one configuration as long as any of them lives: a copy of the
/// system's roots takes more memory than the rest of a device client.
///
/// # Errors
/// [`TlsError`] if `ca_file` cannot be used.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    static SHARED: Mutex<Vec<(Vec<u8>, Weak<ClientConfig>)>> = Mutex::new(Vec::new());
    let pem = match ca_file {
        Some(path) => std::fs::read(path).map_err(|source| TlsError { path: path.to_owned(), source })?,
        None => Vec::new(),
    };
    // By content, not by name: a hub that was started anew may have written another CA there.
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.retain(|(_, config)| config.strong_count() > 0);
    if let Some(config) =
        shared.iter().find(|(known, _)| *known == pem).and_then(|(_, config)| config.upgrade())
    {
        return Ok(config);
    }
    let roots = trust_roots(ca_file)?;
    let builder = ClientConfig::builder_with_provider(ring_provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(|error| TlsError {
            path: ca_file.map(Path::to_owned).unwrap_or_default(),
            source: std::io::Error::other(error),
        })?;
    let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    shared.push((pem, Arc::downgrade(&config)));
    Ok(config)
}

/// Returns the TLS configuration of a client that presents a certificate: that of [`client_config`] otherwise.
///
/// # Errors
/// [`TlsError`] if `ca_file` cannot be used.
pub fn client_config_with(
    ca_file: Option<&Path>,
    certificate: &DeviceCertificate,
) -> Result<Arc<ClientConfig>, TlsError> {
    let shared = client_config(ca_file)?;
    let mut config = ClientConfig::clone(&shared);
    let key = Arc::clone(certificate.certified());
    config.client_auth_cert_resolver = Arc::new(Presents { key, _shared: shared });
    // A resumed session has the certificate of its first handshake, so that devices may not share sessions. One client
    // talks to one hub, which needs no more than the smallest store has.
    config.resumption = Resumption::in_memory_sessions(1);
    Ok(Arc::new(config))
}

/// Presents one certificate to every server that asks for one, whatever CAs the server names.
///
/// Azure names none. A server that names some still gets the certificate: its refusal says more than silence.
#[derive(Debug)]
struct Presents {
    key: Arc<CertifiedKey>,
    /// Keeps the configuration without a certificate alive, so that the next device finds its trust roots.
    _shared: Arc<ClientConfig>,
}

impl ResolvesClientCert for Presents {
    fn resolve(&self, _issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // None, if the server takes no signature that this key can make. Then the server says that it got no certificate.
        self.key.key.choose_scheme(schemes).map(|_| Arc::clone(&self.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Returns the certificates that the system trusts. They are read once: the files of the system do not change while a program runs, and reading them takes
/// longer than a whole handshake.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::debug!(%error, "a system certificate could not be read");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            tracing::debug!("the system has no trust roots: Mozilla's are used");
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        roots
    })
}
