//! [`Stored`] is a twin as it is kept, and [`TwinState`] the same twin unpacked.
//!
//! [`Twins`](super::Twins) keeps and changes them; rows of queries read them. Tags and properties are kept as packed
//! bytes, since there may be a million twins: as a tree of values a twin would take ten times the memory, and every
//! query would parse it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::{ErrorCode, ModelId, TwinProperties, TwinSection};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::packed::{Packed, Packer};
use crate::core::refusal::HubError;

/// A twin as it is kept.
#[derive(Debug)]
pub(crate) struct Stored {
    etag: u64,
    version: i64,
    model_id: Option<ModelId>,
    /// `{"tags": …, "properties": {"desired": …, "reported": …}}`, packed. This is what queries see.
    document: Box<[u8]>,
}

/// A twin that was read whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TwinState {
    pub(crate) etag: String,
    pub(crate) version: i64,
    /// The Plug and Play model that the device announced last.
    pub(crate) model_id: Option<ModelId>,
    pub(crate) document: TwinDocument,
}

/// The tags of a twin, and both sections with their metadata.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TwinDocument {
    pub(crate) tags: Map<String, Value>,
    pub(crate) properties: TwinProperties,
}

impl Stored {
    /// A new identity's twin.
    pub(super) fn new(now: Timestamp) -> Self {
        let section = TwinSection::new(now);
        let properties = TwinProperties { desired: section.clone(), reported: section };
        let document = TwinDocument { tags: Map::new(), properties }.pack();
        Self { etag: 1, version: 2, model_id: None, document }
    }

    /// Returns the twin after a back end's change, which left `document`.
    pub(super) fn with_document(&self, document: &TwinDocument) -> Self {
        Self {
            etag: self.etag + 1,
            version: self.version + 1,
            model_id: self.model_id.clone(),
            document: document.pack(),
        }
    }

    /// Returns the twin after the device's change, which left `reported`. Tags and desired properties are copied
    /// as packed bytes.
    pub(super) fn with_reported(&self, reported: &TwinSection) -> Result<Self, HubError> {
        let document = self.packed();
        let parts = || Some((document.member("tags")?, document.member("properties")?.member("desired")?));
        let (tags, desired) = parts().ok_or_else(unreadable)?;
        let document = pack(
            |packer| packer.copy(tags),
            |packer| packer.copy(desired),
            |packer| pack_section(packer, reported),
        );
        Ok(Self { etag: self.etag, version: self.version + 1, model_id: self.model_id.clone(), document })
    }

    /// Keeps the model that the device announced.
    pub(super) fn announce(&mut self, model_id: ModelId) {
        self.model_id = Some(model_id);
    }

    /// Returns the ETag: eight bytes, the counter in network order.
    pub(crate) fn etag(&self) -> String {
        STANDARD.encode(self.etag.to_be_bytes())
    }

    pub(crate) const fn version(&self) -> i64 {
        self.version
    }

    /// Returns the Plug and Play model that the device announced last; empty if it announced none.
    pub(crate) fn model_id(&self) -> &str {
        self.model_id.as_ref().map_or("", ModelId::as_str)
    }

    /// Returns tags and properties.
    pub(crate) fn packed(&self) -> Packed<'_> {
        Packed::new(&self.document)
    }

    /// Returns the reported properties.
    pub(super) fn reported(&self) -> Result<TwinSection, HubError> {
        let reported = || unpack_section(self.packed().member("properties")?.member("reported")?);
        reported().ok_or_else(unreadable)
    }

    /// Returns both sections without their metadata, as the device reads them.
    pub(crate) fn plain_properties(&self) -> Result<TwinProperties, HubError> {
        let properties = || {
            let properties = self.packed().member("properties")?;
            Some(TwinProperties {
                desired: unpack_plain_section(properties.member("desired")?)?,
                reported: unpack_plain_section(properties.member("reported")?)?,
            })
        };
        properties().ok_or_else(unreadable)
    }

    /// Returns the whole twin, unpacked.
    pub(crate) fn state(&self) -> Result<TwinState, HubError> {
        Ok(self.state_of(TwinDocument::unpack(&self.document)?))
    }

    /// Returns the whole twin, for a caller that has its document unpacked already.
    pub(super) fn state_of(&self, document: TwinDocument) -> TwinState {
        TwinState { etag: self.etag(), version: self.version, model_id: self.model_id.clone(), document }
    }
}

