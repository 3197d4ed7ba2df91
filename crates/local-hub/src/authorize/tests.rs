//! These tests try each way to be refused, and check that only the right proof is taken.

use std::sync::Arc;
use std::time::Duration;

use iothub_auth::{Clock, ManualClock, SharedAccessKey};
use iothub_models::Identity;

use super::*;
use crate::config::{ConsumerGroups, HostNames, HubConfig};
use crate::core::limits::Limits;
use crate::core::policies::{Policies, new_key};
use crate::core::refusal::Precondition;
use crate::core::registry::DeviceWrite;
use crate::journal::Memory;

const HOUR: Duration = Duration::from_secs(3600);

/// Returns the owner of the key that a device's token was signed with.
fn signer(grant: &DeviceGrant) -> Signer {
    match grant.credential {
        Credential::Sas { signer, .. } => signer,
        Credential::Certificate { .. } => panic!("a certificate signs no token"),
    }
}

struct Setup {
    hub: Hub,
    time: ManualClock,
    device: DeviceId,
    keys: [SharedAccessKey; 2],
}

async fn setup() -> Setup {
    let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
    let config = HubConfig {
        name: "hub".into(),
        host_names: HostNames::new("hub", &["my-hub.example".into()]).unwrap(),
        limits: Limits::default(),
        routes: Arc::default(),
        consumer_groups: ConsumerGroups::new(&[]).unwrap(),
        keeps_devices: true,
        device_cas: Default::default(),
    };
    let hub = Hub::new(
        config,
        time.clock(),
        Policies::new(|_| new_key().unwrap()),
        1,
        crate::amqp::event_message::CODEC,
        Box::new(Memory),
    );
    let device: DeviceId = "d1".parse().unwrap();
    let created = hub.put_device(DeviceWrite::new(device.clone()), &Precondition::None).await.unwrap();
    let keys = created.authentication.symmetric_key.unwrap();
    let keys = [keys.primary_key.unwrap(), keys.secondary_key.unwrap()];
    Setup { hub, time, device, keys }
}

impl Setup {
    fn clock(&self) -> Clock {
        self.time.clock()
    }

    fn device_token(&self, resource: &str, key: &SharedAccessKey, policy: Option<&str>) -> String {
        SasToken::sign(resource, key, self.clock().now(), HOUR, policy).unwrap().reveal().to_owned()
    }

    fn policy_token(&self, resource: &str, policy: &str) -> String {
        let key = self.hub.policies().get(policy).unwrap().key.clone();
        self.device_token(resource, &key, Some(policy))
    }

    fn device(&self, token: &str) -> Result<DeviceGrant, Denied> {
        self.hub.authorize_device(&self.device, None, Some(token), None)
    }

    fn refused(&self, token: &str, code: ErrorCode, reason: &str) {
        let denied = self.device(token).unwrap_err();
        assert_eq!(denied.code, code, "{}", denied.reason);
        assert!(denied.reason.contains(reason), "{}", denied.reason);
        let signature = token.split("sig=").nth(1).and_then(|rest| rest.split('&').next()).unwrap_or("-");
        assert!(signature.len() < 8 || !denied.reason.contains(signature), "{}", denied.reason);
    }
}

#[tokio::test]
async fn a_device_gets_in_with_either_key_and_any_of_the_hub_s_names() {
    let setup = setup().await;
    for host in
        ["my-hub.example", "MY-HUB.Example", "localhost", "localhost:8443", "127.0.0.1", "hub.localhost"]
    {
        for key in &setup.keys {
            let token = setup.device_token(&format!("{host}/devices/d1"), key, None);
            assert_eq!(signer(&setup.device(&token).unwrap()), Signer::Device, "{host}");
        }
    }
}

#[tokio::test]
async fn a_policy_that_may_connect_devices_gets_any_device_in() {
    let setup = setup().await;
    for policy in ["iothubowner", "device"] {
        for resource in ["localhost", "localhost/devices", "localhost/devices/d1"] {
            let grant = setup.device(&setup.policy_token(resource, policy)).unwrap();
            assert_eq!(signer(&grant), Signer::Policy);
        }
    }
    for policy in ["service", "registryRead", "registryReadWrite"] {
        let token = setup.policy_token("localhost/devices/d1", policy);
        setup.refused(&token, ErrorCode::IotHubUnauthorizedAccess, "lacks the permission DeviceConnect");
    }
}

