//! These functions read a device or module identity as back ends write it: JSON in, [`DeviceWrite`] or
//! [`ModuleWrite`] out.
//!
//! `devices` and `modules` call them; the registry judges the values. Members that only the hub may set are passed over,
//! since clients send back whole identities; so are unknown members, as the service does. A member that the service
//! would keep and this hub does not is refused.

use iothub_models::{AuthenticationType, DeviceStatus, ErrorCode, SharedAccessKey, X509Thumbprints};
use serde_json::{Map, Value};

use super::json_object::{Parsed, boolean, field, not_kept, object, one_of, root, text, texts};
use super::passed_over::{PassedOver, Read};
use crate::core::refusal::HubError;
use crate::core::registry::{DeviceWrite, ModuleWrite};

/// Members that only the hub writes, of devices and of modules.
const READ_ONLY: &[&str] = &[
    "generationId",
    "etag",
    "connectionState",
    "connectionStateUpdatedTime",
    "statusUpdatedTime",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
];

/// The member that the service's newest preview keeps with an identity, and this hub does not.
const ATTRIBUTES: &str = "attributes";

const DEVICE: &[&str] = &[
    "deviceId",
    "status",
    "statusReason",
    "authentication",
    "capabilities",
    "deviceScope",
    "parentScopes",
    ATTRIBUTES,
];

const MODULE: &[&str] = &["deviceId", "moduleId", "managedBy", "authentication", ATTRIBUTES];

/// Reads the body of a `PUT /devices/{id}`.
pub(super) fn parse(body: &[u8]) -> Parsed<Read<DeviceWrite>> {
    let device = root(body)?;
    let mut write = DeviceWrite::new(id(&device, "deviceId")?);
    if let Some(word) = text(&device, "status")? {
        const STATUS: [(&str, DeviceStatus); 2] =
            [("enabled", DeviceStatus::Enabled), ("disabled", DeviceStatus::Disabled)];
        write.status = one_of("status", word, &STATUS)?;
    }
    write.status_reason = text(&device, "statusReason")?.map(str::to_owned);
    let mut passed_over = PassedOver::default();
    let authentication = authentication(&device, &mut passed_over)?;
    write.authentication = authentication.kind;
    write.keys = authentication.keys;
    write.thumbprints = authentication.thumbprints;
    if let Some(capabilities) = object(&device, "capabilities")? {
        if let Some(edge) = field(capabilities, "iotEdge") {
            write.iot_edge = boolean("capabilities.iotEdge", edge)?;
        }
        passed_over.note(capabilities, "capabilities.", &["iotEdge"], &[]);
    }
    write.device_scope = text(&device, "deviceScope")?.map(str::to_owned);
    write.parent_scopes = texts(&device, "parentScopes")?;
    not_kept(&device, ATTRIBUTES)?;
    passed_over.note(&device, "", DEVICE, READ_ONLY);
    Ok(Read { value: write, passed_over })
}

/// Reads the body of a `PUT /devices/{id}/modules/{mid}`.
pub(super) fn parse_module(body: &[u8]) -> Parsed<Read<ModuleWrite>> {
    let module = root(body)?;
    let mut write = ModuleWrite::new(id(&module, "deviceId")?, id(&module, "moduleId")?);
    write.managed_by = text(&module, "managedBy")?.map(str::to_owned);
    let mut passed_over = PassedOver::default();
    let authentication = authentication(&module, &mut passed_over)?;
    write.authentication = authentication.kind;
    write.keys = authentication.keys;
    write.thumbprints = authentication.thumbprints;
    not_kept(&module, ATTRIBUTES)?;
    passed_over.note(&module, "", MODULE, READ_ONLY);
    Ok(Read { value: write, passed_over })
}

/// The member `authentication` of an identity. A value that the client leaves out has its default.
#[derive(Debug, Default)]
struct Authentication {
    kind: AuthenticationType,
    keys: Option<[SharedAccessKey; 2]>,
    thumbprints: X509Thumbprints,
}

