//! A device or module identity as back ends write it: JSON in, [`DeviceWrite`] or [`ModuleWrite`] out.
//!
//! What only the hub may set is ignored: clients send back what they read.

use iothub_models::{DeviceStatus, ErrorCode};
use serde_json::{Map, Value};

use super::authentication_json;
use super::json_object::{Parsed, field, object, one_of, root, text, wrong_type};
use crate::core::device_write::{DeviceWrite, ModuleWrite};
use crate::core::refusal::HubError;

/// Reads the body of a `PUT /devices/{id}`.
pub(super) fn parse(body: &[u8]) -> Parsed<DeviceWrite> {
    let device = root(body)?;
    let mut write = DeviceWrite::new(id(&device, "deviceId")?);
    if let Some(word) = text(&device, "status")? {
        const STATUS: [(&str, DeviceStatus); 2] =
            [("enabled", DeviceStatus::Enabled), ("disabled", DeviceStatus::Disabled)];
        write.status = one_of("status", word, &STATUS)?;
    }
    write.status_reason = text(&device, "statusReason")?.map(str::to_owned);
    let authentication = authentication_json::parse(&device)?;
    write.authentication = authentication.kind;
    write.keys = authentication.keys;
    write.thumbprints = authentication.thumbprints;
    if let Some(capabilities) = object(&device, "capabilities")? {
        write.iot_edge = match field(capabilities, "iotEdge") {
            None => false,
            Some(Value::Bool(edge)) => *edge,
            Some(_) => return Err(wrong_type("capabilities.iotEdge", "true or false")),
        };
    }
    Ok(write)
}

/// Reads the body of a `PUT /devices/{id}/modules/{mid}`.
pub(super) fn parse_module(body: &[u8]) -> Parsed<ModuleWrite> {
    let module = root(body)?;
    let mut write = ModuleWrite::new(id(&module, "deviceId")?, id(&module, "moduleId")?);
    write.managed_by = text(&module, "managedBy")?.map(str::to_owned);
    let authentication = authentication_json::parse(&module)?;
    write.authentication = authentication.kind;
    write.keys = authentication.keys;
    write.thumbprints = authentication.thumbprints;
    Ok(write)
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
    use iothub_models::AuthenticationType;

    #[test]
    fn the_shortest_body_is_an_enabled_device_whose_keys_the_hub_makes() {
        let write = parse(br#"{"deviceId":"d1"}"#).unwrap();
        assert_eq!((write.device_id.as_str(), write.status), ("d1", DeviceStatus::Enabled));
        assert_eq!(write.authentication, AuthenticationType::Sas);
        assert!(write.keys.is_none() && !write.iot_edge);
    }

    #[test]
    fn any_case_nulls_and_read_only_members_are_taken() {
        let body = br#"{"DeviceId":"d1","STATUS":"Disabled","statusReason":null,"etag":null,"generationId":"1",
            "ConnectionState":"Connected","lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":7,
            "Authentication":{"Type":"SELFSIGNED","symmetricKey":{"primaryKey":"","secondaryKey":null},
              "X509Thumbprint":{"PrimaryThumbprint":"ab","secondaryThumbprint":""}},
            "capabilities":{"IotEdge":true},"deviceScope":"x","parentScopes":[]}"#;
        let write = parse(body).unwrap();
        assert_eq!(write.status, DeviceStatus::Disabled);
        assert_eq!(write.authentication, AuthenticationType::SelfSigned);
        assert_eq!(write.thumbprints.primary_thumbprint.as_deref(), Some("ab"));
        assert!(write.thumbprints.secondary_thumbprint.is_none() && write.keys.is_none() && write.iot_edge);
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
