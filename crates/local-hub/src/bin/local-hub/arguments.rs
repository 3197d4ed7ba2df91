//! The command line of `local-hub`.

use std::path::PathBuf;

use clap::Parser;
use iothub_auth::SharedAccessKey;
use iothub_local_hub::{LOOPBACK, LocalHub, LocalHubBuilder, Ports};
use iothub_models::DeviceId;

/// An Azure IoT Hub on your own machine, for development and tests.
///
/// It listens on this machine only, and on the ports that official clients expect. Its CA, its keys
/// and those of --device are kept in the state folder; devices created otherwise, waiting messages and
/// sessions are forgotten when it ends.
#[derive(Debug, Parser)]
#[command(name = "local-hub", version, args_override_self = true)]
pub(crate) struct Arguments {
    /// The hub's name; it also answers to NAME.localhost
    #[arg(long, value_name = "NAME", default_value = "local-hub")]
    name: String,
    /// Another host name that clients may use; the first one is used in connection strings
    #[arg(long = "host-name", value_name = "NAME")]
    host_names: Vec<String>,
    /// The port of MQTT over TLS
    #[arg(long, value_name = "N", default_value_t = Ports::STANDARD.mqtts)]
    mqtts_port: u16,
    /// The port of AMQP over TLS
    #[arg(long, value_name = "N", default_value_t = Ports::STANDARD.amqps)]
    amqps_port: u16,
    /// The port of plain AMQP, for Event Hubs clients with UseDevelopmentEmulator=true
    #[arg(long, value_name = "N", default_value_t = Ports::STANDARD.amqp)]
    amqp_port: u16,
    /// The port of HTTPS [default: 443, or 8443 where 443 needs a privilege]
    #[arg(long, value_name = "N")]
    https_port: Option<u16>,
    /// Where the CA and the keys are kept
    #[arg(long, value_name = "DIR", default_value = "./local-hub-state")]
    state_dir: PathBuf,
    /// The key of the policy iothubowner [default: made by the hub and kept]
    #[arg(long, value_name = "BASE64", value_parser = key)]
    owner_key: Option<SharedAccessKey>,
    /// A device the hub knows from the start, and after every restart
    #[arg(long = "device", value_name = "ID")]
    devices: Vec<DeviceId>,
    /// A JSON file with ports and connection strings, written when the hub is ready
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

#[expect(clippy::unnecessary_wraps, reason = "what clap asks for; the hub checks the key itself")]
fn key(text: &str) -> Result<SharedAccessKey, std::convert::Infallible> {
    Ok(SharedAccessKey::new(text))
}

impl Arguments {
    /// Whether HTTPS was left to the default port, which may need a privilege.
    pub(crate) const fn wants_standard_https(&self) -> bool {
        self.https_port.is_none()
    }

    /// The hub that these arguments describe.
    pub(crate) fn builder(&self) -> LocalHubBuilder {
        let ports = Ports {
            mqtts: self.mqtts_port,
            amqps: self.amqps_port,
            amqp: self.amqp_port,
            https: self.https_port.unwrap_or(Ports::STANDARD.https),
        };
        let mut builder =
            LocalHub::builder().name(&self.name).addresses(LOOPBACK).ports(ports).state_dir(&self.state_dir);
        if self.wants_standard_https() {
            builder = builder.https_fallback();
        }
        if let Some(key) = &self.owner_key {
            builder = builder.owner_key(key.clone());
        }
        builder = self.host_names.iter().fold(builder, LocalHubBuilder::host_name);
        self.devices.iter().cloned().fold(builder, LocalHubBuilder::device)
    }
}
