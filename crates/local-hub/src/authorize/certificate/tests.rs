//! These tests present certificates for identities of each type, right ones and each kind of wrong one.

use std::sync::Arc;
use std::time::Duration;

use iothub_auth::{ManualClock, SasToken};
use iothub_models::{DeviceId, DeviceStatus, ErrorCode, ModuleId, SharedAccessKey};
use iothub_testkit::certificates::{Authority, ClientCertificate};

use super::*;
use crate::config::{ConsumerGroups, HostNames, HubConfig};
use crate::core::grant::{Credential, Denied};
use crate::core::limits::Limits;
use crate::core::policies::{Policies, new_key};
use crate::core::refusal::Precondition;
use crate::core::registry::{DeviceWrite, ModuleWrite};
use crate::hub::Hub;
use crate::journal::Memory;

const HOUR: Duration = Duration::from_secs(3600);

struct Setup {
    hub: Hub,
    time: ManualClock,
    root: Authority,
}

fn setup() -> Setup {
    let time = ManualClock::new(Timestamp::now());
    let root = Authority::root("root");
    let config = HubConfig {
        name: "hub".into(),
        host_names: HostNames::new("hub", &[]).unwrap(),
        limits: Limits::default(),
        routes: Arc::default(),
        consumer_groups: ConsumerGroups::new(&[]).unwrap(),
        keeps_devices: true,
        device_cas: DeviceCas::read(&[root.pem()]).unwrap(),
    };
    let policies = Policies::new(|_| new_key().unwrap());
    let codec = crate::amqp::event_message::CODEC;
    let hub = Hub::new(config, time.clock(), policies, 1, codec, Box::new(Memory));
    Setup { hub, time, root }
}

fn thumbprints(primary: &str, secondary: Option<&str>) -> X509Thumbprints {
    X509Thumbprints {
        primary_thumbprint: Some(primary.into()),
        secondary_thumbprint: secondary.map(Into::into),
    }
}

impl Setup {
    /// Creates a device with this proof, and returns its keys.
    async fn device(
        &self,
        id: &str,
        authentication: AuthenticationType,
        thumbprints: X509Thumbprints,
    ) -> Option<SharedAccessKey> {
        let write = DeviceWrite { authentication, thumbprints, ..DeviceWrite::new(id.parse().unwrap()) };
        let created = self.hub.put_device(write, &Precondition::None).await.unwrap();
        created.authentication.symmetric_key.unwrap().primary_key
    }

    async fn ca_device(&self, id: &str) {
        self.device(id, AuthenticationType::CertificateAuthority, X509Thumbprints::default()).await;
    }

    async fn disable(&self, id: &str, authentication: AuthenticationType) {
        let write = DeviceWrite::new(id.parse().unwrap());
        let write = DeviceWrite { authentication, status: DeviceStatus::Disabled, ..write };
        self.hub.put_device(write, &Precondition::Exists).await.unwrap();
    }

