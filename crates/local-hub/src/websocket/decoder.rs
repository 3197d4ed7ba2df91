//! [`Decoder`] takes the frames of a client apart: it turns the bytes that were read into the payload of data frames,
//! in place, and notes the control frames among them.
//!
//! `stream` gives it what each read brings. It is pure, and any division of the same bytes into reads gives the same
//! payload. Source: RFC 6455, section 5.

use super::fault::{FRAME_BYTES, Fault};

/// The longest header: two bytes, a length of eight, and the mask.
const HEADER_BYTES: usize = 14;

/// The longest payload of a control frame.
pub(super) const CONTROL_BYTES: usize = 125;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// The reason why nothing more is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client sent a close frame with this status code.
    Closed(Option<u16>),
    Fault(Fault),
}

/// The part of a frame that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Header,
    Data,
    Control,
}

/// The state of a client's frames between two reads.
#[derive(Debug)]
pub(super) struct Decoder {
    part: Part,
    header: [u8; HEADER_BYTES],
    /// The number of bytes of the header that have come.
    header_length: usize,
    /// The number of bytes of the payload that are still to come.
    left: u64,
    /// The mask, turned so that its first byte is for the next byte of the payload.
    mask: [u8; 4],
    /// True between the first frame of a message and the last.
    is_in_message: bool,
    /// The payload so far of a control frame that is in reading.
    control: Vec<u8>,
    /// The payload of the last ping that was not answered yet.
    ping: Option<Vec<u8>>,
    end: Option<End>,
}

impl Decoder {
    /// Creates the state before the first frame, or one in which nothing is decoded any more.
    pub(super) const fn new(end: Option<End>) -> Self {
        Self {
            part: Part::Header,
            header: [0; HEADER_BYTES],
            header_length: 0,
            left: 0,
            mask: [0; 4],
            is_in_message: false,
            control: Vec::new(),
            ping: None,
            end,
        }
    }

    /// Returns why nothing more is decoded; `None` while the client may send frames.
    pub(super) const fn end(&self) -> Option<End> {
        self.end
    }

    /// Returns the payload of a ping that is to be answered. Of several pings only the last one is: RFC 6455 allows
    /// that in section 5.5.3, and so a client that sends pings and reads nothing costs the memory of one.
    pub(super) fn take_ping(&mut self) -> Option<Vec<u8>> {
        self.ping.take()
    }