/// Reads the member `authentication` of an identity.
fn authentication(identity: &Map<String, Value>, passed_over: &mut PassedOver) -> Parsed<Authentication> {
    let mut read = Authentication::default();
    let Some(authentication) = object(identity, "authentication")? else { return Ok(read) };
    if let Some(word) = text(authentication, "type")? {
        const TYPES: [(&str, AuthenticationType); 4] = [
            ("sas", AuthenticationType::Sas),
            ("selfSigned", AuthenticationType::SelfSigned),
            ("certificateAuthority", AuthenticationType::CertificateAuthority),
            ("none", AuthenticationType::None),
        ];
        read.kind = one_of("authentication.type", word, &TYPES)?;
    }
    passed_over.note(authentication, "authentication.", &["type", "symmetricKey", "x509Thumbprint"], &[]);
    if let Some(keys) = object(authentication, "symmetricKey")? {
        passed_over.note(keys, "authentication.symmetricKey.", &["primaryKey", "secondaryKey"], &[]);
        let key = |name| Ok(text(keys, name)?.filter(|key| !key.is_empty()).map(SharedAccessKey::new));
        read.keys = match (key("primaryKey")?, key("secondaryKey")?) {
            (Some(primary), Some(secondary)) => Some([primary, secondary]),
            (None, None) => None,
            _ => {
                return Err(HubError::new(
                    ErrorCode::ArgumentInvalid,
                    "authentication.symmetricKey: give both keys, or none to have the hub make them",
                ));
            }
        };
        // Keys count only where tokens do; a client that changes the type sends back the keys it read.
        if read.keys.is_some() && read.kind != AuthenticationType::Sas {
            passed_over.note_name("symmetricKey", "authentication.", &[], &[]);
        }
    }
    if let Some(thumbprints) = object(authentication, "x509Thumbprint")? {
        let known = ["primaryThumbprint", "secondaryThumbprint"];
        passed_over.note(thumbprints, "authentication.x509Thumbprint.", &known, &[]);
        let thumbprint =
            |name| Ok(text(thumbprints, name)?.filter(|text| !text.is_empty()).map(str::to_owned));
        read.thumbprints = X509Thumbprints {
            primary_thumbprint: thumbprint("primaryThumbprint")?,
            secondary_thumbprint: thumbprint("secondaryThumbprint")?,
        };
    }
    Ok(read)
}

