//! Building values from bytes that [`super::scan_value`] has accepted. Everything is checked again
//! where it is read, so this is safe on any bytes; the scan is what bounds work and memory beforehand.

use bytes::Bytes;

use super::{
    MAX_DEPTH,
    constructor::{self as code, Layout},
};
use crate::{
    error::DecodeError,
    value::{Array, Map, Symbol, Timestamp, Value},
};

/// A cursor over encoded values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// One value not decoded yet: its constructor and its bytes. For a described value the bytes are
/// descriptor and value; for compounds they start with the count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    code: u8,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next value, undecoded.
    pub(crate) fn item(&mut self) -> Result<Item<'a>, DecodeError> {
        self.nested_item(0)
    }

    /// A described value whose descriptor is a number: the number, and the value.
    pub(crate) fn described(&mut self) -> Result<(u64, Item<'a>), DecodeError> {
        self.item()?.described().ok_or(DecodeError::UnexpectedDescriptor("a described value"))
    }

    fn nested_item(&mut self, depth: usize) -> Result<Item<'a>, DecodeError> {
        let code = self.take(1)?[0];
        if code != code::DESCRIBED {
            return self.item_of(code);
        }
        if depth >= MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        let before = self.rest;
        self.nested_item(depth + 1)?;
        self.nested_item(depth + 1)?;
        Ok(Item { code, bytes: &before[..before.len() - self.rest.len()] })
    }

    fn item_of(&mut self, code: u8) -> Result<Item<'a>, DecodeError> {
        let len = match code::layout(code).ok_or(DecodeError::UnknownConstructor(code))? {
            Layout::Fixed(width) => width,
            Layout::Variable(width) | Layout::Compound(width) | Layout::Array(width) => self.uint(width)?,
        };
        Ok(Item { code, bytes: self.take(len)? })
    }

    fn uint(&mut self, width: usize) -> Result<usize, DecodeError> {
        Ok(self.take(width)?.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Item<'a> {
    pub(crate) fn is_null(&self) -> bool {
        self.code == code::NULL
    }

    /// An unsigned integer of any width, since peers are not strict about it.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        match self.code {
            code::UINT_0 | code::ULONG_0 => Some(0),
            code::UBYTE | code::SMALL_UINT | code::SMALL_ULONG | code::USHORT | code::UINT | code::ULONG => {
                Some(self.bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
            }
            _ => None,
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match (self.code, self.bytes) {
            (code::TRUE, _) | (code::BOOLEAN, [1]) => Some(true),
            (code::FALSE, _) | (code::BOOLEAN, [0]) => Some(false),
            _ => None,
        }
    }

    pub(crate) fn as_binary(&self) -> Option<&'a [u8]> {
        matches!(self.code, code::BINARY_8 | code::BINARY_32).then_some(self.bytes)
    }

    /// The fields of a list.
    pub(crate) fn as_fields(&self) -> Option<Fields<'a>> {
        match self.code {
            code::LIST_0 => Some(Fields { reader: Reader::new(&[]), remaining: 0 }),
            code::LIST_8 | code::LIST_32 => {
                let (remaining, reader) = self.compound().ok()?;
                Some(Fields { reader, remaining })
            }
            _ => None,
        }
    }

    /// The numeric descriptor and the value of a described value.
    pub(crate) fn described(&self) -> Option<(u64, Self)> {
        if self.code != code::DESCRIBED {
            return None;
        }
        let mut reader = Reader::new(self.bytes);
        let descriptor = reader.item().ok()?.as_u64()?;
        Some((descriptor, reader.item().ok()?))
    }

    pub(crate) fn value(&self) -> Result<Value, DecodeError> {
        self.nested_value(0)
    }

    /// Count and content of a list, map or array.
    fn compound(&self) -> Result<(usize, Reader<'a>), DecodeError> {
        let width = if matches!(self.code, code::LIST_8 | code::MAP_8 | code::ARRAY_8) { 1 } else { 4 };
        let mut reader = Reader::new(self.bytes);
        let count = reader.uint(width)?;
        if count > self.bytes.len() {
            return Err(DecodeError::SizeMismatch);
        }
        Ok((count, reader))
    }

    fn nested_value(&self, depth: usize) -> Result<Value, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        Ok(match self.code {
            code::DESCRIBED => {
                let mut reader = Reader::new(self.bytes);
                let descriptor = reader.item()?.nested_value(depth + 1)?;
                let value = reader.item()?.nested_value(depth + 1)?;
                Value::Described(Box::new((descriptor, value)))
            }
            code::NULL => Value::Null,
            code::TRUE => Value::Bool(true),
            code::FALSE => Value::Bool(false),
            code::BOOLEAN => Value::Bool(self.as_bool().ok_or(DecodeError::WrongType("boolean"))?),
            code::UINT_0 => Value::Uint(0),
            code::ULONG_0 => Value::Ulong(0),
            code::LIST_0 => Value::List(Vec::new()),
            code::UBYTE => Value::Ubyte(u8::from_be_bytes(self.fixed()?)),
            code::BYTE => Value::Byte(i8::from_be_bytes(self.fixed()?)),
            code::SMALL_UINT => Value::Uint(u8::from_be_bytes(self.fixed()?).into()),
            code::SMALL_ULONG => Value::Ulong(u8::from_be_bytes(self.fixed()?).into()),
            code::SMALL_INT => Value::Int(i8::from_be_bytes(self.fixed()?).into()),
            code::SMALL_LONG => Value::Long(i8::from_be_bytes(self.fixed()?).into()),
            code::USHORT => Value::Ushort(u16::from_be_bytes(self.fixed()?)),
            code::SHORT => Value::Short(i16::from_be_bytes(self.fixed()?)),
            code::UINT => Value::Uint(u32::from_be_bytes(self.fixed()?)),
            code::INT => Value::Int(i32::from_be_bytes(self.fixed()?)),
            code::FLOAT => Value::Float(f32::from_be_bytes(self.fixed()?)),
            code::CHAR => {
                Value::Char(char::from_u32(u32::from_be_bytes(self.fixed()?)).ok_or(DecodeError::NotUnicode)?)
            }
            code::DECIMAL_32 => Value::Decimal32(self.fixed()?),
            code::ULONG => Value::Ulong(u64::from_be_bytes(self.fixed()?)),
            code::LONG => Value::Long(i64::from_be_bytes(self.fixed()?)),
            code::DOUBLE => Value::Double(f64::from_be_bytes(self.fixed()?)),
            code::TIMESTAMP => Value::Timestamp(Timestamp(i64::from_be_bytes(self.fixed()?))),
            code::DECIMAL_64 => Value::Decimal64(self.fixed()?),
            code::DECIMAL_128 => Value::Decimal128(self.fixed()?),
            code::UUID => Value::Uuid(self.fixed()?),
            code::BINARY_8 | code::BINARY_32 => Value::Binary(Bytes::copy_from_slice(self.bytes)),
            code::STRING_8 | code::STRING_32 => Value::String(self.text()?),
            code::SYMBOL_8 | code::SYMBOL_32 => Value::Symbol(Symbol::from(self.text()?)),
            code::LIST_8 | code::LIST_32 => {
                let (count, mut reader) = self.compound()?;
                let items = (0..count).map(|_| reader.item()?.nested_value(depth + 1));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            code::MAP_8 | code::MAP_32 => {
                let (count, mut reader) = self.compound()?;
                let mut next = || reader.item()?.nested_value(depth + 1);
                Value::Map((0..count / 2).map(|_| Ok((next()?, next()?))).collect::<Result<_, _>>()?)
            }
            code::ARRAY_8 | code::ARRAY_32 => {
                let (count, mut reader) = self.compound()?;
                let element = if count == 0 { code::NULL } else { reader.take(1)?[0] };
                let items = (0..count).map(|_| reader.item_of(element)?.nested_value(depth + 1));
                Value::Array(Array(items.collect::<Result<_, _>>()?))
            }
            other => return Err(DecodeError::UnknownConstructor(other)),
        })
    }

    fn fixed<const N: usize>(&self) -> Result<[u8; N], DecodeError> {
        self.bytes.try_into().map_err(|_| DecodeError::Truncated)
    }

    fn text(&self) -> Result<String, DecodeError> {
        String::from_utf8(self.bytes.to_vec()).map_err(|_| DecodeError::NotUnicode)
    }
}

