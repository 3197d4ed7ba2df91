//! This module turns bytes into values and back. Inbound bytes pass `scan` first, which is iterative, so that no
//! nesting can exhaust the stack; only then does `decode` build values. `encode` writes.
//!
//! The codec is our own for three reasons: a general one leaves out what some clients need on the wire,
//! its limits would have to be guarded from outside, and the clients we test with bring another, so that a
//! mistake here cannot cancel itself out.

mod decode;
mod encode;
mod scan;

pub(crate) use decode::{Fields, Item, Reader};
pub use encode::{Encode, MapWriter};
pub(crate) use encode::{ListWriter, patch_u32, put_descriptor, put_symbol};
pub use scan::{scan_message, scan_value};

pub use crate::value::{MAX_DEPTH, MAX_VALUES};

/// Constructor bytes (AMQP 1.0, part 1, section 1.6).
pub(crate) mod constructor {
    pub(crate) const DESCRIBED: u8 = 0x00;
    pub(crate) const NULL: u8 = 0x40;
    pub(crate) const TRUE: u8 = 0x41;
    pub(crate) const FALSE: u8 = 0x42;
    pub(crate) const UINT_0: u8 = 0x43;
    pub(crate) const ULONG_0: u8 = 0x44;
    pub(crate) const LIST_0: u8 = 0x45;
    pub(crate) const UBYTE: u8 = 0x50;
    pub(crate) const BYTE: u8 = 0x51;
    pub(crate) const SMALL_UINT: u8 = 0x52;
    pub(crate) const SMALL_ULONG: u8 = 0x53;
    pub(crate) const SMALL_INT: u8 = 0x54;
    pub(crate) const SMALL_LONG: u8 = 0x55;
    pub(crate) const BOOLEAN: u8 = 0x56;
    pub(crate) const USHORT: u8 = 0x60;
    pub(crate) const SHORT: u8 = 0x61;
    pub(crate) const UINT: u8 = 0x70;
    pub(crate) const INT: u8 = 0x71;
    pub(crate) const FLOAT: u8 = 0x72;
    pub(crate) const CHAR: u8 = 0x73;
    pub(crate) const DECIMAL_32: u8 = 0x74;
    pub(crate) const ULONG: u8 = 0x80;
    pub(crate) const LONG: u8 = 0x81;
    pub(crate) const DOUBLE: u8 = 0x82;
    pub(crate) const TIMESTAMP: u8 = 0x83;
    pub(crate) const DECIMAL_64: u8 = 0x84;
    pub(crate) const DECIMAL_128: u8 = 0x94;
    pub(crate) const UUID: u8 = 0x98;
    pub(crate) const BINARY_8: u8 = 0xa0;
    pub(crate) const STRING_8: u8 = 0xa1;
    pub(crate) const SYMBOL_8: u8 = 0xa3;
    pub(crate) const BINARY_32: u8 = 0xb0;
    pub(crate) const STRING_32: u8 = 0xb1;
    pub(crate) const SYMBOL_32: u8 = 0xb3;
    pub(crate) const LIST_8: u8 = 0xc0;
    pub(crate) const MAP_8: u8 = 0xc1;
    pub(crate) const LIST_32: u8 = 0xd0;
    pub(crate) const MAP_32: u8 = 0xd1;
    pub(crate) const ARRAY_8: u8 = 0xe0;
    pub(crate) const ARRAY_32: u8 = 0xf0;

    /// The width of a fixed-width value, or of the size field of a variable one.
    pub(crate) enum Layout {
        Fixed(usize),
        Variable(usize),
        Compound(usize),
        Array(usize),
    }

    /// Returns the layout of the bytes after a constructor, or `None` if the standard does not define the constructor.
    pub(crate) fn layout(code: u8) -> Option<Layout> {
        Some(match code {
            NULL..=LIST_0 => Layout::Fixed(0),
            UBYTE..=BOOLEAN => Layout::Fixed(1),
            USHORT | SHORT => Layout::Fixed(2),
            UINT..=DECIMAL_32 => Layout::Fixed(4),
            ULONG..=DECIMAL_64 => Layout::Fixed(8),
            DECIMAL_128 | UUID => Layout::Fixed(16),
            BINARY_8 | STRING_8 | SYMBOL_8 => Layout::Variable(1),
            BINARY_32 | STRING_32 | SYMBOL_32 => Layout::Variable(4),
            LIST_8 | MAP_8 => Layout::Compound(1),
            LIST_32 | MAP_32 => Layout::Compound(4),
            ARRAY_8 => Layout::Array(1),
            ARRAY_32 => Layout::Array(4),
            _ => return None,
        })
    }
}
