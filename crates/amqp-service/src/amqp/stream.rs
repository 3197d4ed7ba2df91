//! This file has the stream to a hub, which can be cut from outside and lets only sound frames in.
//!
//! `amqp/connection.rs` opens it. The AMQP library's tasks own the stream, and wait for the hub's last word even when
//! nobody waits for them any more. Cutting the stream ends them, whatever the hub does. TCP, TLS, WebSocket and proxies
//! are left to `iothub-transport`.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use iothub_transport::{Connector, Stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::connection::MAX_FRAME_SIZE;
use super::failure::Failure;
use super::inbound::{Defect, Inbound};

/// How much is read at a time: a TLS record.
const READ_SIZE: usize = 16 * 1024;

/// Opens the stream, in this time at most, and returns with it the guard that cuts it when dropped.
pub(super) async fn open(connector: &Connector, timeout: Duration) -> Result<(Severable, Guard), Failure> {
    let opened = connector.open(timeout).await.map_err(|error| Failure::Unopened(Box::new(error)))?;
    tracing::debug!("there is a stream to the hub over {}", opened.transport);
    let io = opened.stream;
    let sever = CancellationToken::new();
    let severed = Box::pin(sever.clone().cancelled_owned());
    let defect = Arc::default();
    let guard = Guard { defect: Arc::clone(&defect), _sever: sever.drop_guard() };
    let inbound = Inbound::default();
    Ok((Severable { io, severed, inbound, arrived: BytesMut::new(), readable: 0, defect }, guard))
}

/// Cuts its stream when dropped.
#[derive(Debug)]
pub(super) struct Guard {
    defect: Arc<OnceLock<Defect>>,
    _sever: DropGuard,
}

impl Guard {
    /// Why the stream let nothing more in, if it was that which ended the connection.
    pub(super) fn defect(&self) -> Option<Defect> {
        self.defect.get().copied()
    }
}

/// A stream that ends when its guard is dropped, and yields only what [`Inbound`] has passed.
#[derive(Debug)]
pub(super) struct Severable {
    io: Stream,
    severed: Pin<Box<WaitForCancellationFutureOwned>>,
    inbound: Inbound,
    /// What has arrived: first what may be read, then what is not a whole frame yet.
    arrived: BytesMut,
    readable: usize,
    defect: Arc<OnceLock<Defect>>,
}

impl AsyncRead for Severable {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.readable == 0 {
            this.arrived.reserve(READ_SIZE);
            let arrived = match pin!(this.io.read_buf(&mut this.arrived)).poll(cx) {
                Poll::Ready(arrived) => arrived?,
                // What has arrived comes first: it may be the verdict on a message.
                Poll::Pending => {
                    ready!(this.severed.as_mut().poll(cx));
                    0
                }
            };
            if arrived == 0 {
                return Poll::Ready(Ok(()));
            }
            match this.inbound.whole_frames(&this.arrived, MAX_FRAME_SIZE as usize) {
                Ok(readable) => this.readable = readable,
                Err(defect) => {
                    tracing::warn!(defect, "the hub sent what is not AMQP");
                    let defect = this.defect.get_or_init(|| defect);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, *defect)));
                }
            }
        }
        let read = this.readable.min(buffer.remaining());
        buffer.put_slice(&this.arrived.split_to(read));
        this.readable -= read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Severable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.io).poll_write(cx, bytes) {
            Poll::Pending => {
                ready!(self.severed.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            done => done,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Pending => {
                ready!(self.severed.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            done => done,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_shutdown(cx) {
            Poll::Pending => {
                ready!(self.severed.as_mut().poll(cx));
                Poll::Ready(Ok(()))
            }
            done => done,
        }
    }
}