impl TwinDocument {
    fn pack(&self) -> Box<[u8]> {
        pack(
            |packer| packer.object(|tags| tags.members(&self.tags)),
            |packer| pack_section(packer, &self.properties.desired),
            |packer| pack_section(packer, &self.properties.reported),
        )
    }

    fn unpack(bytes: &[u8]) -> Result<Self, HubError> {
        let document = Packed::new(bytes);
        let read = || {
            let properties = document.member("properties")?;
            Some(Self {
                tags: document.member("tags")?.to_map()?,
                properties: TwinProperties {
                    desired: unpack_section(properties.member("desired")?)?,
                    reported: unpack_section(properties.member("reported")?)?,
                },
            })
        };
        read().ok_or_else(unreadable)
    }
}

/// Returns the bytes of a document. Each argument writes the value of one of its parts.
fn pack(
    tags: impl FnOnce(&mut Packer),
    desired: impl FnOnce(&mut Packer),
    reported: impl FnOnce(&mut Packer),
) -> Box<[u8]> {
    let mut packer = Packer::default();
    packer.object(|document| {
        tags(document.name("tags"));
        document.name("properties").object(|properties| {
            desired(properties.name("desired"));
            reported(properties.name("reported"));
        });
    });
    packer.finish()
}

fn pack_section(packer: &mut Packer, section: &TwinSection) {
    packer.object(|packer| {
        packer.members(&section.properties);
        packer.name("$metadata").object(|metadata| metadata.members(&section.metadata));
        packer.name("$version").value(&section.version.into());
    });
}

fn unpack_section(section: Packed<'_>) -> Option<TwinSection> {
    let mut properties = section.to_map()?;
    // Both stand last, so that no other member is moved.
    let version = properties.shift_remove("$version")?.as_i64()?;
    let Some(Value::Object(metadata)) = properties.shift_remove("$metadata") else { return None };
    Some(TwinSection { properties, metadata, version })
}

fn unpack_plain_section(section: Packed<'_>) -> Option<TwinSection> {
    let mut properties = section.to_map_without("$metadata")?;
    let version = properties.shift_remove("$version")?.as_i64()?;
    Some(TwinSection { properties, metadata: Map::new(), version })
}

fn unreadable() -> HubError {
    HubError::new(ErrorCode::ServerError, "a kept twin cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use iothub_models::SectionKind;
    use serde_json::json;

    fn document() -> TwinDocument {
        let mut desired = TwinSection::new(Timestamp::UNIX_EPOCH);
        let patch = json!({"b": {"c": [1, null]}, "a": 1.0});
        desired.patch(SectionKind::Desired, patch.as_object().unwrap(), Timestamp::UNIX_EPOCH);
        let reported = TwinSection::new(Timestamp::UNIX_EPOCH);
        let tags = json!({"plant": "Redmond43"}).as_object().unwrap().clone();
        TwinDocument { tags, properties: TwinProperties { desired, reported } }
    }

    #[test]
    fn a_document_comes_out_as_it_went_in() {
        let document = document();
        let bytes = document.pack();
        assert_eq!(TwinDocument::unpack(&bytes).unwrap(), document);
        let seen = Packed::new(&bytes).to_value().unwrap();
        let shown = serde_json::to_value(&document.properties).unwrap();
        // They are compared as text, since the order of members counts.
        assert_eq!(seen["properties"].to_string(), shown.to_string());
        assert!(TwinDocument::unpack(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn a_report_leaves_the_bytes_that_the_whole_twin_would_have() {
        let mut document = document();
        let stored = Stored::new(Timestamp::UNIX_EPOCH).with_document(&document);
        let mut reported = stored.reported().unwrap();
        assert_eq!(reported, document.properties.reported);
        let patch = json!({"r": {"long": "x".repeat(300)}});
        reported.patch(SectionKind::Reported, patch.as_object().unwrap(), Timestamp::UNIX_EPOCH);
        document.properties.reported = reported.clone();
        let after = stored.with_reported(&reported).unwrap();
        assert_eq!(after.document, document.pack());
        assert_eq!((after.etag(), after.version()), (stored.etag(), stored.version() + 1));
        let plain = after.plain_properties().unwrap();
        assert_eq!(plain.reported, TwinSection { metadata: Map::new(), ..reported });
        assert_eq!(plain.desired.version, 2);
        assert!(plain.desired.metadata.is_empty());
    }
}
