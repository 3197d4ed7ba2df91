//! The controller itself: what `model/TemperatureController.json` says of its root, and which component
//! everything else is for. It neither connects nor sends.

use std::io::{self, Write as _};
use std::time::Duration;

use iothub_mqtt_device::{
    ComponentName, DirectMethodCall, DirectMethodResponse, PropertyReport, PropertyWrite, TelemetryMessage,
    TwinSection,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::thermostat::Thermostat;

/// The longest a reboot may be put off, in seconds.
const LONGEST_DELAY: u64 = 600;

pub struct Controller {
    thermostats: Vec<Thermostat>,
    information: ComponentName,
    /// When it starts anew, if it was told to.
    pub reboot_at: Option<Instant>,
}

impl Controller {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            thermostats: vec![
                Thermostat::new(Some("thermostat1".parse()?)),
                Thermostat::new(Some("thermostat2".parse()?)),
            ],
            information: "deviceInformation".parse()?,
            reboot_at: None,
        })
    }

    /// The components that have writable properties.
    pub fn components(&self) -> Vec<ComponentName> {
        self.thermostats.iter().filter_map(|thermostat| thermostat.component.clone()).collect()
    }

    // ANCHOR: root
    /// What it reports when it starts: of the root, of what it is, and of its thermostats.
    pub fn begin(&mut self, reported: &TwinSection) -> PropertyReport {
        let mut report = PropertyReport::new().property("serialNumber", "SN-0042");
        for (name, value) in [
            ("manufacturer", Value::from("Example")),
            ("model", "Two thermostats".into()),
            ("swVersion", env!("CARGO_PKG_VERSION").into()),
            ("osName", std::env::consts::OS.into()),
            ("processorArchitecture", std::env::consts::ARCH.into()),
            ("processorManufacturer", "Example".into()),
            ("totalStorage", 65_536.into()),
            ("totalMemory", 1_024.into()),
        ] {
            report = report.property_of(&self.information, name, value);
        }
        for thermostat in &mut self.thermostats {
            report = thermostat.begin(reported, report);
        }
        report
    }
    // ANCHOR_END: root

    /// Hands a write to the thermostat it is for. The root and the device's information have nothing to
    /// write, and an answer there would overwrite what is reported.
    pub fn answer(&mut self, write: &PropertyWrite, report: PropertyReport) -> io::Result<PropertyReport> {
        match self.thermostat(write.component.as_ref()) {
            Some(thermostat) => thermostat.answer(write, report),
            None => {
                let component = write.component.as_ref().map(|name| format!("{name}.")).unwrap_or_default();
                let (name, value) = (&write.name, &write.value);
                writeln!(
                    io::stdout(),
                    "Property {component}{name} written: {value}, ignored since it is not writable"
                )?;
                Ok(report)
            }
        }
    }

    /// Measures: one message for each component and one for the root, since a message belongs to one.
    pub fn measure(&mut self) -> io::Result<Vec<TelemetryMessage>> {
        let measured: io::Result<Vec<_>> = self.thermostats.iter_mut().map(Thermostat::measure).collect();
        let mut messages = measured?;
        let body = json!({ "workingSet": rand::random_range(10..100) }).to_string();
        writeln!(io::stdout(), "Sending telemetry: {body}")?;
        messages.push(TelemetryMessage::json_text(body));
        Ok(messages)
    }

    /// Adds the maxima to the report that the last measurement raised.
    pub fn note_maximum(&mut self, report: PropertyReport) -> PropertyReport {
        self.thermostats.iter_mut().fold(report, |report, thermostat| thermostat.note_maximum(report))
    }

    // ANCHOR: reboot
    /// Answers a command: of a component, or of the root.
    pub fn command(&mut self, call: &DirectMethodCall) -> DirectMethodResponse {
        let name = call.command();
        if let Some(thermostat) = self.thermostat(name.component()) {
            return thermostat.command(call);
        }
        if (name.component(), name.command()) != (None, "reboot") {
            return DirectMethodResponse::new(404, json!({ "error": "there is no such command" }));
        }
        // The payload is the delay itself, in seconds; without one it is now.
        match call.payload_as::<Option<u64>>() {
            Ok(delay) if delay.unwrap_or_default() <= LONGEST_DELAY => {
                let delay = Duration::from_secs(delay.unwrap_or_default());
                self.reboot_at = Some(Instant::now() + delay);
                DirectMethodResponse::new(200, Value::Null)
            }
            _ => DirectMethodResponse::new(400, json!({ "error": "the delay is 0 to 600 seconds" })),
        }
    }
    // ANCHOR_END: reboot

    fn thermostat(&mut self, component: Option<&ComponentName>) -> Option<&mut Thermostat> {
        let component = component?;
        self.thermostats.iter_mut().find(|thermostat| thermostat.component.as_ref() == Some(component))
    }
}
