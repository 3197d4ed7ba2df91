//! [`WebSocket`] carries a byte stream in the binary frames of a WebSocket, as the server of it.
//!
//! A read takes bytes from the stream below into the caller's buffer, where `decoder` leaves the payload. A write
//! sends all that it is given as one frame, without a copy. Pings are answered and the close handshake is made on the
//! way, in the place between two frames: nobody waits for them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::decoder::{self, Decoder, End, Header};
use super::fault::Fault;

/// The number of bytes that are read and dropped after a fault, so that a client reads why it was refused before the
/// connection is reset.
const DRAINED_BYTES: usize = 64 * 1024;

/// The status code of a connection that ends because there is nothing more to say.
const NORMAL: u16 = 1000;

/// A byte stream in the binary frames of a WebSocket.
///
/// A frame says its length before its bytes. So a writer that was told `Pending` must come back with at least the
/// bytes that it had; the rooms keep their output in a buffer and do so.
#[derive(Debug)]
pub(crate) struct WebSocket<S> {
    stream: S,
    decoder: Decoder,
    /// The header of the frame that is being written.
    header: Header,
    /// The number of bytes of its payload that are still to be written.
    left: usize,
    /// Control frames on their way out: at most a pong and a close frame.
    control: BytesMut,
    needs_flush: bool,
    /// True once a close frame is on its way or has left: no further frame may follow it.
    is_closing: bool,
    is_shut_down: bool,
    drained: usize,
}

impl<S> WebSocket<S> {
    /// Returns the WebSocket on a stream whose upgrade was answered.
    pub(crate) fn new(stream: S) -> Self {
        Self::begun(stream, None)
    }

    /// Returns a WebSocket whose client has broken the rules already. The first read tells so.
    pub(crate) fn refused(stream: S, fault: Fault) -> Self {
        Self::begun(stream, Some(End::Fault(fault)))
    }

    /// Returns the stream that carries the frames.
    pub(crate) const fn below(&self) -> &S {
        &self.stream
    }

    /// Returns the stream that has carried the frames.
    #[cfg(fuzzing)]
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    fn begun(stream: S, end: Option<End>) -> Self {
        Self {
            stream,
            decoder: Decoder::new(end),
            header: Header::NONE,
            left: 0,
            control: BytesMut::new(),
            needs_flush: false,
            is_closing: false,
            is_shut_down: false,
            drained: 0,
        }
    }

    /// Has a close frame sent, unless one was before or a frame is half written.
    fn close(&mut self, code: Option<u16>) {
        if !self.is_closing && self.left == 0 {
            self.control.extend_from_slice(&decoder::close(code));
        }
        self.is_closing = true;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Writes the control frames that wait. They go on waiting while a data frame is half written.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            if !self.is_closing
                && let Some(ping) = self.decoder.take_ping()
            {
                self.control.extend_from_slice(&decoder::pong(&ping));
            }
            while !self.control.is_empty() {
                let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.control))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.control.advance(count);
                self.needs_flush = true;
                if self.control.is_empty() {
                    self.control = BytesMut::new();
                }
            }
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the reading: the client is told why before the reader is.
    fn poll_ended(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, end: End) -> Poll<io::Result<()>> {
        if self.is_shut_down && matches!(end, End::Fault(_)) {
            return self.poll_drained(cx, buf);
        }
        self.close(match end {
            End::Closed(code) => code,
            End::Fault(fault) => Some(fault.close_code()),
        });
        // A client that does not read the last words misses them.
        let _told = ready!(self.poll_control(cx));
        match end {
            End::Closed(_) => Poll::Ready(Ok(())),
            End::Fault(fault) => Poll::Ready(Err(fault.into_error())),
        }
    }

    /// Reads and drops what a client goes on to send after its fault.
    fn poll_drained(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        while self.drained < DRAINED_BYTES {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            let count = buf.filled().len() - before;
            if count == 0 {
                break;
            }
            buf.set_filled(before);
            self.drained += count;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while buf.remaining() > 0 {
            if let Some(end) = self.decoder.end() {
                return self.poll_ended(cx, buf, end);
            }
            let before = buf.filled().len();
            if Pin::new(&mut self.stream).poll_read(cx, buf)?.is_pending() {
                // The task is woken for what is left of them as well.
                let _waiting = self.poll_control(cx)?;
                return Poll::Pending;
            }
            let read = buf.filled_mut().get_mut(before..).unwrap_or_default();
            if read.is_empty() {
                break;
            }
            let payload = self.decoder.decode(read);
            buf.set_filled(before + payload);
            if payload > 0 {
                let _waiting = self.poll_control(cx)?;
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.is_closing {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the WebSocket is closed")));
        }
        if this.left == 0 {
            ready!(this.poll_control(cx))?;
            this.header = Header::binary(buf.len());
            this.left = buf.len();
        }
        let payload = buf.get(..this.left).unwrap_or(buf);
        loop {
            let header = this.header.rest();
            let stream = Pin::new(&mut this.stream);
            let written = if header.is_empty() {
                stream.poll_write(cx, payload)
            } else {
                stream.poll_write_vectored(cx, &[io::IoSlice::new(header), io::IoSlice::new(payload)])
            };
            let Poll::Ready(count) = written? else {
                if this.header.is_whole() {
                    // The frame has not begun, so that another one may.
                    this.left = 0;
                }
                return Poll::Pending;
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_header = header.len().min(count);
            this.header.advance(of_header);
            let of_payload = count - of_header;
            this.left -= of_payload;
            if of_payload > 0 {
                return Poll::Ready(Ok(of_payload));
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_control(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close(Some(NORMAL));
        ready!(self.poll_control(cx))?;
        self.is_shut_down = true;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
