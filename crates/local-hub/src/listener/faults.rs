//! [`Faulty`] is the stream of a connection with the faults that somebody ordered for it, and [`OpenConnections`]
//! knows the connections for which they can be ordered.
//!
//! `listener` wraps each accepted stream in a [`Faulty`] and enters it in the hub's [`OpenConnections`], by its
//! transport. [`RunningHub`](crate::RunningHub) orders. Since every protocol room reads and writes through this
//! stream, a fault is the same for all of them, and no room has code for one.
//!
//! Cutting is the only fault today. Others have their places here:
//! - A *delay* or a *stall* of what the peer sends is asked in [`Faulty::poll_read`], before the stream is read, and
//!   one of what the hub sends in [`Faulty::poll_write`]. Both answer `Pending`; whoever ends the fault wakes the
//!   two tasks in [`Ordered`], as a cut does, and a delay has a timer beside them.
//! - To *refuse* a connection is asked in `listener`, where a place is taken for it: there is no stream yet.
//!
//! The stream is wrapped above TLS, so that a fault can be exact about the protocol's bytes.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::activity::ActivityTransport;

/// The open connections of a hub. Clones are the same connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenConnections(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// The number of the next connection.
    next: u64,
    open: HashMap<u64, (ActivityTransport, Weak<Ordered>)>,
}

/// What was ordered for one connection. It is shared by the stream and those who order.
#[derive(Debug)]
struct Ordered {
    connections: OpenConnections,
    number: u64,
    is_cut: AtomicBool,
    /// The task that waits until it can read.
    reader: AtomicWaker,
    /// The task that waits until it can write.
    writer: AtomicWaker,
}

impl OpenConnections {
    /// Enters a connection, which can be given faults until the returned stream is dropped.
    pub(super) fn enter<S>(&self, transport: ActivityTransport, stream: S) -> Faulty<S> {
        let mut table = self.lock();
        let number = table.next;
        table.next += 1;
        let faults = Arc::new(Ordered {
            connections: self.clone(),
            number,
            is_cut: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        });
        table.open.insert(number, (transport, Arc::downgrade(&faults)));
        Faulty { stream, faults }
    }

    /// Cuts all connections of these transports that are open now, without a word to their peers. To both ends it looks
    /// as if the network had gone: bytes that were not read or written yet are lost.
    pub(crate) fn cut(&self, transports: &[ActivityTransport]) {
        // The table is unlocked before anything is cut: an `Ordered` whose stream was just dropped goes with the
        // last reference here, and takes itself out of the table.
        let cut: Vec<_> = self
            .lock()
            .open
            .values()
            .filter(|(of, _)| transports.contains(of))
            .filter_map(|(_, faults)| faults.upgrade())
            .collect();
        for faults in cut {
            faults.cut();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Every change under this lock is complete in itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ordered {
    fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    /// Fails if the connection was cut.
    fn check(&self) -> io::Result<()> {
        if self.is_cut.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection was cut by an order"));
        }
        Ok(())
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.number);
    }
}

/// A stream with the faults that were ordered for it. As long as none is, a read that finds bytes costs one atomic
/// load more than without; one that must wait also leaves its waker.
#[derive(Debug)]
pub(crate) struct Faulty<S> {
    stream: S,
    faults: Arc<Ordered>,
}

impl<S> Faulty<S> {
    /// Notes that the connection was upgraded: from now on it has the faults that are ordered for this transport.
    pub(crate) fn upgraded(&self, transport: ActivityTransport) {
        if let Some((of, _)) = self.faults.connections.lock().open.get_mut(&self.faults.number) {
            *of = transport;
        }
    }

    /// Asks the stream, unless the connection was cut, and has `waker` woken if the stream cannot go on.
    fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        waker: fn(&Ordered) -> &AtomicWaker,
        ask: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>>
    where
        S: Unpin,
    {
        self.faults.check()?;
        let asked = ask(Pin::new(&mut self.stream), cx);
        if asked.is_pending() {
            waker(&self.faults).register(cx.waker());
            // A cut that came before the waker was there woke nobody.
            self.faults.check()?;
        }
        asked
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Faulty<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_with(cx, |faults| &faults.reader, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Faulty<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_with(cx, |faults| &faults.writer, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(cx, |faults| &faults.writer, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(cx, |faults| &faults.writer, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(cx, |faults| &faults.writer, AsyncWrite::poll_shutdown)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn is_cut<T: std::fmt::Debug>(ended: io::Result<T>) -> bool {
        ended.unwrap_err().kind() == io::ErrorKind::ConnectionReset
    }

    #[tokio::test]
    async fn a_cut_ends_waiting_reads_and_writes_and_says_nothing() {
        let connections = OpenConnections::default();
        let (mut peer, stream) = duplex(4);
        let mut reading = connections.enter(ActivityTransport::Amqp, stream);
        let (full, stream) = duplex(4);
        let mut writing = connections.enter(ActivityTransport::Amqp, stream);
        let reads = tokio::spawn(async move {
            let ended = reading.read_u8().await;
            (ended, reading.write_all(b"bye").await, reading.shutdown().await)
        });
        let writes = tokio::spawn(async move { writing.write_all(b"more than fits").await });
        tokio::task::yield_now().await;
        connections.cut(&[ActivityTransport::Amqp]);
        let (read, written, shut_down) = reads.await.unwrap();
        assert!(is_cut(read) && is_cut(written) && is_cut(shut_down));
        assert!(is_cut(writes.await.unwrap()));
        assert_eq!(peer.read(&mut [0; 4]).await.unwrap(), 0);
        drop(full);
    }

    #[tokio::test]
    async fn an_upgraded_connection_has_the_faults_of_its_new_transport() {
        let connections = OpenConnections::default();
        let (_peer, stream) = duplex(4);
        let mut upgraded = connections.enter(ActivityTransport::Https, stream);
        upgraded.upgraded(ActivityTransport::AmqpWs);
        connections.cut(&[ActivityTransport::Https]);
        upgraded.write_all(b"a").await.unwrap();
        connections.cut(&[ActivityTransport::Amqp, ActivityTransport::AmqpWs]);
        assert!(is_cut(upgraded.write_all(b"b").await));
    }

    #[tokio::test]
    async fn a_cut_is_for_one_transport_and_for_the_connections_that_are_open() {
        let connections = OpenConnections::default();
        let (mut peer, stream) = duplex(4);
        let mut other = connections.enter(ActivityTransport::Mqtt, stream);
        let (_peer, stream) = duplex(4);
        let mut cut = connections.enter(ActivityTransport::Amqp, stream);
        connections.cut(&[ActivityTransport::Amqp]);
        let (_later_peer, stream) = duplex(4);
        let mut later = connections.enter(ActivityTransport::Amqp, stream);
        assert!(is_cut(cut.write_all(b"a").await));
        later.write_all(b"b").await.unwrap();
        other.write_all(b"c").await.unwrap();
        assert_eq!(peer.read_u8().await.unwrap(), b'c');
        drop((cut, later, other));
        assert!(connections.lock().open.is_empty());
    }
}
