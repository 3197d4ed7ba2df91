//! This file writes JSON as bytes that can be searched without being parsed: a value deep in a document is found
//! by stepping over everything before it, and the search allocates no memory.
//!
//! Twins are kept in this form, and queries and indexes read it. It is never written to disk.
//!
//! A value is one byte for its type, its tag, and for most types a body. The bodies of text, arrays and objects begin
//! with their length in bytes, so that they can be stepped over. Numbers keep their kind (`1` and `1.0` differ when
//! they are written as JSON), and objects keep the order of their members.

use serde_json::{Map, Number, Value};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
/// A whole number, written as a length after zigzag encoding.
const INTEGER: u8 = 3;
/// A whole number above the range of `i64`.
const UNSIGNED: u8 = 4;
const FLOAT: u8 = 5;
const TEXT: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;

/// Names that are in every twin, most of them once for each of its properties. Each is written as one byte.
const KNOWN_NAMES: [&str; 8] = [
    "$lastUpdated",
    "$lastUpdatedVersion",
    "$metadata",
    "$version",
    "tags",
    "properties",
    "desired",
    "reported",
];

/// Writes values one after the other.
#[derive(Debug, Default)]
pub(crate) struct Packer(Vec<u8>);

impl Packer {
    pub(crate) fn finish(self) -> Box<[u8]> {
        self.0.into()
    }

    /// Writes an object. `write` writes its members, each with [`name`](Self::name) and a value.
    pub(crate) fn object(&mut self, write: impl FnOnce(&mut Self)) {
        self.0.push(OBJECT);
        self.sized(write);
    }

    /// Writes the name of a member; its value must follow.
    pub(crate) fn name(&mut self, name: &str) -> &mut Self {
        let head = name_head(name);
        self.length(head);
        if head & 1 == 0 {
            self.0.extend_from_slice(name.as_bytes());
        }
        self
    }

    /// Writes all members of an object that `write` of [`object`](Self::object) has begun.
    pub(crate) fn members(&mut self, members: &Map<String, Value>) {
        for (name, member) in members {
            self.name(name).value(member);
        }
    }

    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.push(NULL),
            Value::Bool(false) => self.0.push(FALSE),
            Value::Bool(true) => self.0.push(TRUE),
            Value::Number(number) => self.number(number),
            Value::String(text) => {
                self.0.push(TEXT);
                self.length(text.len() as u64);
                self.0.extend_from_slice(text.as_bytes());
            }
            Value::Array(items) => {
                self.0.push(ARRAY);
                self.sized(|packer| items.iter().for_each(|item| packer.value(item)));
            }
            Value::Object(members) => self.object(|packer| packer.members(members)),
        }
    }

    /// Writes a copy of a value that is packed already.
    pub(crate) fn copy(&mut self, value: Packed<'_>) {
        self.0.extend_from_slice(value.bytes());
    }

    fn number(&mut self, number: &Number) {
        if let Some(number) = number.as_i64() {
            self.0.push(INTEGER);
            self.length((number << 1 ^ number >> 63).cast_unsigned());
        } else if let Some(number) = number.as_u64() {
            self.0.push(UNSIGNED);
            self.length(number);
        } else {
            self.0.push(FLOAT);
            self.0.extend_from_slice(&number.as_f64().unwrap_or_default().to_le_bytes());
        }
    }

    /// Writes the length of what `write` writes, followed by it.
    fn sized(&mut self, write: impl FnOnce(&mut Self)) {
        let at = self.0.len();
        // Most bodies are short: one byte is left free for the length, and replaced if the length needs more.
        self.0.push(0);
        write(self);
        let length = (self.0.len() - at - 1) as u64;
        if length < 0x80 {
            self.0[at] = length.to_le_bytes()[0];
        } else {
            let mut prefix = Self::default();
            prefix.length(length);
            self.0.splice(at..=at, prefix.0);
        }
    }

    /// Writes a number in seven bits per byte, the lowest first; the top bit says that more bytes follow.
    fn length(&mut self, mut length: u64) {
        while length >= 0x80 {
            self.0.push(length.to_le_bytes()[0] | 0x80);
            length >>= 7;
        }
        self.0.push(length.to_le_bytes()[0]);
    }
}

/// A value that was written by a [`Packer`], at the beginning of these bytes. Other bytes may be read as no value or
/// as a wrong one, and never cause a panic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed<'a>(&'a [u8]);

