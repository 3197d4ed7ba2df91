//! Frames: the eight bytes before every body (AMQP 1.0, part 2, section 2.3), and the protocol header.

use bytes::{BufMut, BytesMut};

use crate::codec::patch_u32;

/// The protocol header of the AMQP layer.
pub(crate) const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
/// The protocol header of the SASL layer.
pub(crate) const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";
/// The largest frame a peer may be sent before it says what it takes, and the least it may say.
pub(crate) const MIN_MAX_FRAME_SIZE: u32 = 512;

const TYPE_AMQP: u8 = 0;
const TYPE_SASL: u8 = 1;
const HEADER_LEN: usize = 8;

/// Which layer a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Amqp,
    Sasl,
}

/// A whole inbound frame.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: FrameKind,
    pub(crate) channel: u16,
    /// Empty for a heartbeat.
    pub(crate) body: &'a [u8],
    /// Bytes of the whole frame.
    pub(crate) len: usize,
}

/// The frame at the start of `input`, or `None` while it is incomplete.
///
/// # Errors
/// What is wrong, once the header shows that this is no frame, or one larger than `max_size`.
pub(crate) fn parse(input: &[u8], max_size: usize) -> Result<Option<Frame<'_>>, String> {
    let Some((header, _)) = input.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let [s0, s1, s2, s3, offset, kind, c0, c1] = *header;
    let size = u32::from_be_bytes([s0, s1, s2, s3]);
    let len = usize::try_from(size).unwrap_or(usize::MAX);
    if len > max_size {
        return Err(format!("a frame of {size} bytes exceeds max-frame-size {max_size}"));
    }
    let body_at = usize::from(offset) * 4;
    if body_at < HEADER_LEN || body_at > len {
        return Err(format!("a frame of {size} bytes cannot have its body at byte {body_at}"));
    }
    let kind = match kind {
        TYPE_AMQP => FrameKind::Amqp,
        TYPE_SASL => FrameKind::Sasl,
        other => return Err(format!("there is no frame type {other}")),
    };
    let Some(body) = input.get(body_at..len) else { return Ok(None) };
    Ok(Some(Frame { kind, channel: u16::from_be_bytes([c0, c1]), body, len }))
}

/// Appends a frame of the AMQP layer whose body `write` appends.
pub(crate) fn put_amqp(out: &mut BytesMut, channel: u16, write: impl FnOnce(&mut BytesMut)) {
    put(out, TYPE_AMQP, channel, write);
}

/// Appends a frame of the SASL layer whose body `write` appends.
pub(crate) fn put_sasl(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    put(out, TYPE_SASL, 0, write);
}

/// Appends an empty frame, the heartbeat.
pub(crate) fn put_empty(out: &mut BytesMut) {
    put(out, TYPE_AMQP, 0, |_| {});
}

fn put(out: &mut BytesMut, kind: u8, channel: u16, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    out.put_slice(&[2, kind]);
    out.put_u16(channel);
    write(out);
    let len = out.len() - start;
    patch_u32(out, start, len);
}
