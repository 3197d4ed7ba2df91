//! This file defines the address of a hub: its name, its ports, and the CA file its certificate is checked with.

use std::net::IpAddr;
use std::path::PathBuf;

/// The address of a hub.
///
/// A real hub is a host name alone; a local one may listen on other ports and brings its own CA.
/// The name in `host_name` is the hub's identity: tokens are signed for it and the MQTT user name
/// carries it, even when the connection goes through a gateway.
///
/// ```
/// # use iothub_auth::HubAddress;
/// let hub = HubAddress::new("my-hub.azure-devices.net");
/// assert!(hub.is_azure() && hub.mqtts_port == 8883);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubAddress {
    /// The hub's host name.
    pub host_name: String,
    /// The host to connect to instead, if there is a gateway before the hub.
    pub gateway_host_name: Option<String>,
    /// The port of MQTT over TLS.
    pub mqtts_port: u16,
    /// The port of AMQP over TLS.
    pub amqps_port: u16,
    /// The port of HTTPS.
    pub https_port: u16,
    /// A PEM file with the CA of this hub, trusted beside the system's roots and only for this hub.
    pub trusted_ca_file: Option<PathBuf>,
}

impl HubAddress {
    /// The port of MQTT over TLS on every real hub.
    pub const MQTTS_PORT: u16 = 8883;
    /// The port of AMQP over TLS on every real hub.
    pub const AMQPS_PORT: u16 = 5671;
    /// The port of HTTPS on every real hub.
    pub const HTTPS_PORT: u16 = 443;

    /// A hub on the ports that every real hub uses.
    #[must_use]
    pub fn new(host_name: impl Into<String>) -> Self {
        Self {
            host_name: host_name.into(),
            gateway_host_name: None,
            mqtts_port: Self::MQTTS_PORT,
            amqps_port: Self::AMQPS_PORT,
            https_port: Self::HTTPS_PORT,
            trusted_ca_file: None,
        }
    }

    /// The host to open a connection to, and to check the certificate against.
    #[must_use]
    pub fn connect_host(&self) -> &str {
        self.gateway_host_name.as_deref().unwrap_or(&self.host_name)
    }

    /// Returns whether the host name ends as those of hubs in Azure do.
    #[must_use]
    pub fn is_azure(&self) -> bool {
        [".azure-devices.net", ".azure-devices.cn", ".azure-devices.us"]
            .iter()
            .any(|suffix| self.host_name.to_ascii_lowercase().ends_with(suffix))
    }

    /// Returns whether the host that is connected to is this machine: `localhost`, a name below it, or a loopback
    /// address.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let host = self.connect_host().to_ascii_lowercase();
        let loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        loopback || host == "localhost" || host.ends_with(".localhost")
    }

    /// The keys a connection string needs beside the standard ones, `;` before each: nothing for a
    /// hub on the standard ports that needs no CA of its own.
    #[must_use]
    pub fn extra_keys(&self) -> String {
        let mut keys = String::new();
        for (key, port, standard) in [
            ("MqttsPort", self.mqtts_port, Self::MQTTS_PORT),
            ("AmqpsPort", self.amqps_port, Self::AMQPS_PORT),
            ("HttpsPort", self.https_port, Self::HTTPS_PORT),
        ] {
            if port != standard {
                keys.push_str(&format!(";{key}={port}"));
            }
        }
        if let Some(gateway) = &self.gateway_host_name {
            keys.push_str(&format!(";GatewayHostName={gateway}"));
        }
        if let Some(file) = &self.trusted_ca_file {
            keys.push_str(&format!(";TrustedCaFile={}", file.display()));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        for host in ["localhost", "LOCALHOST", "my-hub.localhost", "127.0.0.1", "127.1.2.3", "::1"] {
            assert!(HubAddress::new(host).is_local(), "{host}");
        }
        for host in ["hub.azure-devices.net", "localhost.example", "notlocalhost", "10.0.0.1", "128.0.0.1"] {
            assert!(!HubAddress::new(host).is_local(), "{host}");
        }
        let mut behind_a_gateway = HubAddress::new("hub.azure-devices.net");
        behind_a_gateway.gateway_host_name = Some("localhost".to_owned());
        assert!(behind_a_gateway.is_local());
    }
}
