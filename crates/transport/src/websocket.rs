//! This file is the seam to tungstenite: it upgrades a stream to WebSocket (RFC 6455), and makes a stream of bytes of its
//! binary messages.
//!
//! `connector.rs` calls it, with a stream on which nothing was said yet. The borders of messages mean nothing to MQTT and
//! AMQP over WebSocket: a packet or a frame may be spread over several messages, and a message may have several.

use std::io;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::{Sink as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError, SubProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

use crate::connector::WebSocketEndpoint;
use crate::error::{OpenFailure, UpgradeFailure};
use crate::stream::Io;

/// The largest message that is taken: far above any of a hub.
const MAX_MESSAGE: usize = 1024 * 1024;

/// The most bytes of one message that is sent.
const MAX_SENT: usize = 16 * 1024;

/// The size of tungstenite's buffers. It would take 128 KB for each by itself, and an idle device needs neither.
const BUFFER: usize = 4 * 1024;

/// Upgrades a stream to a host.
pub(crate) async fn upgrade<S: Io>(
    stream: S,
    host: &str,
    endpoint: &WebSocketEndpoint,
) -> Result<WebSocketBytes<S>, OpenFailure> {
    let request = request(host, endpoint)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let upgrading = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    let failure = match Box::pin(upgrading).await {
        Ok((inner, _response)) => return Ok(WebSocketBytes { inner, arrived: Bytes::new(), ended: false }),
        Err(WsError::Http(response)) => UpgradeFailure::Status(response.status().as_u16()),
        Err(WsError::Protocol(ProtocolError::SecWebSocketSubProtocolError(
            SubProtocolError::NoSubProtocol | SubProtocolError::InvalidSubProtocol,
        ))) => UpgradeFailure::Subprotocol(endpoint.subprotocol),
        Err(WsError::Io(error)) => return Err(OpenFailure::Broken(error)),
        Err(WsError::ConnectionClosed | WsError::Protocol(ProtocolError::HandshakeIncomplete)) => {
            return Err(OpenFailure::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        Err(error) => UpgradeFailure::Answer(error.to_string()),
    };
    Err(OpenFailure::Upgrade(failure))
}

fn request(host: &str, endpoint: &WebSocketEndpoint) -> Result<Request, OpenFailure> {
    let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
    let authority = match endpoint.port {
        443 => host,
        port => format!("{host}:{port}"),
    };
    Request::builder()
        .uri(format!("wss://{authority}{}", endpoint.path))
        .header("Host", authority)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key())
        .header("Sec-WebSocket-Protocol", endpoint.subprotocol)
        .body(())
        .map_err(|error| OpenFailure::Upgrade(UpgradeFailure::Answer(error.to_string())))
}

/// The bytes of binary messages. Pings are answered while it is read.
pub(crate) struct WebSocketBytes<S> {
    inner: WebSocketStream<S>,
    /// Bytes of a message that were not read yet.
    arrived: Bytes,
    /// Whether the other side has said that it sends nothing more.
    ended: bool,
}

impl<S: Io> AsyncRead for WebSocketBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.arrived.is_empty() {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.arrived = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                None | Some(Ok(Message::Close(_))) => self.ended = true,
                Some(Ok(Message::Text(_))) => {
                    let text = "a WebSocket message is text, where every message has to be binary";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
        }
        let taken = self.arrived.len().min(buffer.remaining());
        buffer.put_slice(&self.arrived[..taken]);
        self.arrived.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: Io> AsyncWrite for WebSocketBytes<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(Pin::new(&mut self.inner).poll_ready(cx)).map_err(io_error)?;
        let sent = &bytes[..bytes.len().min(MAX_SENT)];
        let message = Message::Binary(Bytes::copy_from_slice(sent));
        Pin::new(&mut self.inner).start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(sent.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_close(cx) {
            // The other side was faster.
            Poll::Ready(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => Poll::Ready(Ok(())),
            closed => closed.map_err(io_error),
        }
    }
}

fn io_error(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        WsError::ConnectionClosed | WsError::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            io::ErrorKind::ConnectionReset.into()
        }
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