fn id<T>(object: &Map<String, Value>, name: &str) -> Parsed<T>
where
    T: std::str::FromStr<Err = iothub_models::InvalidId>,
{
    let Some(id) = text(object, name)? else {
        return Err(HubError::new(ErrorCode::ArgumentNull, format!("{name} is missing")));
    };
    id.parse().map_err(|error| HubError::new(ErrorCode::ArgumentInvalid, format!("{name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_body_is_an_enabled_device_whose_keys_the_hub_makes() {
        let write = parse(br#"{"deviceId":"d1"}"#).unwrap().value;
        assert_eq!((write.device_id.as_str(), write.status), ("d1", DeviceStatus::Enabled));
        assert_eq!(write.authentication, AuthenticationType::Sas);
        assert!(write.keys.is_none() && !write.iot_edge);
        assert!(write.device_scope.is_none() && write.parent_scopes.is_empty());
    }

    #[test]
    fn any_case_nulls_and_read_only_members_are_taken() {
        let body = br#"{"DeviceId":"d1","STATUS":"Disabled","statusReason":null,"etag":null,"generationId":"1",
            "ConnectionState":"Connected","lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":7,
            "Authentication":{"Type":"SELFSIGNED","symmetricKey":{"primaryKey":"","secondaryKey":null},
              "X509Thumbprint":{"PrimaryThumbprint":"ab","secondaryThumbprint":""}},
            "capabilities":{"IotEdge":"True"},"deviceScope":"x","PARENTSCOPES":["y"]}"#;
        let Read { value: write, passed_over } = parse(body).unwrap();
        let read_only = "generationId, ConnectionState, lastActivityTime, cloudToDeviceMessageCount";
        assert_eq!(passed_over.names(), ["", read_only]);
        assert_eq!(
            (write.device_scope.as_deref(), write.parent_scopes.as_slice()),
            (Some("x"), &["y".to_owned()][..])
        );
        assert_eq!(write.status, DeviceStatus::Disabled);
        assert_eq!(write.authentication, AuthenticationType::SelfSigned);
        assert_eq!(write.thumbprints.primary_thumbprint.as_deref(), Some("ab"));
        assert!(write.thumbprints.secondary_thumbprint.is_none() && write.keys.is_none() && write.iot_edge);
    }

    #[test]
    fn what_means_nothing_is_passed_over_by_name_and_what_the_service_would_keep_is_refused() {
        let body = br#"{"deviceId":"d1","tags":{"a":1},"capabilities":{"iotEdge":false,"fly":true},"etag":"x",
            "authentication":{"type":"sas","symmetricKey":{"third":"s3cret"},"token":"s3cret"},"attributes":{}}"#;
        let named = "authentication.token, authentication.symmetricKey.third, capabilities.fly, tags";
        assert_eq!(parse(body).unwrap().passed_over.names(), [named, "etag"]);
        let body =
            br#"{"deviceId":"d1","moduleId":"m","status":"enabled","deviceScope":"x","attributes":null}"#;
        assert_eq!(parse_module(body).unwrap().passed_over.names(), ["status, deviceScope", ""]);
        // A certificate proves the device, so keys in the same body have no effect.
        let body = br#"{"deviceId":"d1","authentication":{"type":"selfSigned",
            "symmetricKey":{"primaryKey":"cHJpbWFyeQ==","secondaryKey":"c2Vjb25kYXJ5"}}}"#;
        assert_eq!(parse(body).unwrap().passed_over.names(), ["authentication.symmetricKey", ""]);
        let body = br#"{"deviceId":"d1","moduleId":"m","attributes":{"a":1}}"#;
        let refused = [parse(body).unwrap_err(), parse_module(body).unwrap_err()];
        assert!(refused.iter().all(|error| error.code == ErrorCode::ArgumentInvalid), "{refused:?}");
    }

    #[test]
    fn each_defect_has_its_code_and_quotes_nothing_secret() {
        let deep = "[".repeat(100_000);
        for (body, code) in [
            ("", ErrorCode::IotHubFormatError),
            ("{", ErrorCode::IotHubFormatError),
            (deep.as_str(), ErrorCode::IotHubFormatError),
            ("[]", ErrorCode::IotHubFormatError),
            ("{}", ErrorCode::ArgumentNull),
            (r#"{"deviceId":null}"#, ErrorCode::ArgumentNull),
            (r#"{"deviceId":7}"#, ErrorCode::IotHubFormatError),
            (r#"{"deviceId":"a/b"}"#, ErrorCode::ArgumentInvalid),
            (r#"{"deviceId":"d1","status":"gone"}"#, ErrorCode::ArgumentInvalid),
            (r#"{"deviceId":"d1","status":1}"#, ErrorCode::IotHubFormatError),
            (r#"{"deviceId":"d1","authentication":[]}"#, ErrorCode::IotHubFormatError),
            (r#"{"deviceId":"d1","authentication":{"type":"magic"}}"#, ErrorCode::ArgumentInvalid),
            (
                r#"{"deviceId":"d1","authentication":{"symmetricKey":{"primaryKey":"s3cret"}}}"#,
                ErrorCode::ArgumentInvalid,
            ),
            (
                r#"{"deviceId":"d1","authentication":{"symmetricKey":{"primaryKey":"s3cret""#,
                ErrorCode::IotHubFormatError,
            ),
            (r#"{"deviceId":"d1","capabilities":{"iotEdge":"yes"}}"#, ErrorCode::IotHubFormatError),
            (r#"{"deviceId":"d1","capabilities":{"iotEdge":1}}"#, ErrorCode::IotHubFormatError),
            (r#"{"deviceId":"d1","deviceScope":1}"#, ErrorCode::IotHubFormatError),
            (r#"{"deviceId":"d1","parentScopes":"x"}"#, ErrorCode::IotHubFormatError),
            (r#"{"deviceId":"d1","parentScopes":[null]}"#, ErrorCode::IotHubFormatError),
        ] {
            let error = parse(body.as_bytes()).unwrap_err();
            assert_eq!(error.code, code, "{}: {error}", body.chars().take(80).collect::<String>());
            assert!(!error.text.contains("s3cret"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _judged = parse(&bytes);
        }
    }
}
