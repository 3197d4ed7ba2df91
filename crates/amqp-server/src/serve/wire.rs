//! [`Wire`] is the stream with its input buffer; it reads and writes without splitting the stream.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout},
};

use crate::connection::Connection;

/// The room that an idle connection keeps for reading.
const MIN_READ: usize = 2 * 1024;
/// The largest number of bytes that a busy connection reads at a time.
const MAX_READ: usize = 64 * 1024;

/// The outcome of [`Wire::progress`].
#[derive(Debug)]
pub(super) enum Progress {
    /// There is new input.
    Read,
    /// Output was written, and links wait for room in it.
    Room,
    /// The peer has stopped reading; a deadline starts.
    Stalled,
    /// The peer sends nothing more, or everything has been said.
    End,
}

#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    input: BytesMut,
    read_size: usize,
    needs_flush: bool,
    is_shut_down: bool,
    /// A burst has left more memory than an idle connection needs.
    pub(super) has_large_buffers: bool,
    pub(super) last_read: Instant,
    pub(super) last_write: Instant,
    /// The instant from which on the peer has taken nothing of waiting output.
    pub(super) stalled_since: Option<Instant>,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        let now = Instant::now();
        Self {
            stream,
            input: BytesMut::new(),
            read_size: MIN_READ,
            needs_flush: false,
            is_shut_down: false,
            has_large_buffers: false,
            last_read: now,
            last_write: now,
            stalled_since: None,
        }
    }

    pub(super) fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Returns whether the stream has taken all output.
    pub(super) fn is_drained(&self, connection: &Connection) -> bool {
        !connection.has_output() && !self.needs_flush
    }

    pub(super) fn last_traffic(&self) -> Instant {
        self.last_read.max(self.last_write)
    }

    /// Gives back the memory that a burst needed.
    pub(super) fn shrink(&mut self, connection: &mut Connection) {
        self.has_large_buffers = false;
        self.read_size = MIN_READ;
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if !connection.has_output() {
            *connection.output() = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Writes waiting output and reads input, until there is something to do. Reading pauses while
    /// too much output waits. This is cancel safe: bytes are accounted for as soon as they
    /// are read or written.
    pub(super) async fn progress(&mut self, connection: &mut Connection) -> io::Result<Progress> {
        poll_fn(|cx| self.poll_progress(cx, connection)).await
    }

    fn poll_progress(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
    ) -> Poll<io::Result<Progress>> {
        let was_stalled = self.stalled_since.is_some();
        match self.poll_write_all(cx, connection.output()) {
            Poll::Ready(result) => result?,
            Poll::Pending if !was_stalled && self.stalled_since.is_some() => {
                return Poll::Ready(Ok(Progress::Stalled));
            }
            Poll::Pending => {}
        }
        if self.is_drained(connection) && connection.is_silent() {
            if connection.is_closed() {
                return Poll::Ready(Ok(Progress::Room));
            }
            if !self.is_shut_down && Pin::new(&mut self.stream).poll_shutdown(cx)?.is_ready() {
                self.is_shut_down = true;
            }
        }
        if connection.has_room() {
            if connection.has_ready_links() {
                return Poll::Ready(Ok(Progress::Room));
            }
            if let Poll::Ready(count) = self.poll_read(cx, connection.bytes_within(MAX_READ)) {
                return Poll::Ready(
                    count.map(|count| if count == 0 { Progress::End } else { Progress::Read }),
                );
            }
        }
        Poll::Pending
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>, output: &mut BytesMut) -> Poll<io::Result<()>> {
        self.has_large_buffers |= output.len() > MIN_READ;
        while !output.is_empty() {
            let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, output)? else {
                self.stalled_since.get_or_insert_with(Instant::now);
                return Poll::Pending;
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            output.advance(written);
            self.needs_flush = true;
            self.last_write = Instant::now();
            self.stalled_since = None;
        }
        if self.needs_flush {
            if Pin::new(&mut self.stream).poll_flush(cx)?.is_pending() {
                self.stalled_since.get_or_insert_with(Instant::now);
                return Poll::Pending;
            }
            self.needs_flush = false;
        }
        self.stalled_since = None;
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        self.read_size = self.read_size.min(most);
        if self.input.capacity() - self.input.len() < self.read_size / 2 {
            self.input.reserve(self.read_size);
        }
        let spare = self.input.capacity() - self.input.len();
        let count = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))?;
        self.last_read = Instant::now();
        if count == spare {
            self.has_large_buffers = true;
            self.read_size = (self.read_size * 4).min(most);
        }
        Poll::Ready(Ok(count))
    }

    /// Says goodbye to the stream, within a bound.
    pub(super) async fn shut_down(&mut self, limit: Duration) -> io::Result<()> {
        match timeout(limit, self.stream.shutdown()).await {
            Ok(result) => result,
            Err(_) => Ok(()),
        }
    }
}
