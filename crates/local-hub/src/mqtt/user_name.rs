//! [`parse`] reads client id and user name of a CONNECT as one [`Claim`] of an identity; `admission` calls it.
//!
//! ```text
//! client id = device [ "/" module ]
//! user name = host "/" client-id [ ("/?" / "?") parameters / "/" api-version-parameters ]
//! ```
//! Ids are never encoded and may hold `?`, `=` and `%`, so the user name is read with the client id in
//! hand instead of being guessed apart. Parameters are percent-encoded or, from some clients, raw;
//! unknown ones are ignored. Nothing is proven here: that takes the token.
//! Source: *Communicate with your IoT hub using the MQTT protocol*.

use iothub_models::{Identity, InvalidId, InvalidModelId, ModelId};
use percent_encoding::percent_decode_str;

use super::codec::ConnectCode;

/// The identity that a client claims, and the parameters that it gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub id: Identity,
    /// The hub's name as the client knows it: lower case, without a port.
    pub host: String,
    pub api_version: Option<String>,
    /// The Plug and Play model the device announces.
    pub model_id: Option<ModelId>,
    /// The client's user agent.
    pub client_type: Option<String>,
}

/// A client id or user name that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the client id is empty: it must be the device id")]
    NoClientId,
    #[error("the client id is neither a device id nor device/module: {0}")]
    ClientId(InvalidId),
    #[error("there is no user name: it must be HOST/DEVICE/?api-version=...")]
    NoUserName,
    #[error("the user name does not begin with HOST/")]
    NoHost,
    #[error("the user name is for another identity than the client id")]
    OtherIdentity,
    #[error("the model-id of the user name cannot be used: {0}")]
    ModelId(InvalidModelId),
    #[error("a parameter of the user name is not UTF-8 once decoded")]
    NotUtf8,
}

impl Unusable {
    /// Returns the code that the client is told. 2 and 4 are for ids and user names that cannot be read; a user name
    /// that can be read and names somebody else is a failed authentication.
    pub(super) const fn code(&self) -> ConnectCode {
        match self {
            Self::NoClientId | Self::ClientId(_) => ConnectCode::ClientId,
            Self::NoUserName | Self::NoHost | Self::ModelId(_) | Self::NotUtf8 => ConnectCode::UserName,
            Self::OtherIdentity => ConnectCode::NotAuthorized,
        }
    }
}

/// Reads the claim of a CONNECT.
pub(super) fn parse(client_id: &str, user_name: &str) -> Result<Claim, Unusable> {
    let id = parse_client_id(client_id)?;
    if user_name.is_empty() {
        return Err(Unusable::NoUserName);
    }
    let (host, rest) = user_name.split_once('/').ok_or(Unusable::NoHost)?;
    let host = without_port(host).to_ascii_lowercase();
    if host.is_empty() {
        return Err(Unusable::NoHost);
    }
    let rest = rest.strip_prefix(client_id).ok_or(Unusable::OtherIdentity)?;
    let mut claim = Claim { id, host, api_version: None, model_id: None, client_type: None };
    match rest {
        "" | "/" => {}
        _ => {
            if let Some(query) = rest.strip_prefix("/?").or_else(|| rest.strip_prefix('?')) {
                read_parameters(&mut claim, query.split('&'))?;
            } else {
                // No "?": the Go client, and one preview of .NET that separates with "/".
                let query = rest.strip_prefix('/').filter(|query| begins_with_a_parameter(query));
                read_parameters(&mut claim, query.ok_or(Unusable::OtherIdentity)?.split(['&', '/']))?;
            }
        }
    }
    Ok(claim)
}

fn parse_client_id(client_id: &str) -> Result<Identity, Unusable> {
    if client_id.is_empty() {
        return Err(Unusable::NoClientId);
    }
    let (device, module) = match client_id.split_once('/') {
        Some((device, module)) => (device, Some(module)),
        None => (client_id, None),
    };
    Ok(Identity {
        device: device.parse().map_err(Unusable::ClientId)?,
        module: module.map(str::parse).transpose().map_err(Unusable::ClientId)?,
    })
}

