//! The thermostat itself: what `model/Thermostat.json` says it measures, keeps and answers. It speaks the
//! conventions of Plug and Play, and neither connects nor sends.

use std::collections::VecDeque;
use std::io::{self, Write as _};

use iothub_mqtt_device::{
    AcknowledgementCode, ComponentName, DirectMethodCall, DirectMethodResponse, PropertyAcknowledgement,
    PropertyReport, PropertyWrite, TelemetryMessage, TwinSection,
};
use jiff::Timestamp;
use serde_json::{Value, json};

const TARGET: &str = "targetTemperature";
const MAXIMUM: &str = "maxTempSinceLastReboot";

/// Measurements that are kept for reports: a day of them.
const KEPT: usize = 24 * 60 * 60 / 5;

pub struct Thermostat {
    /// Which component of its device it is; `None` if it is the device.
    pub component: Option<ComponentName>,
    target: f64,
    maximum: f64,
    measured: VecDeque<(Timestamp, f64)>,
}

impl Thermostat {
    pub fn new(component: Option<ComponentName>) -> Self {
        let first = rounded(rand::random_range(18.0..22.0));
        let measured = VecDeque::from([(Timestamp::now(), first)]);
        Self { component, target: 20.0, maximum: first, measured }
    }

    // ANCHOR: begin
    /// What it reports when it starts. The target it acknowledged last is in force again; where there is
    /// none it tells its own, with code 203 and version 0.
    pub fn begin(&mut self, reported: &TwinSection, report: PropertyReport) -> PropertyReport {
        let properties = match &self.component {
            Some(component) => reported.properties.get(component.as_str()).and_then(Value::as_object),
            None => Some(&reported.properties),
        };
        let last = properties.and_then(|all| all.get(TARGET)).and_then(PropertyAcknowledgement::read);
        let report = self.report_maximum(report);
        match last.and_then(|last| last.value.as_f64()) {
            Some(target) => {
                self.target = target;
                report
            }
            None => {
                let own = PropertyAcknowledgement::device_default(self.target);
                report.writable(self.component.as_ref(), TARGET, own)
            }
        }
    }
    // ANCHOR_END: begin

    // ANCHOR: answer
    /// Follows what a back end wrote, and adds the answer to the report: 200 with the new value, or 400 with
    /// the one it keeps. What is not writable gets no answer, which would overwrite what is reported there.
    pub fn answer(&mut self, write: &PropertyWrite, report: PropertyReport) -> io::Result<PropertyReport> {
        let name = match &self.component {
            Some(component) => format!("{component}.{}", write.name),
            None => write.name.clone(),
        };
        if write.name != TARGET {
            writeln!(
                io::stdout(),
                "Property {name} written: {}, ignored since it is not writable",
                write.value
            )?;
            return Ok(report);
        }
        let answer = match (&write.value, write.value.as_f64()) {
            (_, Some(target)) => {
                self.target = target;
                write.accept("the new target")
            }
            // Nothing is desired any longer: the target is the device's own again.
            (Value::Null, _) => PropertyAcknowledgement::device_default(self.target),
            _ => write.answer(self.target, AcknowledgementCode::REFUSED, "a target is a number"),
        };
        writeln!(io::stdout(), "Property {name} written: {}, answered with {}", write.value, answer.code.0)?;
        Ok(report.answer(write, answer))
    }
    // ANCHOR_END: answer

    /// Measures, somewhat nearer to the target than before, and makes telemetry of it.
    pub fn measure(&mut self) -> io::Result<TelemetryMessage> {
        let last = self.measured.back().map_or(self.target, |(_, last)| *last);
        let temperature = rounded(last + (self.target - last) / 4.0 + rand::random_range(-0.5..0.5));
        if self.measured.len() == KEPT {
            self.measured.pop_front();
        }
        self.measured.push_back((Timestamp::now(), temperature));
        let body = json!({ "temperature": temperature }).to_string();
        match &self.component {
            Some(component) => {
                writeln!(io::stdout(), "Sending telemetry of {component}: {body}")?;
                Ok(TelemetryMessage::json_text(body).of_component(component))
            }
            None => {
                writeln!(io::stdout(), "Sending telemetry: {body}")?;
                Ok(TelemetryMessage::json_text(body))
            }
        }
    }

    /// Adds the maximum to the report if the last measurement raised it.
    pub fn note_maximum(&mut self, report: PropertyReport) -> PropertyReport {
        match self.measured.back() {
            Some((_, last)) if *last > self.maximum => {
                self.maximum = *last;
                self.report_maximum(report)
            }
            _ => report,
        }
    }

    fn report_maximum(&self, report: PropertyReport) -> PropertyReport {
        match &self.component {
            Some(component) => report.property_of(component, MAXIMUM, self.maximum),
            None => report.property(MAXIMUM, self.maximum),
        }
    }

    // ANCHOR: command
    /// Answers a command of the model.
    pub fn command(&self, call: &DirectMethodCall) -> DirectMethodResponse {
        if call.command().command() != "getMaxMinReport" {
            return DirectMethodResponse::new(404, json!({ "error": "there is no such command" }));
        }
        // The payload is the time itself; without one the report begins with the first measurement.
        let since: Timestamp = match call.payload_as::<Option<_>>() {
            Ok(since) => since.unwrap_or(Timestamp::MIN),
            Err(error) => return DirectMethodResponse::new(400, json!({ "error": error.to_string() })),
        };
        let measured: Vec<_> = self.measured.iter().filter(|(time, _)| *time >= since).copied().collect();
        let (Some(first), Some(last)) = (measured.first(), measured.last()) else {
            return DirectMethodResponse::new(404, json!({ "error": "nothing was measured since then" }));
        };
        let temperatures = measured.iter().map(|(_, temperature)| *temperature);
        let report = json!({
            "maxTemp": temperatures.clone().fold(f64::MIN, f64::max),
            "minTemp": temperatures.clone().fold(f64::MAX, f64::min),
            "avgTemp": rounded(temperatures.sum::<f64>() / measured.len() as f64),
            "startTime": first.0,
            "endTime": last.0,
        });
        DirectMethodResponse::new(200, report)
    }
    // ANCHOR_END: command
}

/// To a tenth of a degree.
fn rounded(temperature: f64) -> f64 {
    (temperature * 10.0).round() / 10.0
}
