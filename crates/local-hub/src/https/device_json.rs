//! A device identity as back ends write it: JSON in, [`DeviceWrite`] out.
//!
//! Names and enumerated words are matched without regard to case, `null` is as good as absent, and
//! what only the hub may set is ignored: clients send back what they read, in their own spelling.

use iothub_models::{
    AuthenticationType, DeviceId, DeviceStatus, ErrorCode, SharedAccessKey, X509Thumbprints,
};
use serde_json::{Map, Value};

use crate::core::device_write::DeviceWrite;
use crate::core::refusal::HubError;

type Parsed<T> = Result<T, HubError>;

/// Reads the body of a `PUT /devices/{id}`.
pub(super) fn parse(body: &[u8]) -> Parsed<DeviceWrite> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        // The parser's own words may quote the body, and so a key.
        format_error(format!("the body is not JSON: line {}, column {}", error.line(), error.column()))
    })?;
    let Value::Object(device) = &value else {
        return Err(format_error("the body is not a JSON object".to_owned()));
    };
    let Some(id) = text(device, "deviceId")? else {
        return Err(HubError::new(ErrorCode::ArgumentNull, "deviceId is missing"));
    };
    let device_id: DeviceId = id
        .parse()
        .map_err(|error| HubError::new(ErrorCode::ArgumentInvalid, format!("deviceId: {error}")))?;
    let mut write = DeviceWrite::new(device_id);
    if let Some(word) = text(device, "status")? {
        const STATUS: [(&str, DeviceStatus); 2] =
            [("enabled", DeviceStatus::Enabled), ("disabled", DeviceStatus::Disabled)];
        write.status = one_of("status", word, &STATUS)?;
    }
    write.status_reason = text(device, "statusReason")?.map(str::to_owned);
    if let Some(authentication) = object(device, "authentication")? {
        read_authentication(&mut write, authentication)?;
    }
    if let Some(capabilities) = object(device, "capabilities")? {
        write.iot_edge = match field(capabilities, "iotEdge") {
            None => false,
            Some(Value::Bool(edge)) => *edge,
            Some(_) => return Err(wrong_type("capabilities.iotEdge", "true or false")),
        };
    }
    Ok(write)
}

fn read_authentication(write: &mut DeviceWrite, authentication: &Map<String, Value>) -> Parsed<()> {
    if let Some(word) = text(authentication, "type")? {
        const TYPES: [(&str, AuthenticationType); 4] = [
            ("sas", AuthenticationType::Sas),
            ("selfSigned", AuthenticationType::SelfSigned),
            ("certificateAuthority", AuthenticationType::CertificateAuthority),
            ("none", AuthenticationType::None),
        ];
        write.authentication = one_of("authentication.type", word, &TYPES)?;
    }
    if let Some(keys) = object(authentication, "symmetricKey")? {
        let key = |name| Ok(text(keys, name)?.filter(|key| !key.is_empty()).map(SharedAccessKey::new));
        write.keys = match (key("primaryKey")?, key("secondaryKey")?) {
            (Some(primary), Some(secondary)) => Some([primary, secondary]),
            (None, None) => None,
            _ => {
                return Err(HubError::new(
                    ErrorCode::ArgumentInvalid,
                    "authentication.symmetricKey: give both keys, or none to have the hub make them",
                ));
            }
        };
    }
    if let Some(thumbprints) = object(authentication, "x509Thumbprint")? {
        let thumbprint =
            |name| Ok(text(thumbprints, name)?.filter(|text| !text.is_empty()).map(str::to_owned));
        write.thumbprints = X509Thumbprints {
            primary_thumbprint: thumbprint("primaryThumbprint")?,
            secondary_thumbprint: thumbprint("secondaryThumbprint")?,
        };
    }
    Ok(())
}

/// The member of this name, or else of one that differs in case only; `null` is none.
fn field<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let found = object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value));
    found.filter(|value| !value.is_null())
}

fn text<'v>(object: &'v Map<String, Value>, name: &str) -> Parsed<Option<&'v str>> {
    match field(object, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong_type(name, "text")),
    }
}

fn object<'v>(parent: &'v Map<String, Value>, name: &str) -> Parsed<Option<&'v Map<String, Value>>> {
    match field(parent, name) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(wrong_type(name, "an object")),
    }
}

fn one_of<T: Copy>(name: &str, word: &str, known: &[(&str, T)]) -> Parsed<T> {
    match known.iter().find(|(text, _)| text.eq_ignore_ascii_case(word)) {
        Some((_, value)) => Ok(*value),
        None => {
            let words: Vec<_> = known.iter().map(|(text, _)| *text).collect();
            Err(HubError::new(
                ErrorCode::ArgumentInvalid,
                format!("{name}: expected is {}", words.join(", ")),
            ))
        }
    }
}

fn wrong_type(name: &str, expected: &str) -> HubError {
    format_error(format!("{name}: expected is {expected}"))
}

fn format_error(text: String) -> HubError {
    HubError::new(ErrorCode::IotHubFormatError, text)
}

#[cfg(test)]
mod tests {
    use super::*;

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
