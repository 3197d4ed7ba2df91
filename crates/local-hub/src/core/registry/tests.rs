//! These tests check the rules of the registry, one test each.

use iothub_models::{
    AuthenticationType, ConnectionState, Identity, ModuleId, SharedAccessKey, X509Thumbprints,
};

use super::*;

fn now() -> Timestamp {
    "2026-11-21T02:30:00.123456789Z".parse().unwrap()
}

fn registry() -> Registry {
    Registry::new(3, 8_815_807)
}

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

fn create(registry: &mut Registry, name: &str) -> DeviceIdentity {
    registry.put(DeviceWrite::new(id(name)), &Precondition::None, now()).unwrap()
}

fn keys_of(identity: &DeviceIdentity) -> [String; 2] {
    let keys = identity.authentication.symmetric_key.as_ref().unwrap();
    [&keys.primary_key, &keys.secondary_key].map(|key| key.as_ref().unwrap().reveal().to_owned())
}

#[test]
fn a_new_identity_has_keys_a_generation_and_an_etag() {
    let created = create(&mut registry(), "d1");
    assert_eq!(created.generation_id, "639308250001234567");
    assert_eq!(created.etag, "ODgxNTgwOA==");
    assert_eq!(created.status_updated_time, DeviceIdentity::new(id("d1")).status_updated_time);
    let [primary, secondary] = keys_of(&created);
    assert!(primary != secondary && primary.len() == 44);
}

#[test]
fn generations_differ_even_within_one_tick() {
    let mut registry = registry();
    let first = create(&mut registry, "d1");
    registry.delete(&id("d1"), &Precondition::None).unwrap();
    let second = create(&mut registry, "d1");
    assert!(second.generation_id > first.generation_id);
    assert_ne!(keys_of(&first), keys_of(&second));
}

#[test]
fn without_a_precondition_put_only_creates() {
    let mut registry = registry();
    create(&mut registry, "d1");
    let again = registry.put(DeviceWrite::new(id("d1")), &Precondition::None, now()).unwrap_err();
    assert_eq!(again.code, ErrorCode::DeviceAlreadyExists);
    assert!(again.text.contains("'d1' is already registered"));
}

#[test]
fn with_a_precondition_put_only_replaces() {
    let mut registry = registry();
    for precondition in [Precondition::Exists, Precondition::Etag("MQ==".into())] {
        let missing = registry.put(DeviceWrite::new(id("d1")), &precondition, now()).unwrap_err();
        assert_eq!((missing.code, missing.text.as_str()), (ErrorCode::DeviceNotFound, "d1"));
    }
    let created = create(&mut registry, "d1");
    let stale = Precondition::Etag("MQ==".into());
    let refused = registry.put(DeviceWrite::new(id("d1")), &stale, now()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::PreconditionFailed);
    assert_eq!(registry.delete(&id("d1"), &stale).unwrap_err().code, ErrorCode::PreconditionFailed);
    let fits = Precondition::Etag(created.etag.clone());
    let updated = registry.put(DeviceWrite::new(id("d1")), &fits, now()).unwrap();
    assert_ne!(updated.etag, created.etag);
    assert_eq!(updated.generation_id, created.generation_id);
    registry.delete(&id("d1"), &Precondition::Etag(updated.etag)).unwrap();
    assert_eq!(
        registry.delete(&id("d1"), &Precondition::Exists).unwrap_err().code,
        ErrorCode::DeviceNotFound
    );
}

#[test]
fn a_write_replaces_everything_but_the_keys() {
    let mut registry = registry();
    let created = create(&mut registry, "d1");
    let disabled = DeviceWrite {
        status: DeviceStatus::Disabled,
        status_reason: Some("stolen".into()),
        iot_edge: true,
        ..DeviceWrite::new(id("d1"))
    };
    let changed = registry.put(disabled, &Precondition::Exists, now()).unwrap();
    assert_eq!((changed.status, changed.status_reason.as_deref()), (DeviceStatus::Disabled, Some("stolen")));
    assert_eq!(changed.status_updated_time.to_string(), "2026-11-21T02:30:00.1234567Z");
    assert_eq!(keys_of(&changed), keys_of(&created));
    assert_eq!(registry.statistics().disabled_device_count, 1);
    let reset = registry.put(DeviceWrite::new(id("d1")), &Precondition::Exists, now()).unwrap();
    assert_eq!((reset.status, reset.status_reason.as_deref()), (DeviceStatus::Enabled, None));
    assert!(!reset.capabilities.iot_edge);
    assert_eq!(keys_of(&reset), keys_of(&created));
    assert_eq!(registry.statistics().disabled_device_count, 0);
}

