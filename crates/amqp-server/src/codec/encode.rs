//! Writing values, each with its full constructor. Lists and maps are written in place and their
//! sizes patched afterwards, so nothing is built in between.

use bytes::{BufMut, Bytes, BytesMut};

use super::constructor as code;
use crate::value::{Array, Map, Symbol, Timestamp, Value};

/// What can be written as one AMQP value. The Rust type decides the AMQP type: `i32` is `int`,
/// `i64` is `long`, `str` is `string`, `[u8]` is `binary`.
pub trait Encode {
    /// Appends the value with its constructor.
    fn encode(&self, out: &mut BytesMut);
}

impl<T: Encode + ?Sized> Encode for &T {
    fn encode(&self, out: &mut BytesMut) {
        (**self).encode(out);
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Some(value) => value.encode(out),
            None => out.put_u8(code::NULL),
        }
    }
}

impl Encode for bool {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(if *self { code::TRUE } else { code::FALSE });
    }
}

impl Encode for u8 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&[code::UBYTE, *self]);
    }
}

impl Encode for u16 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(code::USHORT);
        out.put_u16(*self);
    }
}

impl Encode for u32 {
    fn encode(&self, out: &mut BytesMut) {
        match u8::try_from(*self) {
            Ok(0) => out.put_u8(code::UINT_0),
            Ok(small) => out.put_slice(&[code::SMALL_UINT, small]),
            Err(_) => {
                out.put_u8(code::UINT);
                out.put_u32(*self);
            }
        }
    }
}

impl Encode for u64 {
    fn encode(&self, out: &mut BytesMut) {
        match u8::try_from(*self) {
            Ok(0) => out.put_u8(code::ULONG_0),
            Ok(small) => out.put_slice(&[code::SMALL_ULONG, small]),
            Err(_) => {
                out.put_u8(code::ULONG);
                out.put_u64(*self);
            }
        }
    }
}

impl Encode for i32 {
    fn encode(&self, out: &mut BytesMut) {
        match i8::try_from(*self) {
            Ok(small) => {
                out.put_u8(code::SMALL_INT);
                out.put_i8(small);
            }
            Err(_) => {
                out.put_u8(code::INT);
                out.put_i32(*self);
            }
        }
    }
}

impl Encode for i64 {
    fn encode(&self, out: &mut BytesMut) {
        match i8::try_from(*self) {
            Ok(small) => {
                out.put_u8(code::SMALL_LONG);
                out.put_i8(small);
            }
            Err(_) => {
                out.put_u8(code::LONG);
                out.put_i64(*self);
            }
        }
    }
}

impl Encode for f64 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(code::DOUBLE);
        out.put_f64(*self);
    }
}

impl Encode for Timestamp {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(code::TIMESTAMP);
        out.put_i64(self.0);
    }
}

impl Encode for str {
    fn encode(&self, out: &mut BytesMut) {
        put_variable(out, code::STRING_8, code::STRING_32, self.as_bytes());
    }
}

impl Encode for String {
    fn encode(&self, out: &mut BytesMut) {
        self.as_str().encode(out);
    }
}

impl Encode for Symbol {
    fn encode(&self, out: &mut BytesMut) {
        put_symbol(out, self.as_str());
    }
}

impl Encode for [u8] {
    fn encode(&self, out: &mut BytesMut) {
        put_variable(out, code::BINARY_8, code::BINARY_32, self);
    }
}

impl Encode for Bytes {
    fn encode(&self, out: &mut BytesMut) {
        self[..].encode(out);
    }
}

impl Encode for Map {
    fn encode(&self, out: &mut BytesMut) {
        MapWriter::write(out, |map| {
            for (key, value) in self.iter() {
                map.entry(key, value);
            }
        });
    }
}

impl Encode for Array {
    /// Elements share one constructor, so each is written in the widest form of its type.
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(code::ARRAY_32);
        let start = out.len();
        out.put_u64(0);
        match self.items().first() {
            None => out.put_u8(code::NULL),
            Some(first) => {
                let mut scratch = BytesMut::new();
                encode_wide(first, &mut scratch);
                out.put_u8(scratch[0]);
                for item in self.items() {
                    scratch.clear();
                    encode_wide(item, &mut scratch);
                    out.put_slice(&scratch[1..]);
                }
            }
        }
        patch_size_and_count(out, start, self.items().len());
    }
}

impl Encode for Value {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Null => out.put_u8(code::NULL),
            Self::Bool(v) => v.encode(out),
            Self::Ubyte(v) => v.encode(out),
            Self::Ushort(v) => v.encode(out),
            Self::Uint(v) => v.encode(out),
            Self::Ulong(v) => v.encode(out),
            Self::Int(v) => v.encode(out),
            Self::Long(v) => v.encode(out),
            Self::Double(v) => v.encode(out),
            Self::Timestamp(v) => v.encode(out),
            Self::Binary(v) => v.encode(out),
            Self::String(v) => v.encode(out),
            Self::Symbol(v) => v.encode(out),
            Self::Map(v) => v.encode(out),
            Self::Array(v) => v.encode(out),
            Self::List(items) => {
                let mut list = ListWriter::large(out);
                for item in items {
                    list.field(item);
                }
                list.finish();
            }
            Self::Described(described) => {
                out.put_u8(code::DESCRIBED);
                described.0.encode(out);
                described.1.encode(out);
            }
            Self::Byte(v) => put_fixed(out, code::BYTE, &v.to_be_bytes()),
            Self::Short(v) => put_fixed(out, code::SHORT, &v.to_be_bytes()),
            Self::Float(v) => put_fixed(out, code::FLOAT, &v.to_be_bytes()),
            Self::Char(v) => put_fixed(out, code::CHAR, &u32::from(*v).to_be_bytes()),
            Self::Decimal32(v) => put_fixed(out, code::DECIMAL_32, v),
            Self::Decimal64(v) => put_fixed(out, code::DECIMAL_64, v),
            Self::Decimal128(v) => put_fixed(out, code::DECIMAL_128, v),
            Self::Uuid(v) => put_fixed(out, code::UUID, v),
        }
    }
}

