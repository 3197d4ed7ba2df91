//! What arrives, looked through before the AMQP library sees it.
//!
//! The library decodes recursively and believes lengths: values nested deep enough would end the
//! process, and a forged length would be allocated. So each frame must be made of whole values whose
//! sizes and counts agree, at most [`MAX_DEPTH`] deep; this is found out without recursion and without
//! allocating. A message in more than one frame is refused too: hubs send this client nothing but
//! short answers.

/// How deep values may nest. What hubs send nests four deep.
const MAX_DEPTH: usize = 32;

/// Before the first frame: `AMQP`, a protocol id and a version.
const PROTOCOL_HEADER: usize = 8;
const FRAME_HEADER: usize = 8;

/// What is wrong with what arrived.
pub(super) type Defect = &'static str;

/// Where in the stream of bytes we are.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    header_seen: bool,
}

impl Inbound {
    /// How many bytes at the start of `bytes` are whole, good frames. The rest has yet to arrive.
    pub(super) fn whole_frames(&mut self, bytes: &[u8], max_frame_size: usize) -> Result<usize, Defect> {
        let mut whole = 0;
        if !self.header_seen {
            if bytes.len() < PROTOCOL_HEADER {
                return Ok(0);
            }
            self.header_seen = true;
            whole = PROTOCOL_HEADER;
        }
        while let Some(size) = bytes.get(whole..).and_then(|rest| rest.first_chunk()) {
            let size = u32::from_be_bytes(*size) as usize;
            if size < FRAME_HEADER || size > max_frame_size {
                return Err("a frame is shorter than its header or longer than agreed");
            }
            let Some(frame) = bytes.get(whole..whole + size) else { break };
            let body = usize::from(frame[4]) * 4;
            if body < FRAME_HEADER || body > size {
                return Err("a frame's data offset lies outside the frame");
            }
            check_values(&frame[body..])?;
            whole += size;
        }
        Ok(whole)
    }
}

/// A value of which not all elements have been seen.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    end: usize,
    missing: usize,
    /// Whether its last element must end where it does.
    is_sized: bool,
}

/// Checks that `bytes` are values, one after the other. Source: the AMQP 1.0 standard, 1.6.
fn check_values(bytes: &[u8]) -> Result<(), Defect> {
    let mut open = [Open::default(); MAX_DEPTH];
    let mut depth = 0;
    let mut at = Cursor { bytes, position: 0 };
    loop {
        while depth > 0 && open[depth - 1].missing == 0 {
            depth -= 1;
            if open[depth].is_sized && open[depth].end != at.position {
                return Err("a list or map is shorter or longer than it says");
            }
        }
        let end = match depth {
            0 if at.position == bytes.len() => return Ok(()),
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

#[cfg(test)]
mod tests;
