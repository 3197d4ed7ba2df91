//! This function reads how a device or module proves who it is, as back ends write it in an identity.

use iothub_models::{AuthenticationType, ErrorCode, SharedAccessKey, X509Thumbprints};
use serde_json::{Map, Value};

use super::json_object::{Parsed, object, one_of, text};
use super::passed_over::PassedOver;
use crate::core::refusal::HubError;

/// The member `authentication` of an identity. A value that the client leaves out has its default.
#[derive(Debug, Default)]
pub(super) struct Authentication {
    pub(super) kind: AuthenticationType,
    pub(super) keys: Option<[SharedAccessKey; 2]>,
    pub(super) thumbprints: X509Thumbprints,
}

/// Reads the member `authentication` of an identity.
pub(super) fn parse(identity: &Map<String, Value>, passed_over: &mut PassedOver) -> Parsed<Authentication> {
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
