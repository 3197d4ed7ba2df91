//! [`Wire`] writes and reads the bytes of a peer, each call with a deadline. The peers of MQTT and AMQP are built on it;
//! what the bytes mean is left to them.

use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The real time within which everything comes that a test waits for, unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Returns what `work` yields, which should come at once.
///
/// # Panics
/// If it does not come within [`PATIENCE`].
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it did not come in time")
}

/// A connection's bytes in both directions: TLS, TCP, a stream in memory.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream with a deadline for every read and write.
///
/// It never reads a byte that nobody has asked for yet, so that a peer that does not read holds the hub up, as tests of
/// slow peers need. Where speed matters more, give it a `tokio::io::BufReader` around the stream.
pub struct Wire {
    stream: Box<dyn Stream>,
    patience: Duration,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Wire {
    /// Returns a wire whose reads and writes end within [`PATIENCE`].
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), patience: PATIENCE }
    }

    /// Gives every read and write this much time instead. A test on tokio's paused clock needs more than the longest
    /// wait of the code under test, since that clock jumps to the earliest deadline when nothing else is left to do.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Returns the stream.
    pub(crate) fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }

    /// Writes all bytes and flushes them, to a hub that may have hung up.
    ///
    /// # Errors
    /// The stream's error, or [`ErrorKind::TimedOut`] if the hub did not take them in time.
    pub async fn try_write(&mut self, bytes: &[u8]) -> Result<()> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        in_time(self.patience, "the hub did not take all bytes", write).await
    }

    /// Writes all bytes and flushes them.
    ///
    /// # Panics
    /// If the hub has hung up, or does not take them in time.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).await.expect("the bytes can be written");
    }

    /// Fills `into` with the next bytes.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] if the connection ends before, another of the stream's errors, or
    /// [`ErrorKind::TimedOut`] if the bytes do not come in time.
    pub async fn try_read_exact(&mut self, into: &mut [u8]) -> Result<()> {
        let read = async { self.stream.read_exact(into).await.map(drop) };
        in_time(self.patience, "the hub is silent", read).await
    }

    /// Fills `into` with the next bytes.
    ///
    /// # Panics
    /// If the connection ends before, or the bytes do not come in time.
    pub async fn read_exact(&mut self, into: &mut [u8]) {
        self.try_read_exact(into).await.expect("the hub sends these bytes");
    }

    /// Tells the hub that no more bytes will follow.
    ///
    /// # Errors
    /// The stream's error, or [`ErrorKind::TimedOut`] if that could not be written in time.
    pub async fn try_shutdown(&mut self) -> Result<()> {
        in_time(self.patience, "the end could not be written", self.stream.shutdown()).await
    }

    /// Reads until the connection ends. Returns the bytes that came before, and whether the hub reset the connection
    /// instead of closing it, which it does when it leaves bytes unread.
    ///
    /// # Panics
    /// If the connection does not end in time.
    pub async fn read_to_end(&mut self) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        let read = async { self.stream.read_to_end(&mut bytes).await.map(drop) };
        match in_time(self.patience, "the hub does not hang up", read).await {
            Ok(()) => (bytes, false),
            Err(error) if error.kind() == ErrorKind::TimedOut => panic!("{error}"),
            Err(_) => (bytes, true),
        }
    }
}

/// Returns what `work` yields, or an error with this text if that takes too long.
pub(crate) async fn in_time<T>(
    patience: Duration,
    late: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let late = |_| Error::new(ErrorKind::TimedOut, format!("{late} within {patience:?}"));
    tokio::time::timeout(patience, work).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_an_error_when_patience_ends() {
        let (own, _hub) = tokio::io::duplex(16);
        let mut wire = Wire::new(own).with_patience(Duration::from_secs(1));
        let error = wire.try_read_exact(&mut [0]).await.unwrap_err();
        assert_eq!(error.to_string(), "the hub is silent within 1s");
        let error = wire.try_write(&[0; 17]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_wire_reads_no_byte_that_nobody_asked_for() {
        let (own, mut hub) = tokio::io::duplex(4);
        let mut wire = Wire::new(own);
        hub.write_all(b"1234").await.unwrap();
        wire.read_exact(&mut [0]).await;
        // Three bytes are left in the pipe, so that it has room for one.
        assert_eq!(tokio::io::AsyncWriteExt::write(&mut hub, b"56").await.unwrap(), 1);
        drop(hub);
        assert_eq!(wire.read_to_end().await, (b"2345".to_vec(), false));
    }
}
