//! One line of JSON with a space after each comma and colon, as the tutorials show dictionaries.

use std::io::{self, Write};

use serde::Serialize as _;
use serde_json::ser::{Formatter, Serializer};

use iothub_models::TwinSection;

struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// The section as text.
pub(super) fn json(section: &TwinSection) -> String {
    let mut text = Vec::new();
    // Writing values to memory cannot fail.
    let _written = section.serialize(&mut Serializer::with_formatter(&mut text, OneLine));
    String::from_utf8(text).unwrap_or_default()
}
