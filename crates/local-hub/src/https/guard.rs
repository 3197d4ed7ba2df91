//! [`Guarded`] is the stream of one HTTPS connection with the deadlines that hyper does not keep: for an
//! unfinished head, for an idle connection, and for a client that does not read its answer.
//!
//! `https` puts it below [`StrictReader`](super::strict_reader::StrictReader). hyper has one timeout for both
//! silence between requests and an unfinished head. The first must be long, since clients keep connections for
//! later; the second must be short, since it costs a stranger nothing. The connection's service tells [`Phases`]
//! when a request begins and ends; bytes in between are a head. The time that a request takes is left to its route.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::listener::accepted::Permit;

/// The longest time that a client may take for the head of a request, and a stranger for anything.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// The time that an idle connection of a client that has proven who it is stays open: longer than clients keep
/// one for later, so that no client sends a request into a connection that is being closed.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// The longest time that a client may take nothing of its answer before it is disconnected.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The phase of a connection, and the instant at which it began.
#[derive(Clone, Debug)]
pub(super) struct Phases(Arc<Mutex<(Phase, Instant)>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The next request has not begun.
    Idle,
    /// A part of its head has come.
    Head,
    /// A request is being answered, which keeps deadlines of its own.
    Request,
}

impl Phases {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new((Phase::Idle, Instant::now()))))
    }

    /// Notes that the head of a request is complete.
    pub(super) fn begin_request(&self) {
        *self.lock() = (Phase::Request, Instant::now());
    }

    /// Notes that the request is answered, except for the bytes of its answer.
    pub(super) fn end_request(&self) {
        *self.lock() = (Phase::Idle, Instant::now());
    }

    /// Notes that bytes came.
    fn read(&self) {
        let mut phase = self.lock();
        if phase.0 == Phase::Idle {
            *phase = (Phase::Head, Instant::now());
        }
    }

    /// Notes that bytes of an answer have left: the connection is not idle.
    fn written(&self) {
        let mut phase = self.lock();
        if phase.0 == Phase::Idle {
            phase.1 = Instant::now();
        }
    }

    fn deadline(&self, is_proven: bool) -> Option<Instant> {
        let (phase, since) = *self.lock();
        match phase {
            Phase::Idle if is_proven => Some(since + IDLE_TIMEOUT),
            Phase::Idle | Phase::Head => Some(since + HEAD_TIMEOUT),
            Phase::Request => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream with its deadlines.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    phases: Phases,
    permit: Arc<Permit>,
    reading: Pin<Box<Sleep>>,
    /// The timer that runs while the client takes nothing.
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, phases: Phases, permit: Arc<Permit>) -> Self {
        let reading = Box::pin(tokio::time::sleep(HEAD_TIMEOUT));
        Self { stream, phases, permit, reading, writing: None }
    }

    /// Returns the stream without the deadlines of HTTP.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Fails if the client has taken nothing for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let writing = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIMEOUT)));
        writing.as_mut().poll(cx).map(|()| timed_out("the client does not read its answer"))
    }
}

fn timed_out(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, text)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            if buf.filled().len() > before {
                self.phases.read();
            }
            return read;
        }
        let Some(deadline) = self.phases.deadline(self.permit.place().is_proven()) else {
            return Poll::Pending;
        };
        if self.reading.deadline() != deadline {
            self.reading.as_mut().reset(deadline);
        }
        self.reading.as_mut().poll(cx).map(|()| Err(timed_out("no request came in time")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Ready(written) => {
                self.writing = None;
                self.phases.written();
                Poll::Ready(written)
            }
            Poll::Pending => self.poll_stalled(cx).map(Err),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(flushed) => {
                self.writing = None;
                Poll::Ready(flushed)
            }
            Poll::Pending => self.poll_stalled(cx).map(Err),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Ready(shut_down) => Poll::Ready(shut_down),
            Poll::Pending => self.poll_stalled(cx).map(Err),
        }
    }
}

#[cfg(test)]
mod tests {
    use iothub_auth::Clock;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::activity::ActivityLog;

    struct Bench {
        client: DuplexStream,
        server: Guarded<DuplexStream>,
        phases: Phases,
        permit: Arc<Permit>,
    }

    fn bench() -> Bench {
        let (client, server) = tokio::io::duplex(64);
        let permit = Permit::alone(&ActivityLog::new("hub", Clock::real()));
        let phases = Phases::new();
        let server = Guarded::new(server, phases.clone(), Arc::clone(&permit));
        Bench { client, server, phases, permit }
    }

    /// Returns the time that the server waits for more, until it gives up.
    async fn patience(server: &mut Guarded<DuplexStream>) -> Duration {
        let start = Instant::now();
        let read = server.read(&mut [0; 64]).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_and_an_unfinished_head_have_fifteen_seconds() {
        let mut stranger = bench();
        assert_eq!(patience(&mut stranger.server).await, HEAD_TIMEOUT);

        let Bench { mut client, mut server, permit, .. } = bench();
        permit.place().prove();
        client.write_all(b"GET / HT").await.unwrap();
        assert_eq!(server.read(&mut [0; 64]).await.unwrap(), 8);
        tokio::time::sleep(HEAD_TIMEOUT / 2).await;
        // A byte now and then does not buy time.
        client.write_all(b"T").await.unwrap();
        assert_eq!(server.read(&mut [0; 64]).await.unwrap(), 1);
        assert_eq!(patience(&mut server).await, HEAD_TIMEOUT / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_takes_the_time_it_takes_and_a_proven_client_may_be_idle() {
        let Bench { mut client, mut server, phases, permit } = bench();
        client.write_all(b"head").await.unwrap();
        assert_eq!(server.read(&mut [0; 64]).await.unwrap(), 4);
        phases.begin_request();
        permit.place().prove();
        let waiting = tokio::time::timeout(IDLE_TIMEOUT * 2, server.read(&mut [0; 64])).await;
        assert!(waiting.is_err(), "a request that is being answered has deadlines of its own");
        phases.end_request();
        tokio::time::sleep(IDLE_TIMEOUT / 2).await;
        server.write_all(b"the end of the answer").await.unwrap();
        assert_eq!(patience(&mut server).await, IDLE_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_answer_is_cut() {
        let Bench { client, mut server, .. } = bench();
        let start = Instant::now();
        let written = server.write_all(&[0; 1000]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), WRITE_TIMEOUT);
        drop(client);
    }
}
