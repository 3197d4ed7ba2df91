//! This file hands the desired properties to the application: their state when it began to listen, then every
//! change. The module `desired/tracker` keeps the changes in order and makes up for those that were missed.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use iothub_models::{ComponentName, PropertyWrite, TwinSection, merge};

use crate::queue::{Bounds, Queue, Reader};

mod one_line;
mod tracker;

pub(crate) use tracker::{Start, Tracker};

/// Changes that nobody has read; what exceeds this is replaced by the whole, read anew.
const UNREAD: Bounds = Bounds { items: 64, bytes: 1024 * 1024 };

pub(crate) type Changes = Queue<DesiredChange>;

pub(crate) fn changes() -> Changes {
    Queue::new(UNREAD)
}

/// The desired properties of a twin, as they change.
///
/// [`initial`](Self::initial) is what they were when this stream began; the items are what changed since.
/// Laid over it in order with [`apply_to`](DesiredChange::apply_to), they always give what back ends want:
/// no change is missed, none comes twice, and none that is older than another comes after it, however
/// often the connection is lost.
///
/// One stream at a time; after it is dropped another may be asked for. The stream does not keep the client
/// alive, and ends when the client does.
///
/// ```no_run
/// # async fn example(client: iothub_mqtt_device::DeviceClient) -> Result<(), iothub_mqtt_device::Error> {
/// let mut changes = client.desired_properties().await?;
/// let mut desired = changes.initial().clone();
/// while let Some(change) = changes.next().await {
///     change.apply_to(&mut desired);
///     println!("version {}: {:?}", desired.version, desired.properties.get("interval"));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DesiredProperties {
    initial: TwinSection,
    reader: Reader<DesiredChange>,
}

impl DesiredProperties {
    pub(crate) const fn new(initial: TwinSection, reader: Reader<DesiredChange>) -> Self {
        Self { initial, reader }
    }

    /// The desired properties when this stream began.
    #[must_use]
    pub const fn initial(&self) -> &TwinSection {
        &self.initial
    }

    /// Returns the writes that a Plug and Play device has still to deal with when it starts: the values that
    /// `reported`, read before this stream began, does not acknowledge. `components` are those of
    /// [`DesiredChange::writes`].
    #[must_use]
    pub fn unacknowledged(&self, reported: &TwinSection, components: &[ComponentName]) -> Vec<PropertyWrite> {
        PropertyWrite::unacknowledged(&self.initial, reported, components)
    }

    /// The next change; `None` once the client is shut down.
    ///
    /// # Cancel safety
    /// Dropping the future loses no change.
    pub async fn next(&mut self) -> Option<DesiredChange> {
        std::future::poll_fn(|cx| self.reader.poll(cx)).await
    }
}

impl Stream for DesiredProperties {
    type Item = DesiredChange;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.reader.poll(cx)
    }
}

/// A change of the desired properties.
///
/// A program that only wants to show or log changes may treat both alike; one that keeps the properties
/// uses [`apply_to`](Self::apply_to). `Display` is one line of JSON with `$version` at its end.
///
/// ```
/// # use iothub_mqtt_device::{DesiredChange, TwinSection, serde_json};
/// let section = |json: &str| serde_json::from_str::<TwinSection>(json).unwrap();
/// let mut desired = section(r#"{"interval": 60, "mode": "eco", "$version": 3}"#);
///
/// let change = DesiredChange::Patch(section(r#"{"mode": null, "$version": 4}"#));
/// change.apply_to(&mut desired);
/// assert_eq!(desired, section(r#"{"interval": 60, "$version": 4}"#));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum DesiredChange {
    /// The properties that a back end changed, as the hub told them: null means that a property is gone.
    ///
    /// When a back end replaces the desired properties instead of patching them, the hub sends that in this
    /// form too: the patch holds all the new properties, and null for each that existed before and is gone,
    /// at every depth.
    Patch(TwinSection),
    /// All desired properties, as they are now: sent when they changed while the client had no
    /// connection, or faster than the stream was read. A property that is not in it is gone.
    Full(TwinSection),
}

impl DesiredChange {
    const fn section(&self) -> &TwinSection {
        match self {
            Self::Patch(section) | Self::Full(section) => section,
        }
    }

    /// The `$version` the desired properties have with this change.
    #[must_use]
    pub const fn version(&self) -> i64 {
        self.section().version
    }

    /// The properties that changed, or all of them.
    #[must_use]
    pub const fn properties(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.section().properties
    }

    /// The same as writes to the properties of a Plug and Play model, each to be acknowledged with a
    /// [`PropertyReport`](crate::PropertyReport). After [`Full`](Self::Full) those are among them that did
    /// not change; dealing with them again does no harm.
    ///
    /// `components` are the model's: what stands under their names is theirs, even where a back end forgot
    /// to mark it as a component. Other components are known by their mark.
    #[must_use]
    pub fn writes(&self, components: &[ComponentName]) -> Vec<PropertyWrite> {
        PropertyWrite::read(self.section(), components)
    }

    /// Brings `known` up to date: lays a patch over it, with null deleting, or replaces it. This gives the
    /// hub's own desired properties after a patch of a back end and after a replacement alike.
    pub fn apply_to(&self, known: &mut TwinSection) {
        match self {
            Self::Patch(patch) => {
                merge(&mut known.properties, &patch.properties);
                known.version = patch.version;
            }
            Self::Full(section) => known.clone_from(section),
        }
    }
}

impl fmt::Display for DesiredChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line::json(self.section()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> TwinSection {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn shows_itself_as_the_tutorial_does() {
        let patch =
            r#"{"power_level": 1, "a": {"b": [1, "x, y: \"z\""], "c": {}}, "d": null, "$version": 3}"#;
        assert_eq!(DesiredChange::Patch(section(patch)).to_string(), patch);
    }

    #[test]
    fn a_change_is_taken_apart_by_component() {
        let change = DesiredChange::Patch(section(
            r#"{"thermostat1":{"__t":"c","targetTemperature":21.5},"thermostat2":{"targetTemperature":22},
                "interval":{"s":5},"$version":6}"#,
        ));
        let thermostat2: ComponentName = "thermostat2".parse().unwrap();
        let writes = change.writes(std::slice::from_ref(&thermostat2));
        let short: Vec<_> = writes
            .iter()
            .map(|write| (write.component.as_ref().map(AsRef::as_ref), write.name.as_str(), write.version))
            .collect();
        assert_eq!(
            short,
            [
                (Some("thermostat1"), "targetTemperature", 6),
                (Some("thermostat2"), "targetTemperature", 6),
                (None, "interval", 6)
            ]
        );
    }

    #[test]
    fn a_patch_is_laid_over_and_the_whole_replaces() {
        let mut known = section(r#"{"a":1,"b":{"x":1,"y":2},"$version":4}"#);
        DesiredChange::Patch(section(r#"{"a":null,"b":{"y":3},"c":4,"$version":5}"#)).apply_to(&mut known);
        assert_eq!(known, section(r#"{"b":{"x":1,"y":3},"c":4,"$version":5}"#));
        // A replacement of these by {"b":{"y":3},"e":5}, as the hub sends it.
        DesiredChange::Patch(section(r#"{"b":{"x":null,"y":3},"c":null,"e":5,"$version":6}"#))
            .apply_to(&mut known);
        assert_eq!(known, section(r#"{"b":{"y":3},"e":5,"$version":6}"#));
        let full = DesiredChange::Full(section(r#"{"d":1,"$version":9}"#));
        full.apply_to(&mut known);
        assert_eq!((known.version, known.properties.len(), full.properties().len()), (9, 1, 1));
    }
}