/// Writes a value in the form that has room for every value of its type.
fn encode_wide(value: &Value, out: &mut BytesMut) {
    match value {
        Value::Bool(v) => put_fixed(out, code::BOOLEAN, &[u8::from(*v)]),
        Value::Uint(v) => put_fixed(out, code::UINT, &v.to_be_bytes()),
        Value::Ulong(v) => put_fixed(out, code::ULONG, &v.to_be_bytes()),
        Value::Int(v) => put_fixed(out, code::INT, &v.to_be_bytes()),
        Value::Long(v) => put_fixed(out, code::LONG, &v.to_be_bytes()),
        Value::Binary(v) => put_variable_32(out, code::BINARY_32, v),
        Value::String(v) => put_variable_32(out, code::STRING_32, v.as_bytes()),
        Value::Symbol(v) => put_variable_32(out, code::SYMBOL_32, v.as_str().as_bytes()),
        other => other.encode(out),
    }
}

fn put_fixed(out: &mut BytesMut, code: u8, bytes: &[u8]) {
    out.put_u8(code);
    out.put_slice(bytes);
}

/// Writes borrowed text as a symbol.
pub(crate) fn put_symbol(out: &mut BytesMut, symbol: &str) {
    put_variable(out, code::SYMBOL_8, code::SYMBOL_32, symbol.as_bytes());
}

fn put_variable(out: &mut BytesMut, short: u8, long: u8, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(len) => {
            out.put_slice(&[short, len]);
            out.put_slice(bytes);
        }
        Err(_) => put_variable_32(out, long, bytes),
    }
}

fn put_variable_32(out: &mut BytesMut, code: u8, bytes: &[u8]) {
    out.put_u8(code);
    out.put_u32(len_u32(bytes.len()));
    out.put_slice(bytes);
}

/// Starts a described value. Always the smallulong form: some clients read the code at a fixed place.
pub(crate) fn put_descriptor(out: &mut BytesMut, descriptor: u8) {
    out.put_slice(&[code::DESCRIBED, code::SMALL_ULONG, descriptor]);
}

/// Overwrites four bytes written earlier.
pub(crate) fn patch_u32(out: &mut BytesMut, at: usize, value: usize) {
    out[at..at + 4].copy_from_slice(&len_u32(value).to_be_bytes());
}

/// Sizes come from buffers far below 4 GiB: the limits of [`crate::ConnectionConfig`] see to that.
fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn patch_size_and_count(out: &mut BytesMut, start: usize, count: usize) {
    let size = out.len() - start - 4;
    patch_u32(out, start, size);
    patch_u32(out, start + 4, count);
}

/// Writes the fields of one list.
pub(crate) struct ListWriter<'a> {
    out: &'a mut BytesMut,
    start: usize,
    count: usize,
    large: bool,
}

impl<'a> ListWriter<'a> {
    /// A list of any size.
    pub(crate) fn large(out: &'a mut BytesMut) -> Self {
        out.put_u8(code::LIST_32);
        let start = out.len();
        out.put_u64(0);
        Self { out, start, count: 0, large: true }
    }

    /// A list whose fields are known to stay below 255 bytes.
    pub(crate) fn small(out: &'a mut BytesMut) -> Self {
        out.put_u8(code::LIST_8);
        let start = out.len();
        out.put_u16(0);
        Self { out, start, count: 0, large: false }
    }

    pub(crate) fn field(&mut self, value: impl Encode) -> &mut Self {
        self.count += 1;
        value.encode(self.out);
        self
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.field(None::<bool>)
    }

    pub(crate) fn field_with(&mut self, write: impl FnOnce(&mut BytesMut)) -> &mut Self {
        self.count += 1;
        write(self.out);
        self
    }

    pub(crate) fn finish(&mut self) {
        if self.large {
            patch_size_and_count(self.out, self.start, self.count);
        } else {
            let size = self.out.len() - self.start - 1;
            debug_assert!(size <= 255, "a small list grew to {size} bytes");
            self.out[self.start] = size.to_be_bytes()[7];
            self.out[self.start + 1] = self.count.to_be_bytes()[7];
        }
    }
}

/// Writes the entries of one map straight into a buffer.
#[derive(Debug)]
pub struct MapWriter<'a> {
    out: &'a mut BytesMut,
    count: usize,
}

impl MapWriter<'_> {
    /// Writes one map whose entries `fill` adds.
    pub fn write(out: &mut BytesMut, fill: impl FnOnce(&mut MapWriter<'_>)) {
        out.put_u8(code::MAP_32);
        let start = out.len();
        out.put_u64(0);
        let mut map = MapWriter { out, count: 0 };
        fill(&mut map);
        let count = map.count;
        patch_size_and_count(out, start, count);
    }

    /// Adds an entry with a symbol key, as annotations and properties of links have.
    pub fn symbol(&mut self, key: &str, value: impl Encode) -> &mut Self {
        put_symbol(self.out, key);
        value.encode(self.out);
        self.count += 2;
        self
    }

    /// Adds an entry with a key of any type: a string for application properties.
    pub fn entry(&mut self, key: impl Encode, value: impl Encode) -> &mut Self {
        key.encode(self.out);
        value.encode(self.out);
        self.count += 2;
        self
    }
}
