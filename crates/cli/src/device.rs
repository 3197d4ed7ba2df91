//! This file carries out the commands of `iothub device`. It shows a key only where the user asked for it.

use anyhow::{Context as _, bail};
use iothub_auth::{DeviceConnectionString, DeviceCredential};
use iothub_models::{Authentication, AuthenticationType, DeviceIdentity, X509Thumbprints};
use iothub_rest_service::Precondition;
use serde_json::{Value, json};

use crate::args::{ConnectionStringCommand, DeviceCommand, Format, KeyType, ProofArguments};
use crate::hub::Hub;
use crate::output::{Table, note, print, print_json, time};

pub(crate) async fn run(command: DeviceCommand, hub: &Hub) -> anyhow::Result<()> {
    let devices = hub.client.devices();
    match command {
        DeviceCommand::Create { device, proof, output } => {
            let mut identity = DeviceIdentity::new(device.id()?);
            identity.authentication = proof.into_authentication()?;
            let identity = devices.create(identity).await?;
            show(&identity, Keys::Hidden, output.format)?;
            if output.format == Format::Table {
                note(&format!(
                    "its connection string: iothub device connection-string show {}",
                    identity.device_id
                ));
            }
            Ok(())
        }
        DeviceCommand::List { top, output } => {
            let identities = devices.list(top).await?;
            list(&identities, output.format)?;
            if identities.len() >= usize::from(top) {
                note(&format!("there may be more than these {top}"));
            }
            Ok(())
        }
        DeviceCommand::Show { device, show_keys, output } => {
            let identity = devices.get(&device.id()?).await?;
            show(&identity, if show_keys { Keys::Shown } else { Keys::Hidden }, output.format)
        }
        DeviceCommand::Delete { device, etag } => {
            let id = device.id()?;
            devices.delete(&id, etag.map_or(Precondition::Any, Precondition::IfMatch)).await?;
            print(&format!("device {id} is deleted"))
        }
        DeviceCommand::Purge { device } => {
            let id = device.id()?;
            let count = devices.purge_c2d_messages(&id).await?;
            let messages = if count == 1 { "message" } else { "messages" };
            print(&format!("{count} {messages} for device {id} purged"))
        }
        DeviceCommand::ConnectionString(ConnectionStringCommand::Show { device, key_type, output }) => {
            let identity = devices.get(&device.id()?).await?;
            let text = connection_string(&identity, key_type, hub)?.reveal();
            match output.unwrap_or(Format::Tsv) {
                Format::Table => Table::new(&["ConnectionString"]).row([text]).print(),
                Format::Json => print_json(&json!({ "connectionString": text })),
                Format::Tsv => print(&text),
            }
        }
    }
}

impl ProofArguments {
    /// Returns the member `authentication` of the new identity.
    fn into_authentication(self) -> anyhow::Result<Authentication> {
        if self.x509_ca {
            return Ok(Authentication {
                kind: AuthenticationType::CertificateAuthority,
                ..Authentication::default()
            });
        }
        let mut thumbprints = self.x509_thumbprint.into_iter();
        let Some(primary) = thumbprints.next() else { return Ok(Authentication::default()) };
        let x509_thumbprint = Some(X509Thumbprints {
            primary_thumbprint: Some(primary),
            secondary_thumbprint: thumbprints.next(),
        });
        if thumbprints.next().is_some() {
            bail!("a device has two thumbprints at most: give --x509-thumbprint once or twice");
        }
        Ok(Authentication {
            kind: AuthenticationType::SelfSigned,
            x509_thumbprint,
            ..Authentication::default()
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Shown,
    Hidden,
}

fn show(identity: &DeviceIdentity, keys: Keys, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return print_json(&as_json(identity, keys)?);
    }
    let mut rows = vec![
        ("deviceId", identity.device_id.to_string()),
        ("status", name(&identity.status)?),
        ("statusReason", identity.status_reason.clone().unwrap_or_default()),
        ("connectionState", name(&identity.connection_state)?),
        ("lastActivityTime", time(identity.last_activity_time)),
        ("cloudToDeviceMessageCount", identity.cloud_to_device_message_count.to_string()),
        ("authentication", name(&identity.authentication.kind)?),
        ("generationId", identity.generation_id.clone()),
        ("etag", identity.etag.clone()),
    ];
    if let Some(symmetric) = &identity.authentication.symmetric_key
        && keys == Keys::Shown
    {
        let text = |key: &Option<iothub_auth::SharedAccessKey>| {
            key.as_ref().map(|key| key.reveal().to_owned()).unwrap_or_default()
        };
        rows.push(("primaryKey", text(&symmetric.primary_key)));
        rows.push(("secondaryKey", text(&symmetric.secondary_key)));
    }
    let table = rows
        .into_iter()
        .fold(Table::new(&["Property", "Value"]), |table, (name, value)| table.row([name.to_owned(), value]));
    if format == Format::Tsv { table.print_tsv() } else { table.print() }
}

fn list(identities: &[DeviceIdentity], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        let all: anyhow::Result<Vec<Value>> =
            identities.iter().map(|identity| as_json(identity, Keys::Hidden)).collect();
        return print_json(&Value::Array(all?));
    }
    let mut table =
        Table::new(&["DeviceId", "Status", "ConnectionState", "Authentication", "LastActivityTime"]);
    for identity in identities {
        table = table.row([
            identity.device_id.to_string(),
            name(&identity.status)?,
            name(&identity.connection_state)?,
            name(&identity.authentication.kind)?,
            time(identity.last_activity_time),
        ]);
    }
    if format == Format::Tsv { table.print_tsv() } else { table.print() }
}

fn as_json(identity: &DeviceIdentity, keys: Keys) -> anyhow::Result<Value> {
    let mut json = serde_json::to_value(identity).context("could not write the device as JSON")?;
    if let Some(authentication) = json["authentication"].as_object_mut()
        && keys == Keys::Hidden
    {
        authentication.shift_remove("symmetricKey");
    }
    Ok(json)
}

/// The service's own word for a value.
fn name(value: &impl serde::Serialize) -> anyhow::Result<String> {
    let json = serde_json::to_value(value).context("could not write a value as JSON")?;
    Ok(json.as_str().unwrap_or_default().to_owned())
}

fn connection_string(
    identity: &DeviceIdentity,
    key_type: KeyType,
    hub: &Hub,
) -> anyhow::Result<DeviceConnectionString> {
    let authentication = &identity.authentication;
    let credential = match authentication.kind {
        AuthenticationType::Sas => {
            let keys = authentication.symmetric_key.as_ref();
            let key = match key_type {
                KeyType::Primary => keys.and_then(|keys| keys.primary_key.clone()),
                KeyType::Secondary => keys.and_then(|keys| keys.secondary_key.clone()),
            };
            let Some(key) = key else {
                bail!(
                    "the hub did not give this key of device {}: use another policy, or the other key",
                    identity.device_id
                )
            };
            DeviceCredential::SharedAccessKey { key, policy: None }
        }
        // The certificate stays where it is; the string says that there is one.
        AuthenticationType::SelfSigned | AuthenticationType::CertificateAuthority => DeviceCredential::X509,
        AuthenticationType::None => {
            bail!("device {} has no way to prove who it is, so it cannot connect", identity.device_id)
        }
    };
    Ok(DeviceConnectionString {
        address: hub.connection.address.clone(),
        device_id: identity.device_id.clone(),
        module_id: None,
        credential,
    })
}