    /// Presents a certificate, and perhaps a token, for `device` or `device/module`.
    fn present(
        &self,
        id: &str,
        token: Option<&str>,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Credential, Denied> {
        let (device, module) =
            id.split_once('/').map_or((id, None), |(device, module)| (device, Some(module)));
        let device: DeviceId = device.parse().unwrap();
        let module: Option<ModuleId> = module.map(|module| module.parse().unwrap());
        let chain = certificate.map(|certificate| ClientChain::unproven(certificate.chain().to_vec()));
        let grant = self.hub.authorize_device(&device, module.as_ref(), token, chain.as_ref())?;
        Ok(grant.credential)
    }

    fn in_with(&self, id: &str, certificate: &ClientCertificate) -> Credential {
        self.present(id, None, Some(certificate)).unwrap()
    }

    /// Checks that a certificate is refused with the code of every wrong proof, and returns the reason.
    fn refused(&self, id: &str, certificate: &ClientCertificate) -> String {
        let denied = self.present(id, None, Some(certificate)).unwrap_err();
        assert_eq!(denied.code, ErrorCode::IotHubUnauthorizedAccess, "{}", denied.reason);
        denied.reason
    }

    fn token(&self, id: &str, key: &SharedAccessKey) -> String {
        let resource = format!("localhost/devices/{id}");
        SasToken::sign(&resource, key, self.time.clock().now(), HOUR, None).unwrap().reveal().to_owned()
    }

    fn seconds(&self, days: i64) -> u64 {
        u64::try_from(self.time.clock().now().as_second() + days * 86_400).unwrap()
    }
}

const SELF_SIGNED: Credential = Credential::Certificate { kind: CertificateKind::SelfSigned, module: false };

#[tokio::test]
async fn either_thumbprint_by_either_hash_lets_the_device_in_whatever_its_case() {
    let setup = setup();
    let (first, second) = (ClientCertificate::self_signed("x"), ClientCertificate::self_signed("y"));
    for (id, primary, secondary) in [
        ("sha1", first.sha1(), second.sha1()),
        ("sha256", first.sha256(), second.sha256()),
        ("lower", first.sha256().to_lowercase(), second.sha256().to_lowercase()),
    ] {
        let both = thumbprints(&primary, Some(&secondary));
        setup.device(id, AuthenticationType::SelfSigned, both).await;
        assert_eq!(setup.in_with(id, &first), SELF_SIGNED, "{id}");
        assert_eq!(setup.in_with(id, &second), SELF_SIGNED, "{id}");
    }
    let secondary = X509Thumbprints { primary_thumbprint: None, secondary_thumbprint: Some(first.sha1()) };
    setup.device("secondary", AuthenticationType::SelfSigned, secondary).await;
    assert_eq!(setup.in_with("secondary", &first), SELF_SIGNED);
    // Its issuer and its chain do not count: any certificate can be pinned.
    let issued = setup.root.intermediate("middle").issue("z");
    setup.device("issued", AuthenticationType::SelfSigned, thumbprints(&issued.sha256(), None)).await;
    assert_eq!(setup.in_with("issued", &issued.alone()), SELF_SIGNED);
}

#[tokio::test]
async fn the_thumbprint_of_another_device_is_refused_and_named() {
    let setup = setup();
    let (own, other) = (ClientCertificate::self_signed("d1"), ClientCertificate::self_signed("d1"));
    setup.device("d1", AuthenticationType::SelfSigned, thumbprints(&own.sha256(), None)).await;
    setup.device("d2", AuthenticationType::SelfSigned, thumbprints(&own.sha1(), None)).await;
    let reason = setup.refused("d1", &other);
    assert!(
        reason.contains(&format!("the SHA-256 thumbprint {}, which is neither", other.sha256())),
        "{reason}"
    );
    let reason = setup.refused("d2", &other);
    assert!(reason.contains(&format!("the SHA-1 thumbprint {}, which is neither", other.sha1())), "{reason}");
}

#[tokio::test]
async fn a_pinned_certificate_must_be_valid_by_the_clock_of_the_hub() {
    let setup = setup();
    let (from, until) = (setup.seconds(1), setup.seconds(3));
    let made = ClientCertificate::self_signed_between("d1", from, until);
    setup.device("d1", AuthenticationType::SelfSigned, thumbprints(&made.sha256(), None)).await;
    let reason = setup.refused("d1", &made);
    assert!(reason.starts_with("the client certificate is not valid before 20"), "{reason}");
    setup.time.advance(HOUR * 48);
    assert_eq!(setup.in_with("d1", &made), SELF_SIGNED);
    setup.time.advance(HOUR * 48);
    let reason = setup.refused("d1", &made);
    assert!(reason.starts_with("the client certificate expired at 20"), "{reason}");
}

#[tokio::test]
async fn a_certificate_of_a_ca_proves_the_device_whose_id_is_its_common_name() {
    let setup = setup();
    setup.ca_device("d1").await;
    let by_ca = Credential::Certificate { kind: CertificateKind::CertificateAuthority, module: false };
    assert_eq!(setup.in_with("d1", &setup.root.issue("d1")), by_ca);
    let middle = setup.root.intermediate("middle");
    assert_eq!(setup.in_with("d1", &middle.issue("d1")), by_ca);
    for (name, shown) in [("d2", "\"d2\""), ("D1", "\"D1\""), ("d1/m1", "\"d1/m1\""), ("d1 ", "\"d1 \"")] {
        let reason = setup.refused("d1", &setup.root.issue(name));
        assert_eq!(
            reason,
            format!("the common name of the client certificate is {shown}, and it must be \"d1\"")
        );
    }
    let reason = setup.refused("d1", &Authority::root("other").issue("d1"));
    assert!(reason.contains("whose issuer CN=other is neither"), "{reason}");
    let reason = setup.refused("d1", &middle.issue("d1").alone());
    assert!(reason.contains("the device must send that intermediate"), "{reason}");
    let expired = setup.root.issue_between("d1", setup.seconds(-3), setup.seconds(-1));
    assert!(setup.refused("d1", &expired).starts_with("the client certificate expired at 20"));
}

#[tokio::test]
async fn a_module_has_a_certificate_of_its_own() {
    let setup = setup();
    setup.ca_device("d1").await;
    let pinned = ClientCertificate::self_signed("whatever");
    for (module, authentication, thumbprints) in [
        ("m1", AuthenticationType::CertificateAuthority, X509Thumbprints::default()),
        ("m2", AuthenticationType::SelfSigned, thumbprints(&pinned.sha1(), None)),
    ] {
        let write = ModuleWrite::new("d1".parse().unwrap(), module.parse().unwrap());
        let write = ModuleWrite { authentication, thumbprints, ..write };
        setup.hub.put_module(write, &Precondition::None).await.unwrap();
    }
    let by_ca = setup.in_with("d1/m1", &setup.root.issue("d1/m1"));
    assert_eq!(by_ca, Credential::Certificate { kind: CertificateKind::CertificateAuthority, module: true });
    let by_thumbprint = setup.in_with("d1/m2", &pinned);
    assert_eq!(by_thumbprint, Credential::Certificate { kind: CertificateKind::SelfSigned, module: true });
    // The device's certificate is not the module's.
    let reason = setup.refused("d1/m1", &setup.root.issue("d1"));
    assert!(reason.ends_with("is \"d1\", and it must be \"d1/m1\""), "{reason}");
    let unknown = setup.refused("d1/m9", &setup.root.issue("d1/m9"));
    assert_eq!(unknown, "the device has no such module");
}

#[tokio::test]
async fn the_type_of_the_identity_says_which_proof_counts() {
    let setup = setup();
    setup.ca_device("ca").await;
    let key = setup.device("sas", AuthenticationType::Sas, X509Thumbprints::default()).await.unwrap();
    let (for_ca, for_sas) = (setup.root.issue("ca"), setup.root.issue("sas"));
    let token = setup.token("sas", &key);

    // Both: what the type does not ask for is not looked at.
    let own_key = SharedAccessKey::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let no_token = setup.token("ca", &own_key);
    assert!(setup.present("ca", Some(&no_token), Some(&for_ca)).is_ok());
    assert!(matches!(setup.present("sas", Some(&token), Some(&for_ca)), Ok(Credential::Sas { .. })));
    assert!(setup.present("sas", Some(&no_token), Some(&for_sas)).is_err());

    // The wrong one, or none.
    let reason = |id, token, certificate| {
        let denied = setup.present(id, token, certificate).unwrap_err();
        assert_eq!(denied.code, ErrorCode::IotHubUnauthorizedAccess);
        denied.reason
    };
    assert_eq!(reason("ca", Some(&no_token), None), "the identity's authentication type is not sas");
    assert_eq!(
        reason("ca", None, None),
        "the identity needs a client certificate, and the peer presented none"
    );
    assert!(reason("sas", None, Some(&for_sas)).starts_with("the identity's authentication type is sas"));
    assert_eq!(reason("sas", None, None), "there is neither a SAS token nor a client certificate");
    assert!(reason("nobody", None, Some(&setup.root.issue("nobody"))).starts_with("there is no such device"));
}

/// The token of a policy that may connect devices is no way round the certificate.
#[tokio::test]
async fn a_token_of_a_policy_does_not_stand_for_a_certificate() {
    let setup = setup();
    setup.ca_device("ca").await;
    let key = setup.hub.policies().get("iothubowner").unwrap().key.clone();
    let now = setup.time.clock().now();
    let token = SasToken::sign("localhost", &key, now, HOUR, Some("iothubowner")).unwrap();
    let denied = setup.present("ca", Some(token.reveal()), None).unwrap_err();
    assert_eq!(denied.reason, "the identity's authentication type is not sas");
    assert!(setup.present("ca", Some(token.reveal()), Some(&setup.root.issue("ca"))).is_ok());
}

#[tokio::test]
async fn a_disabled_device_is_told_so_only_if_its_proof_is_right() {
    let setup = setup();
    setup.ca_device("d1").await;
    setup.disable("d1", AuthenticationType::CertificateAuthority).await;
    let denied = setup.present("d1", None, Some(&setup.root.issue("d1"))).unwrap_err();
    assert_eq!(denied.code, ErrorCode::DeviceDisabled);
    setup.refused("d1", &setup.root.issue("d2"));
}
