//! Checks the bytes of requests before hyper reads them, because hyper takes bytes that two readers may understand
//! in two ways: lines that end with a bare LF, and bodies whose length is given twice.
//!
//! `https` puts a [`StrictReader`] between a connection and hyper. It follows the bytes from head to body to
//! the next head, passes them on unchanged, and keeps no more of them than the beginning of one line. At the
//! first byte that breaks a rule it ends the stream with a byte that no request may hold; hyper then answers
//! 400 and closes the connection. Everything else about a request is left to hyper and the routes.
//!
//! The rules: every line of a head, of a chunk's size and of a trailer ends with CRLF; `Content-Length` stands
//! at most once and is digits alone; `Transfer-Encoding` stands at most once, is `chunked`, and stands without
//! `Content-Length`; the size of a chunk is short. A request that keeps these rules is framed in one way only, so
//! this reader and hyper cannot disagree about where a body ends. Source: RFC 9112, sections 2.2, 6.1 and 6.3.
//!
//! A connection that is upgraded is not read through this reader any more: `upgrade` takes the stream out of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use iothub_models::ErrorCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::activity::refused;

/// A byte that hyper refuses wherever it stands in a head.
const POISON: u8 = 0;

/// The number of bytes of a line that are kept: more than the lines have that matter here.
const LINE_BYTES: usize = 64;

/// A stream whose bytes are checked as they are read.
#[derive(Debug)]
pub(super) struct StrictReader<S> {
    stream: S,
    check: Check,
    broken: bool,
}

impl<S> StrictReader<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, check: Check::new(), broken: false }
    }

    /// Returns the stream without the checks, for a connection that speaks HTTP no more.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StrictReader<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        if let Err(Broken { at, rule }) = self.check.follow(read) {
            refused("request", &rule).code(ErrorCode::GenericBadRequest).tell();
            self.broken = true;
            // The bytes before the fault are passed on, so that hyper still answers requests that were whole.
            if let Some(byte) = read.get_mut(at) {
                *byte = POISON;
            }
            buffer.set_filled(before + at + 1);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StrictReader<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The place of the first byte that breaks a rule, and the rule.
#[derive(Debug, PartialEq, Eq)]
struct Broken {
    at: usize,
    rule: &'static str,
}

/// The part of a request that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// An empty line before a request, or its first line.
    RequestLine,
    HeaderLine,
    /// A body or a chunk, of which this many bytes follow.
    Bytes {
        left: u64,
        chunked: bool,
    },
    ChunkSizeLine,
    /// The line end behind the bytes of a chunk.
    ChunkEnd,
    TrailerLine,
}

/// Follows the bytes of one connection.
#[derive(Debug)]
struct Check {
    place: Place,
    /// The beginning of the line that is being read.
    line: [u8; LINE_BYTES],
    /// The length of that line so far, including its CR.
    length: usize,
    after_cr: bool,
    /// The `Content-Length` in the head that is being read.
    content_length: Option<u64>,
    /// True if the head that is being read has `Transfer-Encoding: chunked`.
    chunked: bool,
}

impl Check {
    const fn new() -> Self {
        Self {
            place: Place::RequestLine,
            line: [0; LINE_BYTES],
            length: 0,
            after_cr: false,
            content_length: None,
            chunked: false,
        }
    }

    /// Follows `bytes`, which come after all that were followed before.
    fn follow(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let Place::Bytes { left, chunked } = self.place {
                let available = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX);
                let passed = left.min(available);
                self.body_passed(left - passed, chunked);
                at += usize::try_from(passed).unwrap_or(usize::MAX);
                continue;
            }
            self.byte_of_a_line(*byte).map_err(|rule| Broken { at, rule })?;
            at += 1;
        }
        Ok(())
    }

    const fn body_passed(&mut self, left: u64, chunked: bool) {
        self.place = match (left, chunked) {
            (0, true) => Place::ChunkEnd,
            (0, false) => Place::RequestLine,
            _ => Place::Bytes { left, chunked },
        };
    }

    fn byte_of_a_line(&mut self, byte: u8) -> Result<(), &'static str> {
        match (byte, self.after_cr) {
            (b'\n', true) => {
                let length = self.length - 1;
                (self.length, self.after_cr) = (0, false);
                return self.line_ended(length);
            }
            (b'\n', false) => return Err("a line ends with LF without CR"),
            (_, true) => return Err("CR stands within a line"),
            (_, false) => {}
        }
        if let Some(slot) = self.line.get_mut(self.length) {
            *slot = byte;
        }
        self.after_cr = byte == b'\r';
        self.length = self.length.saturating_add(1);
        Ok(())
    }

    fn line_ended(&mut self, length: usize) -> Result<(), &'static str> {
        self.place = match (self.place, length) {
            // Empty lines before a request are passed over, by hyper too.
            (Place::RequestLine, 0) => Place::RequestLine,
            (Place::RequestLine, _) => {
                (self.content_length, self.chunked) = (None, false);
                Place::HeaderLine
            }
            (Place::HeaderLine, 0) => self.head_ended()?,
            (Place::HeaderLine, length) => {
                self.header(length)?;
                Place::HeaderLine
            }
            (Place::ChunkSizeLine, length) => match self.chunk_size(length)? {
                0 => Place::TrailerLine,
                left => Place::Bytes { left, chunked: true },
            },
            (Place::ChunkEnd, 0) => Place::ChunkSizeLine,
            (Place::ChunkEnd, _) => return Err("a chunk is longer than its size"),
            (Place::TrailerLine, 0) => Place::RequestLine,
            (place @ (Place::TrailerLine | Place::Bytes { .. }), _) => place,
        };
        Ok(())
    }

    const fn head_ended(&self) -> Result<Place, &'static str> {
        match (self.content_length, self.chunked) {
            (Some(_), true) => Err("Content-Length and Transfer-Encoding stand together"),
            (None, true) => Ok(Place::ChunkSizeLine),
            (None | Some(0), false) => Ok(Place::RequestLine),
            (Some(left), false) => Ok(Place::Bytes { left, chunked: false }),
        }
    }

    fn header(&mut self, length: usize) -> Result<(), &'static str> {
        let line = self.line.get(..length).unwrap_or(&self.line);
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let too_long = length > LINE_BYTES;
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value.trim_ascii();
            let number = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
            let number = number.and_then(|text| text.parse().ok()).filter(|_| !too_long);
            let number = number.ok_or("Content-Length is not a number of bytes")?;
            if self.content_length.replace(number).is_some() {
                return Err("Content-Length stands twice");
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if too_long || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err("Transfer-Encoding is another than chunked");
            }
            if std::mem::replace(&mut self.chunked, true) {
                return Err("Transfer-Encoding stands twice");
            }
        }
        Ok(())
    }

    fn chunk_size(&self, length: usize) -> Result<u64, &'static str> {
        let line = self.line.get(..length).unwrap_or(&self.line);
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        if size.len() == LINE_BYTES && length > LINE_BYTES {
            // hyper takes any number of zeros before a size, so digits that were not kept would count for it.
            return Err("the size of a chunk is too long");
        }
        let size = size.trim_ascii();
        let hex = size.iter().all(u8::is_ascii_hexdigit);
        let number = std::str::from_utf8(size).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
        number.filter(|_| hex).ok_or("the size of a chunk is not a number")
    }
}

#[cfg(test)]
mod tests;
