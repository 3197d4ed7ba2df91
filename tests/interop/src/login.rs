//! [`Login`] is all that a program on one of Microsoft's device clients needs to connect: the connection string, the
//! transport, and the files of a certificate. `node/connection.js` and `python/connection.py` read it.

use std::path::PathBuf;

use iothub_auth::{DeviceConnectionString, HubAddress};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

/// A transport of Microsoft's device clients, under the name of the Node client's class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub(super) enum Transport {
    /// MQTT over TLS.
    #[default]
    Mqtt,
    /// MQTT over WebSocket.
    MqttWs,
    /// HTTPS requests.
    Http,
}

impl Transport {
    /// Returns the name under which the programs know the transport.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::MqttWs => "mqtt-ws",
            Self::Http => "http",
        }
    }
}

/// The PEM files of a client certificate.
#[derive(Clone, Debug)]
pub(super) struct CertificateFiles {
    /// The certificate, followed by the certificates of its chain.
    pub(super) chain: PathBuf,
    /// The private key.
    pub(super) key: PathBuf,
}

/// The way in which a device or module on one of Microsoft's clients connects.
#[derive(Clone)]
pub(super) struct Login {
    /// The identity and its proof; the address is left out of account.
    pub(super) credential: DeviceConnectionString,
    pub(super) transport: Transport,
    /// The certificate, if the credential is one.
    pub(super) certificate: Option<CertificateFiles>,
}

impl Login {
    /// Returns the connection string in the form of a hub in Azure, without the keys that only our clients know.
    fn string(&self) -> String {
        DeviceConnectionString { address: HubAddress::new("localhost"), ..self.credential.clone() }.reveal()
    }

    /// Puts the login into the environment of a program.
    pub(super) fn give_to(&self, command: &mut Command) {
        command.env("IOTHUB_DEVICE_CONNECTION_STRING", self.string());
        command.env("IOTHUB_DEVICE_TRANSPORT", self.transport.name());
        if let Some(files) = &self.certificate {
            command.env("IOTHUB_DEVICE_CERTIFICATE", &files.chain);
            command.env("IOTHUB_DEVICE_PRIVATE_KEY", &files.key);
        }
    }

    /// Returns the line of standard input with which `device_fault --each` tries this login.
    pub(super) fn line(&self, tag: &str) -> Value {
        let mut line = json!({"tag": tag, "string": self.string(), "transport": self.transport.name()});
        if let Some(files) = &self.certificate {
            line["certificate"] = files.chain.to_string_lossy().into();
            line["private_key"] = files.key.to_string_lossy().into();
        }
        line
    }
}

/// A login over MQTT.
impl From<&DeviceConnectionString> for Login {
    fn from(credential: &DeviceConnectionString) -> Self {
        Self { credential: credential.clone(), transport: Transport::Mqtt, certificate: None }
    }
}

impl From<&Self> for Login {
    fn from(login: &Self) -> Self {
        login.clone()
    }
}