#[test]
fn a_device_with_a_certificate_has_no_keys() {
    let write = DeviceWrite {
        authentication: AuthenticationType::SelfSigned,
        thumbprints: X509Thumbprints {
            primary_thumbprint: Some("ab".repeat(20)),
            secondary_thumbprint: None,
        },
        ..DeviceWrite::new(id("d1"))
    };
    let created = registry().put(write, &Precondition::None, now()).unwrap();
    assert!(created.authentication.symmetric_key.unwrap().primary_key.is_none());
    assert_eq!(created.authentication.x509_thumbprint.unwrap().primary_thumbprint, Some("ab".repeat(20)));
}

#[test]
fn defects_of_the_request_are_named() {
    let write = || DeviceWrite::new(id("d1"));
    let key = |text: &str| Some([SharedAccessKey::new(text), SharedAccessKey::new(text)]);
    let thumbprint = X509Thumbprints { primary_thumbprint: Some("xyz".into()), secondary_thumbprint: None };
    for (bad, named) in [
        (DeviceWrite { status_reason: Some("x".repeat(129)), ..write() }, "statusReason"),
        (DeviceWrite { keys: key("not base64"), ..write() }, "symmetricKey"),
        (DeviceWrite { keys: key("c2hvcnQ="), ..write() }, "symmetricKey"),
        (DeviceWrite { thumbprints: thumbprint, ..write() }, "x509Thumbprint"),
    ] {
        let refused = registry().put(bad, &Precondition::None, now()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::ArgumentInvalid);
        assert!(refused.text.contains(named), "{}", refused.text);
    }
    for (authentication, primary, secondary, named) in [
        (AuthenticationType::SelfSigned, None, None, "needs a thumbprint"),
        (AuthenticationType::SelfSigned, Some("AB:".repeat(20)), None, "primaryThumbprint: only hexadecimal"),
        (
            AuthenticationType::SelfSigned,
            Some("ab".repeat(21)),
            None,
            "digits are expected, and there are 42",
        ),
        (AuthenticationType::SelfSigned, Some("ab".repeat(20)), Some("ab".repeat(32)), "of one hash"),
        (AuthenticationType::CertificateAuthority, None, Some("xy".repeat(20)), "secondaryThumbprint: only"),
    ] {
        let thumbprints = X509Thumbprints { primary_thumbprint: primary, secondary_thumbprint: secondary };
        let refused = registry()
            .put(DeviceWrite { authentication, thumbprints, ..write() }, &Precondition::None, now())
            .unwrap_err();
        assert_eq!(refused.code, ErrorCode::ArgumentInvalid);
        assert!(refused.text.contains(named), "{}", refused.text);
    }
    let longest = DeviceWrite { status_reason: Some("\u{e9}".repeat(128)), ..write() };
    assert!(registry().put(longest, &Precondition::None, now()).is_ok());
}

#[test]
fn the_limit_is_refused_aloud_and_leaves_the_rest() {
    let mut registry = registry();
    for name in ["c", "a", "b"] {
        create(&mut registry, name);
    }
    let refused = registry.put(DeviceWrite::new(id("d")), &Precondition::None, now()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::IotHubQuotaExceeded);
    let listed: Vec<_> = registry.list(1000).into_iter().map(|d| d.device_id.to_string()).collect();
    assert_eq!(listed, ["a", "b", "c"]);
    assert_eq!(registry.list(2).len(), 2);
    assert_eq!(registry.statistics().total_device_count, 3);
}

#[test]
fn the_connection_state_shows_and_survives_an_update() {
    let mut registry = registry();
    create(&mut registry, "d1");
    registry.set_connected(&Identity::device(id("d1")), true, now());
    let seen = registry.put(DeviceWrite::new(id("d1")), &Precondition::Exists, now()).unwrap();
    assert_eq!(seen.connection_state, ConnectionState::Connected);
    assert_eq!(seen.connection_state_updated_time.to_string(), "2026-11-21T02:30:00.1234567Z");
    registry.set_connected(&Identity::device(id("d1")), false, now());
    assert_eq!(registry.get(&id("d1")).unwrap().connection_state, ConnectionState::Disconnected);
}

