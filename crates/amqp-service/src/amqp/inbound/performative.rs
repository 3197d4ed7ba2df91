//! The few performatives whose fields matter before the library reads them.

use super::check_value;

/// What a frame is about, as far as its link's unfinished message is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Performative {
    /// A message, or a part of one.
    Transfer { handle: u32, more: bool, aborted: bool },
    /// The end of a link.
    Detach { handle: u32 },
}

impl Performative {
    /// Reads a described list that was checked before. `None` for all others; a transfer whose code is
    /// not a number is one of them, so that its message must come in one frame. Source: the AMQP 1.0
    /// standard, 2.7.5 and 2.7.7.
    pub(super) fn of(value: &[u8]) -> Option<Self> {
        let (code, list) = match value {
            [0x00, 0x53, code, list @ ..] => (u64::from(*code), list),
            [0x00, 0x80, rest @ ..] => {
                let (code, list) = rest.split_first_chunk::<8>()?;
                (u64::from_be_bytes(*code), list)
            }
            _ => return None,
        };
        let fields = Fields(match list {
            // Size and count lie before the first field.
            [0xc0, _, _, fields @ ..] => fields,
            [0xd0, _, _, _, _, _, _, _, _, fields @ ..] => fields,
            _ => &[],
        });
        match code {
            0x14 => Some(Self::Transfer {
                handle: fields.uint(0),
                more: fields.boolean(5),
                aborted: fields.boolean(9),
            }),
            0x16 => Some(Self::Detach { handle: fields.uint(0) }),
            _ => None,
        }
    }
}

/// The fields of a list, one after the other.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    /// The field at this place, and all behind it.
    fn from(&self, index: usize) -> Option<&'b [u8]> {
        let mut rest = self.0;
        for _ in 0..index {
            rest = rest.get(check_value(rest).ok()?..)?;
        }
        Some(rest)
    }

    /// A number; null and what is absent stand for 0, which the library does not accept as a handle.
    fn uint(&self, index: usize) -> u32 {
        match self.from(index) {
            Some([0x52, small, ..]) => u32::from(*small),
            Some([0x70, rest @ ..]) => {
                rest.first_chunk().map_or(0, |bytes: &[u8; 4]| u32::from_be_bytes(*bytes))
            }
            _ => 0,
        }
    }

    fn boolean(&self, index: usize) -> bool {
        matches!(self.from(index), Some([0x41, ..] | [0x56, 0x01, ..]))
    }
}