/// The fields of a performative or section, read in order; those left out at the end read as null.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    reader: Reader<'a>,
    remaining: usize,
}

impl<'a> Fields<'a> {
    /// The next field; `None` if it is null or left out.
    pub(crate) fn item(&mut self) -> Result<Option<Item<'a>>, DecodeError> {
        if self.remaining == 0 {
            return Ok(None);
        }
        self.remaining -= 1;
        let item = self.reader.item()?;
        Ok((!item.is_null()).then_some(item))
    }

    pub(crate) fn skip(&mut self, count: usize) -> Result<(), DecodeError> {
        (0..count).try_for_each(|_| self.item().map(drop))
    }

    pub(crate) fn bool(&mut self, name: &'static str) -> Result<bool, DecodeError> {
        self.typed(name, |item| item.as_bool()).map(Option::unwrap_or_default)
    }

    pub(crate) fn u64(&mut self, name: &'static str) -> Result<Option<u64>, DecodeError> {
        self.typed(name, |item| item.as_u64())
    }

    pub(crate) fn u32(&mut self, name: &'static str) -> Result<Option<u32>, DecodeError> {
        self.typed(name, |item| u32::try_from(item.as_u64()?).ok())
    }

    pub(crate) fn binary(&mut self, name: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        self.typed(name, |item| item.as_binary())
    }

    /// A string, or a symbol where a peer mixes them up.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, DecodeError> {
        match self.value()? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Symbol(symbol)) => Ok(Some(symbol.as_str().to_owned())),
            Some(_) => Err(DecodeError::WrongType(name)),
        }
    }

    pub(crate) fn timestamp(&mut self, name: &'static str) -> Result<Option<Timestamp>, DecodeError> {
        match self.value()? {
            None => Ok(None),
            Some(Value::Timestamp(time)) => Ok(Some(time)),
            Some(_) => Err(DecodeError::WrongType(name)),
        }
    }

    /// A map; absent reads as empty.
    pub(crate) fn map(&mut self, name: &'static str) -> Result<Map, DecodeError> {
        match self.value()? {
            None => Ok(Map::new()),
            Some(Value::Map(map)) => Ok(map),
            Some(_) => Err(DecodeError::WrongType(name)),
        }
    }

    pub(crate) fn value(&mut self) -> Result<Option<Value>, DecodeError> {
        self.item()?.map(|item| item.value()).transpose()
    }

    fn typed<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Item<'a>) -> Option<T>,
    ) -> Result<Option<T>, DecodeError> {
        self.item()?.map(|item| read(item).ok_or(DecodeError::WrongType(name))).transpose()
    }
}
