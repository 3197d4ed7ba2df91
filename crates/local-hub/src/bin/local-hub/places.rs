//! This file finds the places of routes in a configuration file: the line of each route and of its members.
//!
//! `main` asks for the places after it has read the file, and hands them to the settings, which name them when a
//! route turns out to be wrong. TOML itself is fine there, so that the parser of TOML cannot name the place.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

/// The place of a `[[route]]`. All lines are counted from 1.
#[derive(Clone, Debug)]
pub(crate) struct RoutePlaces {
    pub(crate) file: PathBuf,
    /// The line of `[[route]]` itself.
    pub(crate) table: usize,
    pub(crate) name: Option<usize>,
    pub(crate) source: Option<usize>,
    pub(crate) condition: Option<usize>,
    pub(crate) endpoint: Option<usize>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    route: Vec<Spanned<Table>>,
}

#[derive(Deserialize)]
struct Table {
    name: Option<Spanned<IgnoredAny>>,
    source: Option<Spanned<IgnoredAny>>,
    condition: Option<Spanned<IgnoredAny>>,
    endpoint: Option<Spanned<IgnoredAny>>,
}

/// Returns the places of all routes, in the order of the file.
pub(crate) fn routes(file: &Path, text: &str) -> Vec<RoutePlaces> {
    // The file was read before, with the same shape.
    let Ok(File { route }) = toml::from_str(text) else { return Vec::new() };
    let line = |span: Range<usize>| place(text, span.start).0;
    let of = |member: &Option<Spanned<IgnoredAny>>| member.as_ref().map(|member| line(member.span()));
    let places = |table: Spanned<Table>| RoutePlaces {
        file: file.to_owned(),
        table: line(table.span()),
        name: of(&table.get_ref().name),
        source: of(&table.get_ref().source),
        condition: of(&table.get_ref().condition),
        endpoint: of(&table.get_ref().endpoint),
    };
    route.into_iter().map(places).collect()
}

/// Returns the line of a byte and the character in the line, both from 1.
pub(crate) fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or(before);
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}
