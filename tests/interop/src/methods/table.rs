//! [`Table`] reads the payloads, names and statuses of `tests/interop/methods.json`.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::language::{Language, folder};

/// The content of the file.
pub(super) struct Table(Value);

/// A payload that a back end sends and the device answers with.
pub(super) struct Payload {
    pub(super) name: String,
    pub(super) value: Value,
    /// The payload that arrives, which is another one where a client changes it.
    pub(super) arrives: Value,
    pub(super) is_refused: bool,
}

/// A name of a method.
pub(super) struct Name {
    pub(super) name: String,
    pub(super) method: String,
    /// The name that the device sees; `None` if its client cannot answer to it.
    pub(super) at_device: Option<String>,
}

impl Table {
    pub(super) fn read() -> Result<Self> {
        let path = folder().join("methods.json");
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(Self(serde_json::from_str(&text).context("methods.json is not JSON")?))
    }

    fn list(&self, name: &str) -> Result<&Vec<Value>> {
        self.0[name].as_array().with_context(|| format!("methods.json has no {name}"))
    }

    /// The payloads as this service client sends them.
    pub(super) fn payloads(&self, service: Language) -> Result<Vec<Payload>> {
        let payload = |row: &Value| {
            let value = match row["text_of"].as_u64().and_then(|size| usize::try_from(size).ok()) {
                // Its quotes count too.
                Some(size) => Value::from("x".repeat(size - 2)),
                None => row["payload"].clone(),
            };
            Payload {
                name: row["name"].as_str().unwrap_or_default().to_owned(),
                arrives: row["sends"].get(service.name()).unwrap_or(&value).clone(),
                value,
                is_refused: row["refused"] == true,
            }
        };
        Ok(self.list("payloads")?.iter().map(payload).collect())
    }

    /// The names as this device client sees them.
    pub(super) fn names(&self, device: Language) -> Result<Vec<Name>> {
        let name = |row: &Value| {
            let text = |field: &str| row[field].as_str().map(str::to_owned);
            let method = text("method")?;
            let at_device = if device == Language::Node { text("node_device") } else { Some(method.clone()) };
            Some(Name { name: text("name")?, method, at_device })
        };
        Ok(self.list("names")?.iter().filter_map(name).collect())
    }

    pub(super) fn statuses(&self) -> Result<Vec<i64>> {
        Ok(self.list("statuses")?.iter().filter_map(Value::as_i64).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_every_allowed_character_and_the_limit() {
        let table = Table::read().unwrap();
        let names = table.names(Language::Python).unwrap();
        let all: String = names.iter().map(|name| name.method.as_str()).collect();
        let refused = "$()<>@,;:\\\"/[]?={} \t";
        for character in ('!'..='~').filter(|character| !refused.contains(*character)) {
            assert!(all.contains(character), "{character:?}");
        }
        let sizes: Vec<usize> =
            table.payloads(Language::Rust).unwrap().iter().map(|one| one.value.to_string().len()).collect();
        assert!(sizes.contains(&(128 * 1024)) && sizes.contains(&(128 * 1024 + 1)));
        assert!(table.statuses().unwrap().contains(&-1));
    }
}
