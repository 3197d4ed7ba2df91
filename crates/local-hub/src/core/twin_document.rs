//! The part of a twin that back ends and device write, and how it is kept: packed, since there may be a
//! million. As a tree of values it would take ten times the memory, and every query would parse it.

use iothub_models::{ErrorCode, TwinProperties, TwinSection};
use serde_json::{Map, Value};

use super::packed::{Packed, Packer};
use super::refusal::HubError;

/// Tags, and both sections with their metadata.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TwinDocument {
    pub(crate) tags: Map<String, Value>,
    pub(crate) properties: TwinProperties,
}

impl TwinDocument {
    /// The bytes of `{"tags": …, "properties": {"desired": …, "reported": …}}`, as queries see it.
    pub(super) fn pack(&self) -> Box<[u8]> {
        let mut packer = Packer::default();
        packer.object(|document| {
            document.name("tags").object(|tags| tags.members(&self.tags));
            document.name("properties").object(|properties| {
                properties.name("desired").object(|desired| pack_section(desired, &self.properties.desired));
                properties
                    .name("reported")
                    .object(|reported| pack_section(reported, &self.properties.reported));
            });
        });
        packer.finish()
    }

    pub(super) fn unpack(bytes: &[u8]) -> Result<Self, HubError> {
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
        read().ok_or_else(|| HubError::new(ErrorCode::ServerError, "a kept twin cannot be read"))
    }
}

fn pack_section(packer: &mut Packer, section: &TwinSection) {
    packer.members(&section.properties);
    packer.name("$metadata").object(|metadata| metadata.members(&section.metadata));
    packer.name("$version").value(&section.version.into());
}

fn unpack_section(section: Packed<'_>) -> Option<TwinSection> {
    let mut properties = section.to_map()?;
    // Both stand last, so that nothing is moved.
    let version = properties.shift_remove("$version")?.as_i64()?;
    let Some(Value::Object(metadata)) = properties.shift_remove("$metadata") else { return None };
    Some(TwinSection { properties, metadata, version })
}

#[cfg(test)]
mod tests {
    use super::*;
    use iothub_models::SectionKind;
    use jiff::Timestamp;
    use serde_json::json;

    #[test]
    fn a_document_comes_out_as_it_went_in() {
        let mut desired = TwinSection::new(Timestamp::UNIX_EPOCH);
        let patch = json!({"b": {"c": [1, null]}, "a": 1.0});
        desired.patch(SectionKind::Desired, patch.as_object().unwrap(), Timestamp::UNIX_EPOCH);
        let reported = TwinSection::new(Timestamp::UNIX_EPOCH);
        let tags = json!({"plant": "Redmond43"}).as_object().unwrap().clone();
        let document = TwinDocument { tags, properties: TwinProperties { desired, reported } };
        let bytes = document.pack();
        assert_eq!(TwinDocument::unpack(&bytes).unwrap(), document);
        let seen = Packed::new(&bytes).to_value().unwrap();
        let shown = serde_json::to_value(&document.properties).unwrap();
        // As text, which the order of members is a part of.
        assert_eq!(seen["properties"].to_string(), shown.to_string());
        assert!(TwinDocument::unpack(&bytes[..bytes.len() - 1]).is_err());
    }
}
