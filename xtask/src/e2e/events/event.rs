//! Reads an event from the lines that `read_events` prints, and finds in it what a device reported.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use iothub_programs::program::Program;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{Form, MAXIMUM};

/// An event, in the parts that `read_events` prints.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) partition: String,
    pub(super) body: Value,
    pub(super) properties: Map<String, Value>,
    pub(super) system: Map<String, Value>,
}

/// Reads the four lines of an event and the empty one behind them.
pub(super) async fn next(program: &mut Program, within: Duration) -> Result<Event> {
    let deadline = Instant::now() + within;
    let mut line = async |prefix: &str| {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = program.next_line(left).await?.context("read_events ended")?;
        let rest = line.strip_prefix(prefix);
        rest.map(str::to_owned).with_context(|| format!("read_events printed {line:?}, not {prefix:?}"))
    };
    let partition = line("Received event from partition: ").await?;
    let body = line("Telemetry received:  ").await?;
    let properties = line("Properties (set by device):  ").await?;
    let system = line("System properties (set by IoT Hub):  ").await?;
    let empty = line("").await?;
    ensure!(empty.is_empty(), "read_events printed {empty:?} after an event, not an empty line");
    let json = |text: &str| -> Result<Value> {
        serde_json::from_str(text).with_context(|| format!("{text:?} is not JSON"))
    };
    let object = |text: &str| match json(text)? {
        Value::Object(members) => Ok(members),
        other => bail!("{other} is no dictionary"),
    };
    Ok(Event {
        partition: partition.trim_end_matches('.').to_owned(),
        body: json(&body)?,
        properties: if properties == "None" { Map::new() } else { object(&properties)? },
        system: object(&system)?,
    })
}

impl Event {
    pub(super) fn system(&self, name: &str) -> &str {
        self.system.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn number(&self, name: &str) -> Result<i64> {
        self.system.get(name).and_then(Value::as_i64).with_context(|| format!("{name} is no number"))
    }

    pub(super) fn property(&self, name: &str) -> &str {
        self.properties.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn is_of(&self, form: &Form) -> bool {
        self.system.get("dt-subject").and_then(Value::as_str) == form.component
    }

    /// The value that the device reported, in an event that tells of a change of its twin.
    pub(super) fn reported(&self, form: &Form) -> Option<&Value> {
        let reported = self.body.get("properties")?.get("reported")?;
        form.component.map_or(Some(reported), |component| reported.get(component))?.get(MAXIMUM)
    }

    /// The value that the device reported and the time of the report, in an event that tells of a change of its digital
    /// twin.
    pub(super) fn told(&self, form: &Form) -> Option<(&Value, &Value)> {
        let operations = self.body.as_array()?;
        let added = |path: String| {
            let operation = operations.iter().find(|operation| operation["path"] == path)?;
            (operation["op"] == "add").then(|| operation.get("value"))?
        };
        match form.component {
            None => Some((
                added(format!("/{MAXIMUM}"))?,
                added(format!("/$metadata/{MAXIMUM}"))?.get("lastUpdateTime")?,
            )),
            Some(component) => {
                let whole = added(format!("/{component}"))?;
                let about = whole.get("$metadata")?.get(MAXIMUM)?;
                Some((whole.get(MAXIMUM)?, about.get("lastUpdateTime")?))
            }
        }
    }
}
