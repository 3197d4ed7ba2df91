//! [`Announcement`] is the text that `local-hub` prints once it is ready: how to get in.
//!
//! `main` prints it. It takes at most twelve lines on a screen of 80 columns, counting the rows into which the one
//! long line, the connection string, is wrapped; a path to the CA of more than 80 characters may add to that.
//! Everything else is printed only on demand (`--show-strings`), and is in the ready file anyway.

use std::fmt::{self, Display};

use iothub_local_hub::{PolicyName, Ports, RunningHub};

/// Names how the reader runs the command line, `iothub` unless it is set. `cargo xtask hub` sets it, since its
/// reader has not installed `iothub`.
const COMMAND: &str = "IOTHUB_COMMAND";

/// The text for the screen. It holds secrets, since the reader is here for connection strings.
pub(crate) struct Announcement<'h> {
    pub(crate) hub: &'h RunningHub,
    /// True if HTTPS is on another port than 443, for lack of a privilege.
    pub(crate) https_fell_back: bool,
    /// True if the strings of all devices and for all clients are printed too.
    pub(crate) show_strings: bool,
}

impl Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hub, ports) = (self.hub, self.hub.ports());
        writeln!(
            f,
            "The hub {} is ready: MQTT {}, AMQP {} (plain {}), HTTPS {}.",
            hub.name(),
            ports.mqtts,
            ports.amqps,
            ports.amqp,
            ports.https
        )?;
        writeln!(f, "In another terminal, for the programs of this project:\n")?;
        variable(f, "IOTHUB_CONNECTION_STRING", &hub.connection_string(PolicyName::IotHubOwner))?;
        writeln!(f)?;
        self.devices(f)?;
        if self.show_strings {
            self.strings(f)?;
        } else {
            self.official_clients(f)?;
        }
        writeln!(f, "A restart forgets devices that were not given with --device, and all messages.")?;
        writeln!(f, "Press Ctrl-C to stop.")
    }
}

impl Announcement<'_> {
    /// Writes how to get a device, or the string of the first one.
    fn devices(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let iothub = std::env::var(COMMAND).unwrap_or_else(|_| "iothub".to_owned());
        let show = format!("A device's string: {iothub} device connection-string show");
        match self.hub.device_ids().as_slice() {
            [] => writeln!(f, "Then register a device: {iothub} device create my-device"),
            [only] => writeln!(f, "{show} {only}"),
            [first, others @ ..] => writeln!(f, "{show} {first} (and {} more)", others.len()),
        }
    }

    /// Writes one sentence for readers who come with Microsoft's SDKs.
    fn official_clients(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.hub.ports();
        if self.https_fell_back {
            writeln!(f, "Microsoft's SDKs: --show-strings. HTTPS is not on 443, which needs a privilege.")
        } else if has_official_port(ports) {
            writeln!(f, "Microsoft's SDKs: start the hub with --show-strings for what they need.")
        } else {
            writeln!(f, "Microsoft's SDKs look for a hub at the ports 8883, 5671 and 443 only.")
        }
    }

    /// Writes all strings, and the setting that makes each official client trust the hub's CA. The settings were
    /// tried with unmodified clients.
    fn strings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hub = self.hub;
        for id in hub.device_ids() {
            if let Some(string) = hub.device_connection_string(&id) {
                variable(f, "IOTHUB_DEVICE_ID", id.as_str())?;
                variable(f, "IOTHUB_DEVICE_CONNECTION_STRING", &string)?;
            }
        }
        writeln!(
            f,
            "\nReading events, with our clients; and with Microsoft's on this machine, without TLS:"
        )?;
        variable(f, "EVENTHUB_CONNECTION_STRING", &hub.event_hubs_connection_string())?;
        variable(f, "EVENTHUB_CONNECTION_STRING", &hub.plain_event_hubs_connection_string())?;
        if !has_official_port(hub.ports()) {
            return writeln!(f, "\nMicrosoft's SDKs look for a hub at the ports 8883, 5671 and 443 only.\n");
        }
        writeln!(f, "\nMicrosoft's SDKs take the strings in their standard form:")?;
        variable(f, "IOTHUB_CONNECTION_STRING", &hub.standard_connection_string(PolicyName::IotHubOwner))?;
        for id in hub.device_ids() {
            if let Some(string) = hub.standard_device_connection_string(&id) {
                variable(f, "IOTHUB_DEVICE_CONNECTION_STRING", &string)?;
            }
        }
        variable(f, "EVENTHUB_CONNECTION_STRING", &hub.standard_event_hubs_connection_string())?;
        let ca = hub.ca_file().display();
        writeln!(
            f,
            "and must trust the hub's CA:\n  \
             Python azure-iot-device, C: export SSL_CERT_FILE='{ca}'\n  \
             Python azure-iot-hub:       export SSL_CERT_FILE='{ca}' REQUESTS_CA_BUNDLE='{ca}'\n  \
             Node, all packages:         export NODE_EXTRA_CA_CERTS='{ca}'\n  \
             Python azure-eventhub:      pass connection_verify='{ca}'\n"
        )?;
        if self.https_fell_back {
            writeln!(
                f,
                "They insist on HTTPS at port 443, which needs a privilege. One of these gives it to the hub:\n  \
                 sudo sysctl net.ipv4.ip_unprivileged_port_start=443\n  \
                 sudo setcap cap_net_bind_service=+ep {}\n",
                std::env::current_exe()
                    .map_or_else(|_| "local-hub".into(), |path| path.display().to_string())
            )?;
        }
        Ok(())
    }
}

/// Returns whether any of the ports is one that official clients have in their code.
fn has_official_port(ports: Ports) -> bool {
    let usual = Ports::STANDARD;
    ports.mqtts == usual.mqtts || ports.amqps == usual.amqps || ports.https == usual.https
}

/// Writes a line to paste into a shell. Of all that the hub prints, only a device id may hold a quotation mark.
fn variable(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "  export {name}='{}'", value.replace('\'', r"'\''"))
}
