//! TCP and TLS to a hub, as a stream that can be cut from outside.
//!
//! The AMQP library's tasks own the stream, and wait for the hub's last word even when nobody waits for
//! them any more. Cutting the stream ends them, whatever the hub does.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use iothub_auth::HubAddress;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::failure::Failure;
use crate::error::ErrorKind;

/// Opens the stream, and returns with it the guard that cuts it when dropped.
pub(super) async fn open(
    address: &HubAddress,
    tls: &Arc<ClientConfig>,
) -> Result<(Severable, DropGuard), Failure> {
    let host = address.connect_host();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| Failure::known(ErrorKind::InvalidArgument, format!("{host:?}: {error}")))?;
    let network = |error| Failure::Io(ErrorKind::Network, error);
    let tcp = TcpStream::connect((host, address.amqps_port)).await.map_err(network)?;
    tcp.set_nodelay(true).map_err(network)?;
    let tls = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await.map_err(|error| {
        let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        Failure::Io(if is_tls { ErrorKind::Tls } else { ErrorKind::Network }, error)
    })?;
    let sever = CancellationToken::new();
    let severed = Box::pin(sever.clone().cancelled_owned());
    Ok((Severable { tls, severed }, sever.drop_guard()))
}

/// A stream that ends when its guard is dropped.
#[derive(Debug)]
pub(super) struct Severable {
    tls: TlsStream<TcpStream>,
    severed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl AsyncRead for Severable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // What has arrived comes first: it may be the verdict on a message.
        match Pin::new(&mut self.tls).poll_read(cx, buffer) {
            Poll::Pending => {
                ready!(self.severed.as_mut().poll(cx));
                Poll::Ready(Ok(()))
            }
            done => done,
        }
    }
}

impl AsyncWrite for Severable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.tls).poll_write(cx, bytes) {
            Poll::Pending => {
                ready!(self.severed.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            done => done,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.tls).poll_flush(cx) {
            Poll::Pending => {
                ready!(self.severed.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            done => done,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.tls).poll_shutdown(cx) {
            Poll::Pending => {
                ready!(self.severed.as_mut().poll(cx));
                Poll::Ready(Ok(()))
            }
            done => done,
        }
    }
}
