//! This file writes the ready file, which has everything that a script needs to use the hub.
//!
//! The program `local-hub` writes it once all ports accept connections, and removes it at its end.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::core::policies::PolicyName;
use crate::files::{PRIVATE, check_regular, replace};
use crate::running::RunningHub;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadyFile<'h> {
    name: &'h str,
    host_name: &'h str,
    ports: BTreeMap<&'static str, u16>,
    ca_file: &'h Path,
    connection_strings: BTreeMap<&'static str, String>,
    standard_connection_strings: BTreeMap<&'static str, String>,
    event_hubs: EventHubs,
    devices: BTreeMap<String, String>,
}

/// The strings for reading events.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventHubs {
    connection_string: String,
    standard_connection_string: String,
    plain_connection_string: String,
}

/// Removes the ready file at `path`, if there is one.
///
/// # Errors
/// The error of the system if the file cannot be removed, or an error that says that something else than a
/// regular file stands there.
pub fn remove_ready_file(path: &Path) -> io::Result<()> {
    check_regular(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl RunningHub {
    /// Writes a JSON file that says where the hub is and how to get in: its name, host name, ports, CA file,
    /// the connection strings of all policies (for our clients, and in the standard form), of the endpoint
    /// for reading events, and of all devices. The file appears as a whole, is readable by its owner alone,
    /// and holds secrets.
    ///
    /// # Errors
    /// The error of the system if the file cannot be written, or an error that says that something else than
    /// a regular file stands at `path`, such as a FIFO, a device or a symbolic link. Nothing is replaced
    /// then.
    pub fn write_ready_file(&self, path: &Path) -> io::Result<()> {
        let ports = self.ports();
        let strings = |of: &dyn Fn(PolicyName) -> String| {
            PolicyName::ALL.into_iter().map(|name| (name.as_str(), of(name))).collect()
        };
        let devices = self.device_ids().into_iter();
        let ready = ReadyFile {
            name: self.name(),
            host_name: self.host_name(),
            ports: [
                ("mqtts", ports.mqtts),
                ("amqps", ports.amqps),
                ("amqp", ports.amqp),
                ("https", ports.https),
            ]
            .into(),
            ca_file: self.ca_file(),
            connection_strings: strings(&|name| self.connection_string(name)),
            standard_connection_strings: strings(&|name| self.standard_connection_string(name)),
            event_hubs: EventHubs {
                connection_string: self.event_hubs_connection_string(),
                standard_connection_string: self.standard_event_hubs_connection_string(),
                plain_connection_string: self.plain_event_hubs_connection_string(),
            },
            devices: devices
                .filter_map(|id| self.device_connection_string(&id).map(|text| (id.into(), text)))
                .collect(),
        };
        replace(path, &serde_json::to_vec_pretty(&ready)?, PRIVATE)
    }
}