#[tokio::test]
async fn each_defect_of_a_device_s_token_is_refused_with_its_reason() {
    let setup = setup().await;
    let unauthorized = ErrorCode::IotHubUnauthorizedAccess;
    let key = &setup.keys[0];
    let foreign = new_key().unwrap();
    setup.refused(&setup.device_token("localhost/devices/d1", &foreign, None), unauthorized, "another key");
    setup.refused(&setup.device_token("other.example/devices/d1", key, None), unauthorized, "other.example");
    setup.refused(
        &setup.device_token("localhost/devices/d2", key, None),
        unauthorized,
        "not for /devices/d1",
    );
    setup.refused(&setup.device_token("localhost/devices/d1x", key, None), unauthorized, "not for");
    setup.refused(
        &setup.device_token("localhost/devices/d1", key, Some("nobody")),
        unauthorized,
        "\"nobody\"",
    );
    setup.refused("SharedAccessSignature garbage", unauthorized, "sr");
    setup.refused("", unauthorized, "SharedAccessSignature");
    let none = setup.hub.authorize_device(&setup.device, None, None, None).unwrap_err();
    assert_eq!(none.code, unauthorized);
    let unknown = setup.hub.authorize_device(
        &"d2".parse().unwrap(),
        None,
        Some(&setup.device_token("localhost/devices/d2", key, None)),
        None,
    );
    let unknown = unknown.unwrap_err();
    assert_eq!(unknown.code, unauthorized);
    assert!(unknown.reason.contains("--device"), "{}", unknown.reason);
}

#[tokio::test]
async fn only_the_bearer_of_a_policy_learns_which_identities_there_are() {
    let setup = setup().await;
    let (nobody, module) = ("nobody".parse().unwrap(), "m".parse().unwrap());
    let nobodys = SharedAccessKey::new(NOBODYS_KEY);
    for key in [&setup.keys[0], &new_key().unwrap(), &nobodys] {
        let code = |device: &DeviceId, module: Option<&ModuleId>| {
            let token = setup.device_token(&format!("localhost/devices/{device}"), key, None);
            setup.hub.authorize_device(device, module, Some(&token), None).unwrap_err().code
        };
        assert_eq!(code(&nobody, None), ErrorCode::IotHubUnauthorizedAccess);
        assert_eq!(code(&nobody, Some(&module)), ErrorCode::IotHubUnauthorizedAccess);
        assert_eq!(code(&setup.device, Some(&module)), ErrorCode::IotHubUnauthorizedAccess);
    }
    let token = setup.device_token("localhost/devices/d1", &nobodys, None);
    setup.refused(&token, ErrorCode::IotHubUnauthorizedAccess, "another key");
    let token = setup.policy_token("localhost", "device");
    let code = |device: &DeviceId, module: Option<&ModuleId>| {
        setup.hub.authorize_device(device, module, Some(&token), None).unwrap_err().code
    };
    assert_eq!(code(&nobody, None), ErrorCode::DeviceNotFound);
    assert_eq!(code(&nobody, Some(&module)), ErrorCode::DeviceNotFound);
    assert_eq!(code(&setup.device, Some(&module)), ErrorCode::ModuleNotFound);
    // Those who may not connect devices learn nothing.
    let token = setup.policy_token("localhost", "service");
    let denied = setup.hub.authorize_device(&nobody, None, Some(&token), None).unwrap_err();
    assert_eq!(denied.code, ErrorCode::IotHubUnauthorizedAccess);
}

