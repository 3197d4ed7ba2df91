//! This file makes the connection strings of devices and modules from their identities. The hub's address comes from the
//! client's own connection string, and the key from the identity. It calls no hub.

use iothub_auth::{DeviceConnectionString, DeviceCredential};
use iothub_models::{Authentication, AuthenticationType, DeviceIdentity, Identity, ModuleIdentity};

use crate::call::in_words;
use crate::devices::Devices;
use crate::error::Error;
use crate::modules::Modules;

impl Devices {
    /// Returns the connection string of a device that was created, read or listed by this client.
    ///
    /// The string has the first key of the identity, or else the second, and leads to the hub of this client: a
    /// local hub's ports and `TrustedCaFile`, and a `GatewayHostName`, are those of the client's own
    /// connection string. A device with certificates gets a string that says `x509=true`. `Debug` and
    /// `Display` show no key; [`reveal`](DeviceConnectionString::reveal) gives the whole text.
    ///
    /// ```no_run
    /// # async fn example(client: iothub_rest_service::ServiceClient) -> Result<(), Box<dyn std::error::Error>> {
    /// use iothub_rest_service::DeviceIdentity;
    ///
    /// let device = client.devices().create(DeviceIdentity::new("my-device".parse()?)).await?;
    /// let string = client.devices().connection_string(&device)?;
    /// // Give `string.reveal()` to the device, and to nobody else.
    /// println!("{string} can connect");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the identity has no key, such as one that was
    /// made here and not by the hub, or if the device has no way to prove who it is.
    pub fn connection_string(&self, identity: &DeviceIdentity) -> Result<DeviceConnectionString, Error> {
        connection_string(&self.client, (&identity.device_id).into(), &identity.authentication)
    }
}

impl Modules {
    /// Returns the connection string of a module that was created, read or listed by this client,
    /// as [`Devices::connection_string`] gives it for a device.
    ///
    /// ```no_run
    /// # async fn example(client: iothub_rest_service::ServiceClient) -> Result<(), Box<dyn std::error::Error>> {
    /// use iothub_rest_service::ModuleIdentity;
    ///
    /// let camera = ModuleIdentity::new("my-device".parse()?, "camera".parse()?);
    /// let camera = client.modules().create(camera).await?;
    /// let string = client.modules().connection_string(&camera)?;
    /// println!("{string} can connect");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`Devices::connection_string`].
    pub fn connection_string(&self, identity: &ModuleIdentity) -> Result<DeviceConnectionString, Error> {
        let module = (&identity.device_id, &identity.module_id).into();
        connection_string(&self.client, module, &identity.authentication)
    }
}

fn connection_string(
    client: &crate::ServiceClient,
    identity: Identity,
    authentication: &Authentication,
) -> Result<DeviceConnectionString, Error> {
    let refused = |advice: &'static str| {
        let tried = format!("make the connection string of {}", in_words(&identity));
        Error::invalid_argument(tried, advice)
    };
    let credential = match authentication.kind {
        AuthenticationType::Sas => {
            let keys = authentication.symmetric_key.clone().unwrap_or_default();
            let key = keys.primary_key.or(keys.secondary_key);
            let key = key.ok_or_else(|| {
                refused("its identity has no key: take the identity that `create` or `get` returned")
            })?;
            DeviceCredential::SharedAccessKey { key, policy: None }
        }
        // The certificate stays where it is; the string says that there is one.
        AuthenticationType::SelfSigned | AuthenticationType::CertificateAuthority => DeviceCredential::X509,
        AuthenticationType::None => {
            return Err(refused("its identity has no way to prove who it is: give it keys with `update`"));
        }
    };
    Ok(DeviceConnectionString {
        address: client.0.credential.address.clone(),
        device_id: identity.device,
        module_id: identity.module,
        credential,
    })
}

#[cfg(test)]
mod tests {
    use iothub_models::{SharedAccessKey, SymmetricKeys};

    use super::*;
    use crate::{ErrorKind, ServiceClient};

    fn client(extra: &str) -> ServiceClient {
        let text =
            format!("HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey=b3duZXI=;{extra}");
        ServiceClient::from_connection_string(&text).unwrap()
    }

    fn identity() -> DeviceIdentity {
        let mut identity = DeviceIdentity::new("d1".parse().unwrap());
        let key = |text: &str| Some(SharedAccessKey::new(text));
        let keys = SymmetricKeys { primary_key: key("cHJpbWFyeQ=="), secondary_key: key("c2Vjb25k") };
        identity.authentication.symmetric_key = Some(keys);
        identity
    }

    #[test]
    fn the_string_leads_to_the_hub_of_the_client() {
        let string = client("").devices().connection_string(&identity()).unwrap();
        assert_eq!(string.reveal(), "HostName=localhost;DeviceId=d1;SharedAccessKey=cHJpbWFyeQ==");
        let string = client("MqttsPort=18883;HttpsPort=8443;GatewayHostName=edge")
            .devices()
            .connection_string(&identity())
            .unwrap();
        assert_eq!(
            string.reveal(),
            "HostName=localhost;DeviceId=d1;SharedAccessKey=cHJpbWFyeQ==;MqttsPort=18883;HttpsPort=8443;GatewayHostName=edge"
        );
        let shown = format!("{string:?} {string}");
        assert!(!shown.contains("cHJpbWFyeQ") && !shown.contains("b3duZXI"), "{shown}");
    }

    #[test]
    fn the_second_key_stands_in_for_the_first_and_without_any_there_is_no_string() {
        let mut identity = identity();
        identity.authentication.symmetric_key.as_mut().unwrap().primary_key = None;
        let string = client("").devices().connection_string(&identity).unwrap();
        assert!(string.reveal().ends_with("SharedAccessKey=c2Vjb25k"));
        let bare = DeviceIdentity::new("d1".parse().unwrap());
        let refused = client("").devices().connection_string(&bare).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        let text = refused.to_string();
        assert!(text.contains("the connection string of device d1") && text.contains("`create`"), "{text}");
    }

    #[test]
    fn a_certificate_is_announced_and_no_proof_is_refused() {
        let mut identity = identity();
        identity.authentication.kind = AuthenticationType::SelfSigned;
        let string = client("").devices().connection_string(&identity).unwrap();
        assert_eq!(string.reveal(), "HostName=localhost;DeviceId=d1;x509=true");
        identity.authentication.kind = AuthenticationType::None;
        assert!(client("").devices().connection_string(&identity).is_err());
    }

    #[test]
    fn a_module_is_named_beside_its_device() {
        let mut module = ModuleIdentity::new("d1".parse().unwrap(), "cam".parse().unwrap());
        module.authentication = identity().authentication;
        let string = client("").modules().connection_string(&module).unwrap();
        assert_eq!(
            string.reveal(),
            "HostName=localhost;DeviceId=d1;ModuleId=cam;SharedAccessKey=cHJpbWFyeQ=="
        );
    }
}