fn module(name: &str) -> ModuleWrite {
    ModuleWrite::new(id("d1"), name.parse::<ModuleId>().unwrap())
}

fn module_id(name: &str) -> Identity {
    module(name).id()
}

#[test]
fn modules_follow_the_rules_of_devices() {
    let mut registry = Registry::new(100, 1);
    let none = &Precondition::None;
    let refused = registry.put_module(module("m"), none, now()).unwrap_err();
    assert_eq!((refused.code, refused.text.as_str()), (ErrorCode::DeviceNotFound, "d1"));
    let device = create(&mut registry, "d1");
    let missing = registry.put_module(module("m"), &Precondition::Exists, now()).unwrap_err();
    assert_eq!((missing.code, missing.text.as_str()), (ErrorCode::ModuleNotFound, "d1/m"));
    let created = registry.put_module(module("m"), none, now()).unwrap();
    assert!(created.generation_id > device.generation_id && created.etag != device.etag);
    let again = registry.put_module(module("m"), none, now()).unwrap_err();
    assert_eq!(again.code, ErrorCode::ModuleAlreadyExistsOnDevice);
    let stale = Precondition::Etag("MQ==".into());
    assert_eq!(
        registry.put_module(module("m"), &stale, now()).unwrap_err().code,
        ErrorCode::PreconditionFailed
    );
    let fits = Precondition::Etag(created.etag.clone());
    let managed = ModuleWrite { managed_by: Some("IotEdge".into()), ..module("m") };
    let changed = registry.put_module(managed, &fits, now()).unwrap();
    assert_eq!(changed.managed_by.as_deref(), Some("IotEdge"));
    assert_eq!(changed.generation_id, created.generation_id);
    assert_eq!(
        registry.delete_module(&module_id("m"), &fits).unwrap_err().code,
        ErrorCode::PreconditionFailed
    );
    registry.delete_module(&module_id("m"), &Precondition::Exists).unwrap();
    assert_eq!(registry.module(&module_id("m")).unwrap_err().code, ErrorCode::ModuleNotFound);
}

#[test]
fn a_device_has_fifty_modules_and_they_go_with_it() {
    let mut registry = Registry::new(100, 1);
    create(&mut registry, "d1");
    create(&mut registry, "d10");
    for number in 0..50 {
        registry.put_module(module(&format!("m{number}")), &Precondition::None, now()).unwrap();
    }
    let refused = registry.put_module(module("more"), &Precondition::None, now()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::TooManyModulesOnDevice);
    assert_eq!(registry.modules(&id("d1")).unwrap().len(), 50);
    assert!(registry.modules(&id("d10")).unwrap().is_empty());
    registry.delete(&id("d1"), &Precondition::None).unwrap();
    create(&mut registry, "d1");
    assert!(registry.modules(&id("d1")).unwrap().is_empty());
}

#[test]
fn the_modules_of_the_edge_runtime_come_and_go_with_the_device() {
    let mut registry = Registry::new(100, 1);
    create(&mut registry, "d1");
    let refused = registry.put_module(module("$edgeAgent"), &Precondition::None, now()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::SystemModuleModifyUnauthorizedAccess);
    let refused = registry.put_module(module("$mine"), &Precondition::None, now()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::ArgumentInvalid);
    let edge = DeviceWrite { iot_edge: true, ..DeviceWrite::new(id("d1")) };
    registry.put(edge, &Precondition::Exists, now()).unwrap();
    let (came, went) = registry.settle_system_modules(&id("d1"), now()).unwrap();
    assert_eq!((came, went), (vec![module_id("$edgeAgent"), module_id("$edgeHub")], vec![]));
    let refused = registry.delete_module(&module_id("$edgeHub"), &Precondition::Exists).unwrap_err();
    assert_eq!(refused.code, ErrorCode::SystemModuleModifyUnauthorizedAccess);
    let agent = registry.module(&module_id("$edgeAgent")).unwrap();
    assert_eq!(agent.authentication.kind, AuthenticationType::None);
    registry.put(DeviceWrite::new(id("d1")), &Precondition::Exists, now()).unwrap();
    let (came, went) = registry.settle_system_modules(&id("d1"), now()).unwrap();
    assert_eq!((came.len(), went.len()), (0, 2));
}
