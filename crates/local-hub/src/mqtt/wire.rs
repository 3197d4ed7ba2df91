//! [`Wire`] moves the bytes of one connection: it reads in bulk, writes all at once, and gives its buffers back when
//! there is nothing to do. `connection` and `admission` use it. It knows nothing of MQTT.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Room for a read while little comes.
const SMALL_READ: usize = 512;

/// Most bytes taken in from a stranger before they are looked at.
const STRANGER_BATCH: usize = 4 * 1024;

/// Most bytes taken in from a device before they are looked at.
const BATCH: usize = 64 * 1024;

/// An output buffer above this is given back once it is written.
const KEPT_OUTPUT: usize = 4 * 1024;

/// The time in which, and the number of bytes for which, a closing connection listens on, so that its last words are
/// not lost to a reset. The time is real, since this is the transport's affair and not the hub's.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);

/// The progress that was made on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more in `input`.
    Read,
    /// The peer sends no more.
    End,
    /// All of `output` has left.
    Written,
}

/// A byte stream and its buffers.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    pub input: BytesMut,
    pub output: BytesMut,
    read_size: usize,
    batch: usize,
    flushing: bool,
    written: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            read_size: SMALL_READ,
            batch: STRANGER_BATCH,
            flushing: false,
            written: 0,
        }
    }

    /// Notes that the peer is no stranger any more, so that it may send more at once.
    pub(super) const fn trust(&mut self) {
        self.batch = BATCH;
    }

    /// Returns whether bytes are still on their way out.
    pub(super) fn is_writing(&self) -> bool {
        self.flushing || !self.output.is_empty()
    }

    /// The number of bytes that have left so far: a peer that takes none is stuck.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Writes waiting output, and reads unless `reading` is false; returns with the first progress.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: all is in the buffers.
    pub(super) async fn progress(&mut self, reading: bool) -> io::Result<Progress> {
        poll_fn(|cx| {
            if self.is_writing()
                && let Poll::Ready(done) = self.poll_write(cx)
            {
                return Poll::Ready(done.map(|()| Progress::Written));
            }
            if reading { self.poll_read(cx) } else { Poll::Pending }
        })
        .await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushing = true;
        while !self.output.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(count);
            self.written += count as u64;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.flushing = false;
        if self.output.capacity() > KEPT_OUTPUT {
            self.output = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads all bytes that have come, up to a batch.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Progress>> {
        if self.input.is_empty() && self.input.capacity() > self.read_size {
            self.input = BytesMut::new();
        }
        let mut total = 0;
        while total < self.batch {
            self.input.reserve(self.read_size);
            let read = pin!(self.stream.read_buf(&mut self.input));
            match read.poll(cx) {
                Poll::Ready(Ok(0)) if total == 0 => return Poll::Ready(Ok(Progress::End)),
                // The bytes read before the end count first: a device that says goodbye and closes without
                // ending TLS makes both a DISCONNECT and an error. The end is found again at the next read.
                Poll::Ready(Ok(0) | Err(_)) | Poll::Pending if total > 0 => break,
                Poll::Pending => break,
                Poll::Ready(Ok(count)) => {
                    total += count;
                    self.adapt(count);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        if total == 0 { Poll::Pending } else { Poll::Ready(Ok(Progress::Read)) }
    }

    /// Adapts the room for the next read: a read that fills its room asks for more, a small one gives it back.
    fn adapt(&mut self, count: usize) {
        if count >= self.read_size {
            self.read_size = (self.read_size * 4).min(self.batch);
        } else if count < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(SMALL_READ);
        }
    }

    /// Writes waiting output and closes, listening on for a moment so that nothing of it is lost.
    pub(super) async fn close(mut self) {
        let (time, mut bytes) = LINGER;
        let farewell = async {
            if self.is_writing() {
                self.stream.write_all_buf(&mut self.output).await?;
                self.stream.flush().await?;
            }
            self.stream.shutdown().await?;
            self.input = BytesMut::new();
            while bytes > 0 {
                self.input.clear();
                self.input.reserve(SMALL_READ);
                match self.stream.read_buf(&mut self.input).await? {
                    0 => break,
                    count => bytes = bytes.saturating_sub(count),
                }
            }
            io::Result::Ok(())
        };
        // Nobody is left to tell: the peer has gone, or is told by the end of the stream.
        let _farewell = tokio::time::timeout(time, farewell).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair(size: usize) -> (tokio::io::DuplexStream, Wire<tokio::io::DuplexStream>) {
        let (peer, own) = tokio::io::duplex(size);
        (peer, Wire::new(own))
    }

    #[tokio::test]
    async fn reads_all_that_is_there_and_shrinks_when_idle() {
        let (mut peer, mut wire) = pair(256 * 1024).await;
        wire.trust();
        peer.write_all(&[7; 200_000]).await.unwrap();
        let mut reads = 0;
        while wire.input.len() < 200_000 {
            assert_eq!(wire.progress(true).await.unwrap(), Progress::Read);
            reads += 1;
        }
        assert!(reads <= 4, "{reads} reads");
        wire.input.clear();
        for _ in 0..10 {
            peer.write_all(&[7]).await.unwrap();
            assert_eq!(wire.progress(true).await.unwrap(), Progress::Read);
            wire.input.clear();
        }
        drop(peer);
        assert_eq!(wire.progress(true).await.unwrap(), Progress::End);
        assert!(wire.input.capacity() <= 2 * SMALL_READ, "{}", wire.input.capacity());
    }

    #[tokio::test]
    async fn takes_little_from_a_stranger() {
        let (mut peer, mut wire) = pair(256 * 1024).await;
        peer.write_all(&[7; 200_000]).await.unwrap();
        assert_eq!(wire.progress(true).await.unwrap(), Progress::Read);
        assert!(wire.input.capacity() <= 3 * STRANGER_BATCH, "{}", wire.input.capacity());
    }

    #[tokio::test]
    async fn goes_on_reading_while_the_peer_does_not() {
        let (mut peer, mut wire) = pair(64).await;
        wire.output.extend_from_slice(&[1; 1000]);
        peer.write_all(b"hello").await.unwrap();
        assert_eq!(wire.progress(true).await.unwrap(), Progress::Read);
        assert_eq!((&wire.input[..], wire.written()), (&b"hello"[..], 64));
        let mut seen = vec![0; 1000];
        let (read, written) = tokio::join!(peer.read_exact(&mut seen), wire.progress(true));
        assert_eq!((read.unwrap(), written.unwrap()), (1000, Progress::Written));
        assert!(!wire.is_writing() && seen == [1; 1000]);
    }
}