/// Returns the host of `host` or `host:port`. An IPv6 address has colons of its own, and brackets if a port follows.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if (!name.contains(':') || name.ends_with(']'))
                && !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        _ => host,
    }
}

/// Returns whether a text begins with a parameter, and not with a module id that the client id does not have.
fn begins_with_a_parameter(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// Reads the parameters into the claim. The first of a repeated parameter counts.
fn read_parameters<'q>(claim: &mut Claim, pairs: impl Iterator<Item = &'q str>) -> Result<(), Unusable> {
    let mut model_id = None;
    for pair in pairs {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match decode(name)?.as_ref() {
            "api-version" => &mut claim.api_version,
            "model-id" => &mut model_id,
            "DeviceClientType" => &mut claim.client_type,
            _ => continue,
        };
        let value = decode(value)?;
        if slot.is_none() && !value.is_empty() {
            *slot = Some(value.into_owned());
        }
    }
    if let Some(model_id) = model_id {
        claim.model_id = Some(model_id.parse().map_err(Unusable::ModelId)?);
    }
    Ok(())
}

fn decode(text: &str) -> Result<std::borrow::Cow<'_, str>, Unusable> {
    percent_decode_str(text).decode_utf8().map_err(|_| Unusable::NotUtf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the host, the id, the API version and the model id of a claim.
    fn read(client_id: &str, user_name: &str) -> (String, String, Option<String>, Option<String>) {
        let claim = parse(client_id, user_name).unwrap();
        (claim.host, claim.id.to_string(), claim.api_version, claim.model_id.map(|id| id.to_string()))
    }

    #[test]
    fn a_port_is_told_from_the_end_of_an_ipv6_address() {
        for (text, host) in [
            ("h:8883", "h"),
            ("h", "h"),
            ("::1", "::1"),
            ("[::1]:8883", "[::1]"),
            ("[::1]", "[::1]"),
            ("h:", "h:"),
        ] {
            assert_eq!(without_port(text), host);
        }
    }

    #[test]
    fn reads_every_form_that_clients_send() {
        const MODEL: Option<&str> = Some("dtmi:com:example:Thermostat;1");
        for (client_id, user_name, api_version, model_id) in [
            // Python, without and with Plug and Play.
            (
                "d",
                "hub/d/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%28x%29",
                Some("2019-10-01"),
                None,
            ),
            (
                "d",
                "hub/d/?api-version=2020-09-30&DeviceClientType=py&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1",
                Some("2020-09-30"),
                MODEL,
            ),
            // Node sends the model id raw.
            (
                "d",
                "hub/d/?api-version=2021-04-12&model-id=dtmi:com:example:Thermostat;1&DeviceClientType=n",
                Some("2021-04-12"),
                MODEL,
            ),
            // C# on nested edge, a module.
            (
                "d/m",
                "hub/d/m/?api-version=2020-09-30&DeviceClientType=c&auth-chain=d%2F%24edgeHub",
                Some("2020-09-30"),
                None,
            ),
            // Go: no question mark.
            (
                "d",
                "hub/d/api-version=2020-09-30&model-id=dtmi:com:example:Thermostat;1",
                Some("2020-09-30"),
                MODEL,
            ),
            ("d/m", "hub/d/m/api-version=2020-09-30", Some("2020-09-30"), None),
            // .NET 1.5.1-preview-003: slashes between the parameters.
            (
                "d/m",
                "hub/d/m/api-version=2017-06-30/DeviceClientType=Microsoft.Azure.Devices.Client/1.5.1-preview-003",
                Some("2017-06-30"),
                None,
            ),
            // The documents: no parameters, a parameter right behind the id, raw slashes in a value.
            ("d", "hub/d", None, None),
            ("d", "hub/d/", None, None),
            ("d", "hub/d/?", None, None),
            ("d/m", "hub/d/m", None, None),
            ("d", "hub/d?api-version=2018-06-30", Some("2018-06-30"), None),
            ("d", "hub/d/?DeviceClientType=a/b/c&api-version=2018-06-30", Some("2018-06-30"), None),
            // Unknown, repeated, empty and encoded parameters.
            ("d", "hub/d/?x&=&y=1&api-version=1&api-version=2&", Some("1"), None),
            ("d", "hub/d/?api%2Dversion=1", Some("1"), None),
            // Ids with everything an id may hold.
            ("-:.+%_#*?!(),=@$'", "hub/-:.+%_#*?!(),=@$'/?api-version=1", Some("1"), None),
            ("d?api-version=1", "hub/d?api-version=1/?api-version=2", Some("2"), None),
            ("?d/?m", "hub/?d/?m/?api-version=2", Some("2"), None),
            ("a%2Fb", "hub/a%2Fb/?api-version=2", Some("2"), None),
        ] {
            let expected = (
                "hub".to_owned(),
                client_id.to_owned(),
                api_version.map(str::to_owned),
                model_id.map(str::to_owned),
            );
            assert_eq!(read(client_id, user_name), expected, "{user_name}");
        }
    }

    #[test]
    fn the_host_has_no_case_and_no_port() {
        for user_name in ["My-Hub.Example/d", "my-hub.example:8883/d", "MY-HUB.EXAMPLE:1/d/?api-version=1"] {
            assert_eq!(read("d", user_name).0, "my-hub.example");
        }
        assert_eq!(read("d", "[::1]:8883/d").0, "[::1]");
    }

    #[test]
    fn refuses_with_the_defect_and_its_code() {
        use ConnectCode::{ClientId, NotAuthorized, UserName};
        for (client_id, user_name, defect, code) in [
            ("", "hub/d/?api-version=1", Unusable::NoClientId, ClientId),
            ("a b", "hub/a b", Unusable::ClientId(InvalidId::Character(' ')), ClientId),
            ("d/", "hub/d/", Unusable::ClientId(InvalidId::Empty), ClientId),
            ("d/m/x", "hub/d/m/x", Unusable::ClientId(InvalidId::Character('/')), ClientId),
            ("d", "", Unusable::NoUserName, UserName),
            ("d", "d", Unusable::NoHost, UserName),
            ("d", "/d", Unusable::NoHost, UserName),
            ("d", ":8883/d", Unusable::NoHost, UserName),
            ("d", "hub/d/?model-id=%ff", Unusable::NotUtf8, UserName),
            (
                "d",
                "hub/d/?model-id=thermostat",
                Unusable::ModelId("thermostat".parse::<ModelId>().unwrap_err()),
                UserName,
            ),
            ("d", "hub/D", Unusable::OtherIdentity, NotAuthorized),
            ("d", "hub/d2", Unusable::OtherIdentity, NotAuthorized),
            ("d2", "hub/d", Unusable::OtherIdentity, NotAuthorized),
            ("d", "hub/e/?api-version=1", Unusable::OtherIdentity, NotAuthorized),
            ("d", "hub/d/m", Unusable::OtherIdentity, NotAuthorized),
            ("d", "hub/d/m/?api-version=1", Unusable::OtherIdentity, NotAuthorized),
            ("d/m", "hub/d/?api-version=1", Unusable::OtherIdentity, NotAuthorized),
        ] {
            let refused = parse(client_id, user_name).unwrap_err();
            assert_eq!(refused.code(), code, "{client_id} {user_name}");
            assert_eq!(refused, defect, "{client_id} {user_name}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_never_claims_another_id(client_id in ".{0,20}", user_name in ".{0,60}") {
            if let Ok(claim) = parse(&client_id, &user_name) {
                prop_assert_eq!(claim.id.to_string(), client_id);
            }
        }

        #[test]
        fn every_id_is_read_back_from_every_form(
            device in "[-A-Za-z0-9:.+%_#*?!(),=@$']{1,20}",
            module in proptest::option::of("[-A-Za-z0-9:.+%_#*?!(),=@$']{1,20}"),
            tail in "(/|/\\?)?|/?\\?api-version=2020-09-30(&x=y)?|/api-version=2020-09-30",
        ) {
            let id = module.map_or(device.clone(), |module| format!("{device}/{module}"));
            let claim = parse(&id, &format!("hub.example/{id}{tail}")).unwrap();
            prop_assert_eq!(claim.id.to_string(), id);
            prop_assert_eq!(claim.api_version.is_some(), tail.contains("api-version"));
        }
    }
}
