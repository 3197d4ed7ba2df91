//! What `local-hub` prints once it is ready: how our programs and official clients get in.

use std::fmt::{self, Display};

use iothub_local_hub::{PolicyName, Ports, RunningHub};

/// The text for the screen. It holds secrets: connection strings are what the reader is here for.
pub(crate) struct Announcement<'h> {
    pub(crate) hub: &'h RunningHub,
    pub(crate) https_fell_back: bool,
}

impl Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hub, ports) = (self.hub, self.hub.ports());
        writeln!(f, "The hub {} is ready on {}:", hub.name(), hub.host_name())?;
        writeln!(
            f,
            "  MQTT over TLS {}, AMQP over TLS {}, plain AMQP {}, HTTPS {}\n",
            ports.mqtts, ports.amqps, ports.amqp, ports.https
        )?;
        if self.https_fell_back {
            writeln!(
                f,
                "Port 443 needs a privilege that this program does not have, so HTTPS is on {}. Official clients\n\
                 insist on 443; one of these gives it to them:\n  \
                 sudo sysctl net.ipv4.ip_unprivileged_port_start=443\n  \
                 sudo setcap cap_net_bind_service=+ep {}\n",
                ports.https,
                std::env::current_exe()
                    .map_or_else(|_| "local-hub".into(), |path| path.display().to_string())
            )?;
        }
        writeln!(f, "For the programs of this project:")?;
        variable(f, "IOTHUB_CONNECTION_STRING", &hub.connection_string(PolicyName::IotHubOwner))?;
        variable(f, "EVENTHUB_CONNECTION_STRING", &hub.event_hubs_connection_string())?;
        self.devices(f)?;
        self.official_clients(f)?;
        writeln!(
            f,
            "A restart keeps the CA, the keys and the devices of --device. It forgets other devices, waiting\n\
             messages, sessions and events.\n\nPress Ctrl-C to stop."
        )
    }
}

impl Announcement<'_> {
    fn devices(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices = self.hub.device_ids();
        if devices.is_empty() {
            writeln!(
                f,
                "  There is no device yet: `iothub device create ID` makes one, and so does --device ID."
            )?;
        }
        for id in &devices {
            let Some(string) = self.hub.device_connection_string(id) else { continue };
            variable(f, "IOTHUB_DEVICE_ID", id.as_str())?;
            variable(f, "IOTHUB_DEVICE_CONNECTION_STRING", &string)?;
        }
        writeln!(f)
    }

    /// Which setting makes each official client trust the CA was tried with unmodified clients.
    fn official_clients(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hub, ports, usual) = (self.hub, self.hub.ports(), Ports::STANDARD);
        writeln!(f, "For official clients of Event Hubs on this machine, without TLS:")?;
        variable(f, "EVENTHUB_CONNECTION_STRING", &hub.plain_event_hubs_connection_string())?;
        writeln!(f)?;
        if ports.mqtts != usual.mqtts && ports.amqps != usual.amqps && ports.https != usual.https {
            return writeln!(
                f,
                "Official clients have the ports 8883, 5671 and 443 in their code and find a hub on these only.\n"
            );
        }
        let ca = hub.ca_file().display();
        writeln!(f, "For official clients, the strings in their standard form:")?;
        variable(f, "IOTHUB_CONNECTION_STRING", &hub.standard_connection_string(PolicyName::IotHubOwner))?;
        for id in hub.device_ids() {
            if let Some(string) = hub.standard_device_connection_string(&id) {
                variable(f, "IOTHUB_DEVICE_CONNECTION_STRING", &string)?;
            }
        }
        variable(f, "EVENTHUB_CONNECTION_STRING", &hub.standard_event_hubs_connection_string())?;
        writeln!(
            f,
            "and what makes them trust the hub's CA:\n  \
             Python azure-iot-device, C: export SSL_CERT_FILE='{ca}'\n  \
             Python azure-iot-hub:       export SSL_CERT_FILE='{ca}' REQUESTS_CA_BUNDLE='{ca}'\n  \
             Node, all packages:         export NODE_EXTRA_CA_CERTS='{ca}'\n  \
             Python azure-eventhub:      pass connection_verify='{ca}'\n"
        )
    }
}

/// A line to paste into a shell. Nothing the hub prints holds a quote but a device id.
fn variable(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "  export {name}='{}'", value.replace('\'', r"'\''"))
}
