//! This file looks through all bytes that arrive before the AMQP library sees them.
//!
//! The library decodes recursively and believes lengths: values nested deep enough would end the
//! process, and a forged length would be allocated. So each frame must be made of whole values whose
//! sizes and counts agree, at most [`MAX_DEPTH`] deep; this is found out without recursion and without
//! allocating. Of a message in several frames the library keeps what it gets and decodes it when the last
//! has come: a copy of it waits here meanwhile, at most [`MAX_WAITING`] bytes over all links, and is
//! looked through before that last frame goes on.

use std::collections::HashMap;

use self::performative::Performative;

/// The depth to which values may nest. The messages of hubs nest four deep.
const MAX_DEPTH: usize = 32;

/// The bytes that are kept of messages that have not arrived whole. A reader of 32 partitions needs 8 MiB: an
/// event has at most 256 KB.
const MAX_WAITING: usize = 32 * 1024 * 1024;

/// Before the first frame, and again after a SASL layer: `AMQP`, a protocol id and a version. As the size
/// of a frame its first bytes would be more than any peer may send.
const PROTOCOL_HEADER: usize = 8;
const MAGIC: &[u8] = b"AMQP";
const FRAME_HEADER: usize = 8;

/// The defect of the bytes that arrived.
pub(super) type Defect = &'static str;

/// The channel of a session, and the handle of a link in it.
type LinkKey = (u16, u32);

/// The place in the stream of bytes up to which frames were looked through.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    header_seen: bool,
    /// The beginnings of messages, by their link.
    unfinished: HashMap<LinkKey, Vec<u8>>,
    /// The number of bytes in them.
    waiting: usize,
}

impl Inbound {
    /// Returns how many bytes at the start of `bytes` are whole, good frames. The last frame has yet to arrive.
    pub(super) fn whole_frames(&mut self, bytes: &[u8], max_frame_size: usize) -> Result<usize, Defect> {
        let mut whole = 0;
        while let Some(start) = bytes.get(whole..).and_then(|rest| rest.first_chunk::<4>()) {
            if start == MAGIC || !self.header_seen {
                if bytes.len() < whole + PROTOCOL_HEADER {
                    break;
                }
                self.header_seen = true;
                whole += PROTOCOL_HEADER;
                continue;
            }
            let size = u32::from_be_bytes(*start) as usize;
            if size < FRAME_HEADER || size > max_frame_size {
                return Err("a frame is shorter than its header or longer than agreed");
            }
            let Some(frame) = bytes.get(whole..whole + size) else { break };
            let body = usize::from(frame[4]) * 4;
            if body < FRAME_HEADER || body > size {
                return Err("a frame's data offset lies outside the frame");
            }
            self.check_frame(u16::from_be_bytes([frame[6], frame[7]]), &frame[body..])?;
            whole += size;
        }
        Ok(whole)
    }

    /// Checks what is in a frame: nothing, or a performative and what belongs to it.
    fn check_frame(&mut self, channel: u16, body: &[u8]) -> Result<(), Defect> {
        if body.is_empty() {
            return Ok(());
        }
        let (performative, payload) = body.split_at(check_value(body)?);
        match Performative::of(performative) {
            Some(Performative::Transfer { handle, more, aborted }) => {
                self.check_transfer((channel, handle), payload, more, aborted)
            }
            Some(Performative::Detach { handle }) => {
                self.forget((channel, handle));
                check_values(payload)
            }
            None => check_values(payload),
        }
    }

    fn check_transfer(
        &mut self,
        link: LinkKey,
        part: &[u8],
        more: bool,
        aborted: bool,
    ) -> Result<(), Defect> {
        if aborted {
            self.forget(link);
            return Ok(());
        }
        if !more && !self.unfinished.contains_key(&link) {
            return check_values(part);
        }
        if self.waiting + part.len() > MAX_WAITING {
            return Err("messages in several frames are longer than they may be");
        }
        let unfinished = self.unfinished.entry(link).or_default();
        unfinished.extend_from_slice(part);
        self.waiting += part.len();
        if more { Ok(()) } else { check_values(&self.forget(link)) }
    }

    /// Takes out the beginning of a link's message.
    fn forget(&mut self, link: LinkKey) -> Vec<u8> {
        let unfinished = self.unfinished.remove(&link).unwrap_or_default();
        self.waiting -= unfinished.len();
        unfinished
    }
}