#[tokio::test]
async fn scopes_are_exact_but_for_an_id_that_dotnet_encodes_twice() {
    let setup = setup().await;
    let odd: DeviceId = "a:b%".parse().unwrap();
    let created = setup.hub.put_device(DeviceWrite::new(odd.clone()), &Precondition::None).await.unwrap();
    let own = created.authentication.symmetric_key.unwrap().primary_key.unwrap();
    let opens =
        |device: &DeviceId, token: &str| setup.hub.authorize_device(device, None, Some(token), None).is_ok();
    for (device, key, id, by_device, by_policy) in [
        (&setup.device, &setup.keys[0], "d1", true, true),
        (&setup.device, &setup.keys[0], "d%31", false, false),
        (&setup.device, &setup.keys[0], "%64%31", false, false),
        (&setup.device, &setup.keys[0], "d1/api-version=2016-11-14", false, false),
        (&odd, &own, "a:b%", true, true),
        (&odd, &own, "a%3Ab%25", true, false),
        (&odd, &own, "a%3ab%25", true, false),
        (&odd, &own, "%61%3Ab%25", false, false),
        (&odd, &own, "a%253Ab%2525", false, false),
    ] {
        let resource = format!("localhost/devices/{id}");
        assert_eq!(opens(device, &setup.device_token(&resource, key, None)), by_device, "{id}");
        assert_eq!(opens(device, &setup.policy_token(&resource, "device")), by_policy, "{id}");
    }
}

#[tokio::test]
async fn a_token_lasts_until_its_expiry_and_the_skew() {
    let setup = setup().await;
    let token = setup.device_token("localhost/devices/d1", &setup.keys[0], None);
    setup.time.advance(HOUR + CLOCK_SKEW);
    assert!(setup.device(&token).is_ok());
    setup.time.advance(Duration::from_secs(1));
    setup.refused(&token, ErrorCode::IotHubUnauthorizedAccess, "expired 301 s ago");
}

#[tokio::test]
async fn a_disabled_device_is_refused_once_its_proof_is_right() {
    let setup = setup().await;
    let disabled = DeviceWrite { status: DeviceStatus::Disabled, ..DeviceWrite::new(setup.device.clone()) };
    let token = setup.device_token("localhost/devices/d1", &setup.keys[0], None);
    let grant = setup.device(&token).unwrap();
    setup.hub.put_device(disabled, &Precondition::Exists).await.unwrap();
    setup.refused(&token, ErrorCode::DeviceDisabled, "disabled");
    let foreign = setup.device_token("localhost/devices/d1", &new_key().unwrap(), None);
    setup.refused(&foreign, ErrorCode::IotHubUnauthorizedAccess, "another key");
    // A grant from before does not open a connection any more either.
    let id = Identity::device(setup.device.clone());
    assert_eq!(setup.hub.connect(id, &grant, None).await.unwrap_err().code, ErrorCode::DeviceDisabled);
}

#[tokio::test]
async fn a_back_end_needs_a_policy_its_key_the_permission_and_the_scope() {
    let setup = setup().await;
    let path = ["devices", "d1"];
    let read = [Permission::RegistryRead];
    let ok = |token: &str| setup.hub.authorize_service(token, &path, &read);
    let grant = ok(&setup.policy_token("localhost", "registryRead")).unwrap();
    assert_eq!((grant.policy.name.as_str(), grant.expiry), ("registryRead", setup.clock().after(HOUR)));
    assert!(ok(&setup.policy_token("localhost/devices/d1", "iothubowner")).is_ok());
    for (token, reason) in [
        (setup.policy_token("localhost", "service"), "service lacks the permission RegistryRead"),
        (setup.policy_token("localhost/devices/d2", "iothubowner"), "not for /devices/d1"),
        (setup.policy_token("other.example", "iothubowner"), "other.example"),
        (setup.device_token("localhost", &setup.keys[0], None), "no shared access policy"),
        (setup.device_token("localhost", &setup.keys[0], Some("iothubowner")), "another key"),
        (setup.device_token("localhost", &setup.keys[0], Some("nobody")), "nobody"),
        ("Bearer x".to_owned(), "SharedAccessSignature"),
    ] {
        let denied = ok(&token).unwrap_err();
        assert_eq!(denied.code, ErrorCode::IotHubUnauthorizedAccess);
        assert!(denied.reason.contains(reason), "{}", denied.reason);
    }
}
