//! This file has the values of AMQP 1.0 as plain Rust: [`Value`], [`Symbol`], [`Map`], [`Array`], [`Timestamp`], and the
//! limits of their number and depth. [`crate::codec`] reads and writes their bytes.

use std::{borrow::Cow, fmt};

use bytes::Bytes;

/// The depth to which lists, maps, arrays and descriptions may nest in inbound bytes.
pub const MAX_DEPTH: usize = 32;

/// The number of values that one inbound frame or message section may hold. A decoded value takes more memory than its
/// bytes, and this bounds how much.
pub const MAX_VALUES: usize = 16 * 1024;

/// An AMQP symbol: a name from a constrained domain, such as `amqp:not-found`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(Cow<'static, str>);

impl Symbol {
    /// Returns a symbol that is known at compile time.
    pub const fn from_static(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// Returns the characters of the symbol.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&'static str> for Symbol {
    fn from(name: &'static str) -> Self {
        Self::from_static(name)
    }
}

impl From<String> for Symbol {
    fn from(name: String) -> Self {
        Self(Cow::Owned(name))
    }
}

impl PartialEq<str> for Symbol {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Symbol {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// Milliseconds since the Unix epoch, as AMQP counts absolute time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// One AMQP value of any type (AMQP 1.0, part 1, section 1.6).
///
/// Integers of different width are different types on the wire, and some clients compare them
/// strictly, so the width is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `boolean`.
    Bool(bool),
    /// `ubyte`.
    Ubyte(u8),
    /// `ushort`.
    Ushort(u16),
    /// `uint`.
    Uint(u32),
    /// `ulong`.
    Ulong(u64),
    /// `byte`.
    Byte(i8),
    /// `short`.
    Short(i16),
    /// `int`.
    Int(i32),
    /// `long`.
    Long(i64),
    /// `float`.
    Float(f32),
    /// `double`.
    Double(f64),
    /// `decimal32`, as its bits.
    Decimal32([u8; 4]),
    /// `decimal64`, as its bits.
    Decimal64([u8; 8]),
    /// `decimal128`, as its bits.
    Decimal128([u8; 16]),
    /// `char`.
    Char(char),
    /// `timestamp`.
    Timestamp(Timestamp),
    /// `uuid`, in network byte order.
    Uuid([u8; 16]),
    /// `binary`.
    Binary(Bytes),
    /// `string`.
    String(String),
    /// `symbol`.
    Symbol(Symbol),
    /// `list`.
    List(Vec<Self>),
    /// `map`.
    Map(Map),
    /// `array`.
    Array(Array),
    /// A described value: its descriptor and the value.
    Described(Box<(Self, Self)>),
}

impl Value {
    /// Returns the characters of a string or a symbol.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Symbol(symbol) => Some(symbol.as_str()),
            _ => None,
        }
    }

    /// Returns the number of any integer type or of a timestamp, if it fits into `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Ubyte(v) => Some(v.into()),
            Self::Ushort(v) => Some(v.into()),
            Self::Uint(v) => Some(v.into()),
            Self::Ulong(v) => v.try_into().ok(),
            Self::Byte(v) => Some(v.into()),
            Self::Short(v) => Some(v.into()),
            Self::Int(v) => Some(v.into()),
            Self::Long(v) | Self::Timestamp(Timestamp(v)) => Some(v),
            _ => None,
        }
    }

    /// Returns the bytes of a binary.
    pub fn as_binary(&self) -> Option<&Bytes> {
        match self {
            Self::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns the value inside a description, or the value itself. Filters come in both forms.
    pub fn undescribed(&self) -> &Self {
        match self {
            Self::Described(described) => &described.1,
            plain => plain,
        }
    }
}

macro_rules! from_for_value {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from_for_value! {
    bool => Bool, u8 => Ubyte, u16 => Ushort, u32 => Uint, u64 => Ulong, i32 => Int, i64 => Long, f64 => Double,
    Timestamp => Timestamp, Bytes => Binary, String => String, &str => String, Symbol => Symbol, Map => Map,
    Array => Array,
}

/// An AMQP map, with its entries in the order of the wire. Looking up is linear, since the maps of this
/// protocol are small.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map(Vec<(Value, Value)>);

impl Map {
    /// Returns an empty map.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns the value under a string or symbol key of this name; a null value counts as absent.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, v)| k.as_str() == Some(key) && *v != Value::Null).map(|(_, v)| v)
    }

    /// Adds an entry at the end. The key's Rust type decides its AMQP type: [`Symbol`] for
    /// annotations, link properties, filters and error info; `&str` or `String` for application properties.
    pub fn push(&mut self, key: impl Into<Value>, value: impl Into<Value>) {
        self.0.push((key.into(), value.into()));
    }

    /// Returns the map with one more entry at the end; see [`Map::push`].
    #[must_use]
    pub fn with(mut self, key: impl Into<Value>, value: impl Into<Value>) -> Self {
        self.push(key, value);
        self
    }

    /// Returns the entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Value, &Value)> {
        self.0.iter().map(|(k, v)| (k, v))
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Value, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Value, Value)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// An AMQP array. Its items have one type, so it is made from one Rust type or read from the wire.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Array(pub(crate) Vec<Value>);

impl Array {
    /// Returns an array of strings.
    pub fn of_strings<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Self {
        Self(items.into_iter().map(|s| Value::String(s.into())).collect())
    }

    /// Returns an array of symbols.
    pub fn of_symbols<S: Into<Symbol>>(items: impl IntoIterator<Item = S>) -> Self {
        Self(items.into_iter().map(|s| Value::Symbol(s.into())).collect())
    }

    /// Returns the items, which all have one type.
    pub fn items(&self) -> &[Value] {
        &self.0
    }
}