/// A value of which not all elements have been seen.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    end: usize,
    missing: usize,
    /// True if its last element must end where it does.
    is_sized: bool,
}

/// Checks that `bytes` are values, one after the other.
pub(super) fn check_values(mut bytes: &[u8]) -> Result<(), Defect> {
    while !bytes.is_empty() {
        bytes = &bytes[check_value(bytes)?..];
    }
    Ok(())
}

/// Checks that `bytes` begin with a value, and returns where it ends. Source: the AMQP 1.0 standard, 1.6.
fn check_value(bytes: &[u8]) -> Result<usize, Defect> {
    let mut open = [Open::default(); MAX_DEPTH];
    let mut depth = 0;
    let mut at = Cursor { bytes, position: 0 };
    loop {
        let end = match depth {
            0 => bytes.len(),
            _ => {
                open[depth - 1].missing -= 1;
                open[depth - 1].end
            }
        };
        let code = at.take(1, end)?[0];
        let children = match code {
            // A described value: its descriptor and the value.
            0x00 => Some(Open { end, missing: 2, is_sized: false }),
            0x45 => None,
            0xc0 | 0xc1 => Some(at.compound(1, end)?),
            0xd0 | 0xd1 => Some(at.compound(4, end)?),
            0xe0 | 0xf0 => {
                at.array(if code == 0xe0 { 1 } else { 4 }, end)?;
                None
            }
            _ => {
                at.primitive(code, end)?;
                None
            }
        };
        if let Some(children) = children {
            *open.get_mut(depth).ok_or("values are nested too deep")? = children;
            depth += 1;
        }
        while depth > 0 && open[depth - 1].missing == 0 {
            depth -= 1;
            if open[depth].is_sized && open[depth].end != at.position {
                return Err("a list or map is shorter or longer than it says");
            }
        }
        if depth == 0 {
            return Ok(at.position);
        }
    }
}

struct Cursor<'b> {
    bytes: &'b [u8],
    position: usize,
}

impl<'b> Cursor<'b> {
    fn take(&mut self, length: usize, end: usize) -> Result<&'b [u8], Defect> {
        let from = self.position;
        let to =
            from.checked_add(length).filter(|to| *to <= end).ok_or("a value is longer than it may be")?;
        self.position = to;
        Ok(&self.bytes[from..to])
    }

    /// A number of one or four bytes.
    fn number(&mut self, width: usize, end: usize) -> Result<usize, Defect> {
        Ok(self.take(width, end)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// The size and count of a list or map, before its elements.
    fn compound(&mut self, width: usize, end: usize) -> Result<Open, Defect> {
        let size = self.number(width, end)?;
        let own_end = self.position.checked_add(size).filter(|own| *own <= end);
        let own_end = own_end.ok_or("a list or map is longer than what holds it")?;
        Ok(Open { end: own_end, missing: self.number(width, own_end)?, is_sized: true })
    }

    /// An array, to its end. Hubs send arrays of symbols; arrays of anything that holds values itself
    /// are refused.
    fn array(&mut self, width: usize, end: usize) -> Result<(), Defect> {
        let Open { end, missing: count, .. } = self.compound(width, end)?;
        if count == 0 && self.position == end {
            return Ok(());
        }
        let code = self.take(1, end)?[0];
        if self.position == end {
            // Elements without bytes, of which there could be any number.
            return if count <= end { Ok(()) } else { Err("an array has more elements than bytes") };
        }
        for _ in 0..count {
            let before = self.position;
            self.primitive(code, end)?;
            if self.position == before {
                return Err("an array has bytes that belong to no element");
            }
        }
        if self.position == end { Ok(()) } else { Err("an array is longer than its elements") }
    }

    /// A value that holds no other, to its end.
    fn primitive(&mut self, code: u8, end: usize) -> Result<(), Defect> {
        let length = match code {
            0x40..=0x44 => 0,
            0x50..=0x56 => 1,
            0x60 | 0x61 => 2,
            0x70..=0x74 => 4,
            0x80..=0x84 => 8,
            0x94 | 0x98 => 16,
            0xa0 | 0xa1 | 0xa3 => self.number(1, end)?,
            0xb0 | 0xb1 | 0xb3 => self.number(4, end)?,
            _ => return Err("a value is of no known type"),
        };
        self.take(length, end).map(|_| ())
    }
}

mod performative;
#[cfg(test)]
mod tests;
