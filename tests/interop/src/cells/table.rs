//! [`Cell`] is a row of `tests/interop/cells.json`: a transport with a kind of proof, for a device or a module, and the
//! client of Microsoft's that connects so.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::language::{Language, folder};
use crate::login::Transport;

/// A cell of the tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cell {
    /// The name of the case.
    pub(super) case: String,
    #[serde(rename = "identity")]
    pub(super) kind: Kind,
    pub(super) transport: Transport,
    pub(super) credential: Proof,
    pub(super) client: Language,
    /// The class of the error, if the client cannot connect so.
    pub(super) raises: Option<String>,
}

/// A device or a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Device,
    Module,
}

/// A kind of proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Proof {
    /// The key, with which the client signs its tokens.
    Key,
    /// A finished token.
    Token,
    /// A certificate that is signed with its own key, of which the hub has the thumbprint.
    #[serde(rename = "x509-self-signed")]
    SelfSigned,
    /// A certificate that a CA of the hub's issued.
    #[serde(rename = "x509-ca")]
    Authority,
}

#[derive(Deserialize)]
struct Table {
    cells: Vec<Cell>,
}

/// Returns the cells of the file.
pub(super) fn cells() -> Result<Vec<Cell>> {
    let path = folder().join("cells.json");
    let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let table: Table = serde_json::from_str(&text).context("cells.json")?;
    Ok(table.cells)
}