impl<'a> Packed<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns the value of an object's member.
    pub(crate) fn member(self, name: &str) -> Option<Self> {
        let mut members = self.body(OBJECT)?;
        let head = name_head(name);
        while !members.is_empty() {
            let (found, rest) = read_length(members)?;
            // A known name has a head and no text.
            let size = if found & 1 == 1 { 0 } else { usize::try_from(found >> 1).ok()? };
            let (text, value) = rest.split_at_checked(size)?;
            if found == head && (size == 0 || text == name.as_bytes()) {
                return Some(Self(value));
            }
            members = skip(value)?;
        }
        None
    }

    /// Returns an item of an array.
    pub(crate) fn item(self, index: usize) -> Option<Self> {
        let mut items = self.body(ARRAY)?;
        for _ in 0..index {
            items = skip(items)?;
        }
        (!items.is_empty()).then_some(Self(items))
    }

    /// Returns whether the value is an object or an array.
    pub(crate) fn is_composite(self) -> bool {
        matches!(self.0.first(), Some(&(ARRAY | OBJECT)))
    }

    /// Returns the text, if the value is one.
    pub(crate) fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.body(TEXT)?).ok()
    }

    /// Returns the value, unpacked.
    pub(crate) fn to_value(self) -> Option<Value> {
        read(self.0).map(|(value, _)| value)
    }

    /// Returns the members of an object, unpacked.
    pub(crate) fn to_map(self) -> Option<Map<String, Value>> {
        self.members_without(None)
    }

    /// Returns the members of an object, unpacked, except for the one with this name.
    pub(crate) fn to_map_without(self, name: &str) -> Option<Map<String, Value>> {
        self.members_without(Some(name))
    }

    fn members_without(self, without: Option<&str>) -> Option<Map<String, Value>> {
        let mut left = self.body(OBJECT)?;
        let mut members = Map::new();
        while !left.is_empty() {
            let (name, value) = read_name(left)?;
            if without == Some(name) {
                left = skip(value)?;
                continue;
            }
            let (member, rest) = read(value)?;
            members.insert(name.to_owned(), member);
            left = rest;
        }
        Some(members)
    }

    /// Returns the bytes of the value and no others.
    fn bytes(self) -> &'a [u8] {
        let after = skip(self.0).map_or(0, <[u8]>::len);
        &self.0[..self.0.len() - after]
    }

    fn body(self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        if *found != tag {
            return None;
        }
        let (length, rest) = read_length(rest)?;
        rest.get(..usize::try_from(length).ok()?)
    }
}

/// Returns the number that is written before a name: its length, or its position in [`KNOWN_NAMES`]. The lowest bit
/// tells the two apart.
fn name_head(name: &str) -> u64 {
    match KNOWN_NAMES.iter().position(|known| *known == name) {
        Some(known) => (known as u64) << 1 | 1,
        None => (name.len() as u64) << 1,
    }
}

fn read_length(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x80 {
        return Some((u64::from(*first), rest));
    }
    let mut length = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((length, &bytes[index + 1..]));
        }
    }
    None
}

fn read_name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = read_length(bytes)?;
    let size = usize::try_from(length >> 1).ok()?;
    if length & 1 == 1 {
        return Some((KNOWN_NAMES.get(size)?, rest));
    }
    let (name, rest) = rest.split_at_checked(size)?;
    Some((std::str::from_utf8(name).ok()?, rest))
}

/// Returns the bytes after the first value.
fn skip(bytes: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = bytes.split_first()?;
    match *tag {
        NULL | FALSE | TRUE => Some(rest),
        INTEGER | UNSIGNED => read_length(rest).map(|(_, rest)| rest),
        FLOAT => rest.get(8..),
        _ => {
            let (length, rest) = read_length(rest)?;
            rest.get(usize::try_from(length).ok()?..)
        }
    }
}

/// Returns the first value, unpacked, and the bytes after it.
fn read(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    Some(match *tag {
        NULL => (Value::Null, rest),
        FALSE => (Value::Bool(false), rest),
        TRUE => (Value::Bool(true), rest),
        INTEGER => {
            let (number, rest) = read_length(rest)?;
            let number = (number >> 1).cast_signed() ^ -((number & 1).cast_signed());
            (number.into(), rest)
        }
        UNSIGNED => {
            let (number, rest) = read_length(rest)?;
            (number.into(), rest)
        }
        FLOAT => {
            let (number, rest) = rest.split_first_chunk()?;
            (f64::from_le_bytes(*number).into(), rest)
        }
        TEXT => (Value::String(Packed(bytes).text()?.to_owned()), skip(bytes)?),
        ARRAY => {
            let mut left = Packed(bytes).body(ARRAY)?;
            let mut items = Vec::new();
            while !left.is_empty() {
                let (item, rest) = read(left)?;
                items.push(item);
                left = rest;
            }
            (Value::Array(items), skip(bytes)?)
        }
        OBJECT => (Value::Object(Packed(bytes).to_map()?), skip(bytes)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn packed(value: &Value) -> Box<[u8]> {
        let mut packer = Packer::default();
        packer.value(value);
        packer.finish()
    }

    #[test]
    fn values_are_found_where_they_stand() {
        let value = json!({"properties": {"desired": {"a": 1}, "reported": {"long": "x".repeat(300), "list": [1, [2], {"b": null}]}}, "": 0});
        let bytes = packed(&value);
        let root = Packed::new(&bytes);
        let reported = root.member("properties").unwrap().member("reported").unwrap();
        assert_eq!(reported.member("long").unwrap().text().unwrap().len(), 300);
        let list = reported.member("list").unwrap();
        assert_eq!(list.item(2).unwrap().member("b").unwrap().to_value(), Some(Value::Null));
        assert_eq!(list.item(1).unwrap().item(0).unwrap().to_value(), Some(json!(2)));
        assert!(list.item(3).is_none() && list.member("a").is_none() && root.item(0).is_none());
        assert!(root.member("tags").is_none() && root.member("").is_some());
    }

    #[test]
    fn numbers_keep_their_kind() {
        for number in [
            json!(0),
            json!(-1),
            json!(i64::MIN),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1.0),
            json!(-0.0),
            json!(1e300),
        ] {
            assert_eq!(Packed::new(&packed(&number)).to_value().unwrap().to_string(), number.to_string());
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
            ".{0,140}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec(("[$a-c]{0,3}|tags", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out_again(value in value()) {
            let bytes = packed(&value);
            let again = Packed::new(&bytes).to_value().unwrap();
            // They are compared as text, since the order of members counts.
            prop_assert_eq!(again.to_string(), value.to_string());
        }

        #[test]
        fn strange_bytes_give_something_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let packed = Packed::new(&bytes);
            let _something = (packed.to_value(), packed.member("tags").is_some(), packed.item(3).is_some());
        }
    }
}
