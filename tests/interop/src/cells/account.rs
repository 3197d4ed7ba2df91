//! [`Account`] is an identity that is registered with the proof of a cell, and the login with which it connects.

use std::time::Duration;

use anyhow::{Context, Result};
use iothub_auth::{DeviceConnectionString, DeviceCredential, HubAddress, SasToken, SharedAccessKey};
use iothub_models::{
    Authentication, AuthenticationType, DeviceId, DeviceIdentity, ModuleId, ModuleIdentity, X509Thumbprints,
};
use iothub_testkit::certificates::ClientCertificate;
use jiff::Timestamp;

use super::table::{Kind, Proof};
use crate::login::{Login, Transport};
use crate::site::Site;

/// The module of every account that is a module's.
const MODULE: &str = "cam";
/// The time for which tokens are valid.
const TTL: Duration = Duration::from_secs(3600);

/// A registered identity, and the login with which it connects.
pub(super) struct Account {
    pub(super) login: Login,
    /// The identity's key, unless its proof is a certificate.
    key: Option<SharedAccessKey>,
}

impl Account {
    /// Registers a device, or a device with a module, that proves itself so.
    pub(super) async fn register(
        site: &Site,
        kind: Kind,
        proof: Proof,
        transport: Transport,
        id: &str,
    ) -> Result<Self> {
        let device: DeviceId = id.parse()?;
        let module: Option<ModuleId> = match kind {
            Kind::Device => None,
            Kind::Module => Some(MODULE.parse()?),
        };
        let certificate = certificate(site, proof, &common_name(&device, module.as_ref()))?;
        let authentication = authentication(proof, transport, certificate.as_ref());
        let registered = register(site, &device, module.as_ref(), authentication).await?;
        let key = registered.symmetric_key.and_then(|keys| keys.primary_key);
        let key = if certificate.is_none() { Some(key.context("an identity without key")?) } else { None };
        let mut login = Login::from(&DeviceConnectionString {
            address: HubAddress::new("localhost"),
            device_id: device,
            module_id: module,
            credential: DeviceCredential::X509,
        });
        login.transport = transport;
        match certificate {
            Some(certificate) => login.certificate = Some(site.authorities()?.write(id, &certificate)?),
            None => {
                let key = key.clone().context("an identity without key")?;
                login.credential.credential = DeviceCredential::SharedAccessKey { key, policy: None };
            }
        }
        let mut account = Self { login, key };
        if proof == Proof::Token {
            account.login = account.with_token(TTL)?;
        }
        Ok(account)
    }

    /// Returns the login with a token that ends then.
    pub(super) fn with_token_until(&self, end: Timestamp) -> Result<Login> {
        let with_key = self.with_key()?;
        let token = with_key.sas_token(end, Duration::ZERO)?.context("a login without key")?;
        let credential =
            DeviceConnectionString { credential: DeviceCredential::SharedAccessSignature(token), ..with_key };
        Ok(Login { credential, ..self.login.clone() })
    }

    fn with_token(&self, ttl: Duration) -> Result<Login> {
        self.with_token_until(Timestamp::now().checked_add(ttl)?)
    }

    /// Returns a token that is newer than the login's.
    pub(super) fn new_token(&self) -> Result<SasToken> {
        let token = self.with_key()?.sas_token(Timestamp::now(), TTL * 2)?;
        token.context("a login without key")
    }

    fn with_key(&self) -> Result<DeviceConnectionString> {
        let key = self.key.clone().context("a login without key")?;
        let credential = DeviceCredential::SharedAccessKey { key, policy: None };
        Ok(DeviceConnectionString { credential, ..self.login.credential.clone() })
    }
}

/// Returns the name that a certificate of a CA must have.
pub(super) fn common_name(device: &DeviceId, module: Option<&ModuleId>) -> String {
    match module {
        None => device.to_string(),
        Some(module) => format!("{device}/{module}"),
    }
}

fn certificate(site: &Site, proof: Proof, name: &str) -> Result<Option<ClientCertificate>> {
    Ok(match proof {
        Proof::Key | Proof::Token => None,
        // Only its thumbprint counts.
        Proof::SelfSigned => Some(ClientCertificate::self_signed("any name")),
        Proof::Authority => Some(site.authorities()?.intermediate.issue(name)),
    })
}

/// Returns the registered proof. A thumbprint is SHA-1 in the first place over MQTT, and elsewhere SHA-256 in the second,
/// so that the cells have each of them.
fn authentication(
    proof: Proof,
    transport: Transport,
    certificate: Option<&ClientCertificate>,
) -> Authentication {
    let kind = match proof {
        Proof::Key | Proof::Token => AuthenticationType::Sas,
        Proof::SelfSigned => AuthenticationType::SelfSigned,
        Proof::Authority => AuthenticationType::CertificateAuthority,
    };
    let thumbprints = |certificate: &ClientCertificate| match transport {
        Transport::Mqtt => {
            X509Thumbprints { primary_thumbprint: Some(certificate.sha1()), secondary_thumbprint: None }
        }
        Transport::MqttWs | Transport::Http => X509Thumbprints {
            primary_thumbprint: Some(ClientCertificate::self_signed("another").sha256()),
            secondary_thumbprint: Some(certificate.sha256()),
        },
    };
    let x509_thumbprint = certificate.filter(|_| proof == Proof::SelfSigned).map(thumbprints);
    Authentication { kind, x509_thumbprint, ..Authentication::default() }
}

/// Registers the identity. Returns its proof as the hub has it.
async fn register(
    site: &Site,
    device: &DeviceId,
    module: Option<&ModuleId>,
    authentication: Authentication,
) -> Result<Authentication> {
    let mut identity = DeviceIdentity::new(device.clone());
    let Some(module) = module else {
        identity.authentication = authentication;
        return Ok(site.service().devices().create(identity).await?.authentication);
    };
    site.service().devices().create(identity).await?;
    let mut identity = ModuleIdentity::new(device.clone(), module.clone());
    identity.authentication = authentication;
    Ok(site.service().modules().create(identity).await?.authentication)
}