    /// Decodes bytes that come after all that were decoded before. Returns how many bytes of payload they hold; the
    /// payload stands at the beginning of `bytes` then, and what stands behind it means nothing.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let (mut from, mut to) = (0, 0);
        while self.end.is_none()
            && let Some(rest) = bytes.get(from..)
            && let Some(first) = rest.first()
        {
            if self.part == Part::Header {
                if let Err(fault) = self.byte_of_header(*first) {
                    self.end = Some(End::Fault(fault));
                }
                from += 1;
                continue;
            }
            let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
            if self.part == Part::Data {
                bytes.copy_within(from..from + count, to);
                self.unmask(bytes.get_mut(to..to + count).unwrap_or_default());
                to += count;
            } else {
                let begun = self.control.len();
                self.control.extend_from_slice(rest.get(..count).unwrap_or_default());
                let mut control = std::mem::take(&mut self.control);
                self.unmask(control.get_mut(begun..).unwrap_or_default());
                self.control = control;
            }
            from += count;
            self.left -= count as u64;
            if self.left == 0 {
                self.frame_ended();
            }
        }
        to
    }

    /// Takes the mask off bytes that are next in the payload.
    fn unmask(&mut self, bytes: &mut [u8]) {
        let mask = u32::from_ne_bytes(self.mask);
        let mut words = bytes.chunks_exact_mut(4);
        for word in &mut words {
            if let Ok(masked) = <[u8; 4]>::try_from(&*word) {
                word.copy_from_slice(&(u32::from_ne_bytes(masked) ^ mask).to_ne_bytes());
            }
        }
        let tail = words.into_remainder();
        for (byte, mask) in tail.iter_mut().zip(self.mask) {
            *byte ^= mask;
        }
        self.mask.rotate_left(tail.len());
    }

    fn byte_of_header(&mut self, byte: u8) -> Result<(), Fault> {
        if let Some(slot) = self.header.get_mut(self.header_length) {
            *slot = byte;
        }
        self.header_length += 1;
        let [first, second, ..] = self.header;
        if self.header_length == 2 {
            self.check(first, second)?;
        }
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.header_length == 2 + extended {
            self.left = self.length(second & 0x7f)?;
        }
        if self.header_length == 2 + extended + 4 {
            let mask = self.header.get(2 + extended..).and_then(|rest| rest.first_chunk());
            self.mask = mask.copied().unwrap_or_default();
            self.header_length = 0;
            self.begin(first);
        }
        Ok(())
    }

    /// Checks the first two bytes of a frame, and follows the messages.
    const fn check(&mut self, first: u8, second: u8) -> Result<(), Fault> {
        let is_last = first & 0x80 != 0;
        if first & 0x70 != 0 {
            return Err(Fault::ReservedBits);
        }
        if second & 0x80 == 0 {
            return Err(Fault::Unmasked);
        }
        match first & 0x0f {
            CONTINUATION if !self.is_in_message => return Err(Fault::Continuation),
            TEXT => return Err(Fault::Text),
            BINARY if self.is_in_message => return Err(Fault::Interrupted),
            CONTINUATION | BINARY => self.is_in_message = !is_last,
            CLOSE | PING | PONG if !is_last || second & 0x7f > CONTROL_BYTES as u8 => {
                return Err(Fault::Control);
            }
            CLOSE | PING | PONG => {}
            unknown => return Err(Fault::Opcode(unknown)),
        }
        Ok(())
    }

    /// Returns the length of the payload, whose bytes have all come.
    fn length(&self, short: u8) -> Result<u64, Fault> {
        let [_, _, extended @ ..] = self.header;
        let (length, shortest) = match (short, extended) {
            (126, [high, low, ..]) => (u64::from(u16::from_be_bytes([high, low])), 126),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from(u16::MAX) + 1)
            }
            (short, _) => (u64::from(short), 0),
        };
        if length < shortest || length > u64::MAX / 2 {
            Err(Fault::Length)
        } else if length > FRAME_BYTES {
            Err(Fault::TooLong(length))
        } else {
            Ok(length)
        }
    }

    fn begin(&mut self, first: u8) {
        self.part = if first & 0x08 == 0 { Part::Data } else { Part::Control };
        if self.left == 0 {
            self.frame_ended();
        }
    }

    fn frame_ended(&mut self) {
        let is_control = self.part == Part::Control;
        self.part = Part::Header;
        if !is_control {
            return;
        }
        let payload = std::mem::take(&mut self.control);
        let [first, ..] = self.header;
        match (first & 0x0f, payload.as_slice()) {
            (PING, _) => self.ping = Some(payload),
            (CLOSE, []) => self.end = Some(End::Closed(None)),
            (CLOSE, [high, low, ..]) if is_close_code(u16::from_be_bytes([*high, *low])) => {
                self.end = Some(End::Closed(Some(u16::from_be_bytes([*high, *low]))));
            }
            (CLOSE, _) => self.end = Some(End::Fault(Fault::CloseCode)),
            // A pong answers nothing that this hub has asked.
            _ => {}
        }
    }
}

/// Returns whether a close frame may have this status code. Source: RFC 6455, section 7.4, and the registry of IANA.
const fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Returns the frame with which a ping is answered.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    control(PONG, payload)
}

/// Returns a close frame.
pub(super) fn close(code: Option<u16>) -> Vec<u8> {
    control(CLOSE, code.map(u16::to_be_bytes).as_ref().map_or(&[], |code| code))
}

fn control(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let payload = payload.get(..CONTROL_BYTES).unwrap_or(payload);
    let mut frame = vec![0x80 | opcode, payload.len() as u8];
    frame.extend_from_slice(payload);
    frame
}

/// The header of a binary frame of the hub, which is not masked, and how much of it has left.
#[derive(Debug)]
pub(super) struct Header {
    bytes: [u8; 10],
    begin: usize,
    end: usize,
}

impl Header {
    /// The header of no frame.
    pub(super) const NONE: Self = Self { bytes: [0; 10], begin: 0, end: 0 };

    /// Returns the header of a frame that is a whole message.
    pub(super) fn binary(payload: usize) -> Self {
        let mut bytes = [0; 10];
        let length = payload as u64;
        let (short, extended) = match length {
            0..=125 => (length as u8, 0),
            126..=0xffff => (126, 2),
            _ => (127, 8),
        };
        bytes[..2].copy_from_slice(&[0x80 | BINARY, short]);
        bytes[2..2 + extended].copy_from_slice(&length.to_be_bytes()[8 - extended..]);
        Self { bytes, begin: 0, end: 2 + extended }
    }

    /// Returns the bytes that have not left yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.begin..self.end).unwrap_or_default()
    }

    /// Notes that more bytes have left.
    pub(super) const fn advance(&mut self, count: usize) {
        self.begin += count;
    }

    /// Returns whether none of its bytes has left.
    pub(super) const fn is_whole(&self) -> bool {
        self.begin == 0
    }
}

#[cfg(test)]
mod tests;
