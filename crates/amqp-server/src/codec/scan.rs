//! The check every inbound frame body and every reassembled message passes before it is decoded:
//! known constructors, every size within the bytes that are there, sizes and counts that agree,
//! bounded depth and number of values. It loops over a fixed stack, so no input can exhaust it.

use super::{
    MAX_DEPTH, MAX_VALUES,
    constructor::{self, Layout},
};
use crate::error::DecodeError;

/// One compound that is being walked.
#[derive(Clone, Copy)]
struct Level {
    /// Where its content must end exactly; `None` for a description, which states no size.
    end: Option<usize>,
    /// Values still to come.
    remaining: usize,
    /// In an array, the constructor all elements share.
    element: Option<u8>,
}

/// Checks the one value at the start of `bytes` and returns its length. What follows it is not looked at.
pub fn scan_value(bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut levels = [Level { end: None, remaining: 0, element: None }; MAX_DEPTH];
    levels[0] = Level { end: None, remaining: 1, element: None };
    let mut depth = 1;
    let mut at = 0;
    let mut values = 0;
    loop {
        // Leave the levels that are complete; past the outermost, the value is.
        while levels[depth - 1].remaining == 0 {
            if levels[depth - 1].end.is_some_and(|end| end != at) {
                return Err(DecodeError::SizeMismatch);
            }
            depth -= 1;
            if depth == 0 {
                return Ok(at);
            }
        }
        let level = &mut levels[depth - 1];
        level.remaining -= 1;
        // Inner sizes were checked against their parents', so this is the nearest bound.
        let limit = levels[..depth].iter().rev().find_map(|level| level.end).unwrap_or(bytes.len());
        let input = bytes.get(..limit).ok_or(DecodeError::Truncated)?;
        values += 1;
        if values > MAX_VALUES {
            return Err(DecodeError::TooManyValues);
        }
        let code = match levels[depth - 1].element {
            Some(code) => code,
            None => take(input, &mut at, 1)?[0],
        };
        let inner = if code == constructor::DESCRIBED {
            Some(Level { end: None, remaining: 2, element: None })
        } else if code == constructor::LIST_0 {
            // A level like any other list, so that what passes here passes again however it is written.
            Some(Level { end: Some(at), remaining: 0, element: None })
        } else {
            match constructor::layout(code).ok_or(DecodeError::UnknownConstructor(code))? {
                Layout::Fixed(width) => take(input, &mut at, width).map(|_| None)?,
                Layout::Variable(width) => {
                    let size = take_uint(input, &mut at, width)?;
                    take(input, &mut at, size).map(|_| None)?
                }
                Layout::Compound(width) => {
                    let (end, count) = take_head(input, &mut at, width)?;
                    let is_map = matches!(code, constructor::MAP_8 | constructor::MAP_32);
                    if is_map && count % 2 != 0 {
                        return Err(DecodeError::SizeMismatch);
                    }
                    Some(Level { end: Some(end), remaining: count, element: None })
                }
                Layout::Array(width) => {
                    let (end, count) = take_head(input, &mut at, width)?;
                    // Some encoders leave the element constructor out of an empty array. Elements with a
                    // descriptor of their own occur nowhere in practice and are refused.
                    let element = match count {
                        0 if at == end => None,
                        _ => Some(take(input, &mut at, 1)?[0]),
                    };
                    if let Some(code) = element
                        && constructor::layout(code).is_none()
                    {
                        return Err(DecodeError::UnknownConstructor(code));
                    }
                    Some(Level { end: Some(end), remaining: count, element })
                }
            }
        };
        if let Some(inner) = inner {
            *levels.get_mut(depth).ok_or(DecodeError::TooDeep)? = inner;
            depth += 1;
        }
    }
}

/// Checks that `bytes` are a sequence of whole values, as the sections of a message are.
pub fn scan_message(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = &rest[scan_value(rest)?..];
    }
    Ok(())
}

fn take<'a>(input: &'a [u8], at: &mut usize, len: usize) -> Result<&'a [u8], DecodeError> {
    let end = at.checked_add(len).ok_or(DecodeError::Truncated)?;
    let taken = input.get(*at..end).ok_or(DecodeError::Truncated)?;
    *at = end;
    Ok(taken)
}

fn take_uint(input: &[u8], at: &mut usize, width: usize) -> Result<usize, DecodeError> {
    Ok(take(input, at, width)?.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)))
}

/// A compound's size and count: where it ends, and how many values it holds.
fn take_head(input: &[u8], at: &mut usize, width: usize) -> Result<(usize, usize), DecodeError> {
    let size = take_uint(input, at, width)?;
    let end = at.checked_add(size).filter(|end| *end <= input.len()).ok_or(DecodeError::Truncated)?;
    let count = take_uint(&input[..end], at, width).map_err(|_| DecodeError::SizeMismatch)?;
    // An element of no width costs no bytes, so a forged count is bounded by the stated size instead.
    if count > size {
        return Err(DecodeError::SizeMismatch);
    }
    Ok((end, count))
}
