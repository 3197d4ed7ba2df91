//! This file asks an HTTP proxy for a tunnel, with CONNECT (RFC 9110, section 9.3.6). `proxy.rs` calls it, and has the
//! deadline.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use iothub_auth::Proxy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

use crate::error::ProxyFailure;
use crate::stream::Io;

/// The longest head of an answer.
const MAX_HEAD: usize = 16 * 1024;

/// The beginning of every answer.
const VERSION: &[u8] = b"HTTP/1.";

/// The longest reason of a refusal that is shown.
const MAX_REASON: usize = 80;

/// Asks for a tunnel to `target`, which is `host:port`. Afterwards the stream is the tunnel.
pub(crate) async fn ask(stream: &mut impl Io, proxy: &Proxy, target: &str) -> Result<(), ProxyFailure> {
    let credentials = proxy.reveal_credentials();
    let mut request = Zeroizing::new(format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Connection: Keep-Alive\r\n"
    ));
    if let Some((user_name, password)) = credentials {
        let pair = Zeroizing::new(format!("{user_name}:{password}"));
        request.push_str("Proxy-Authorization: Basic ");
        STANDARD.encode_string(pair.as_bytes(), &mut request);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(ProxyFailure::of_stream)?;
    stream.flush().await.map_err(ProxyFailure::of_stream)?;
    let head = read_head(stream).await?;
    let (status, reason) = status_line(&head).ok_or(ProxyFailure::NotAProxy)?;
    match status {
        200..=299 => Ok(()),
        407 => Err(ProxyFailure::AuthenticationRequired { given: credentials.is_some() }),
        _ => Err(ProxyFailure::Refused(format!("status {status} {reason}").trim_end().to_owned())),
    }
}

/// Reads up to the end of the head. A proxy sends nothing after the head of an answer that opens a tunnel, since the
/// client speaks first in TLS and in AMQP.
async fn read_head(stream: &mut impl Io) -> Result<BytesMut, ProxyFailure> {
    let mut head = BytesMut::with_capacity(1024);
    loop {
        let read = stream.read_buf(&mut head).await.map_err(ProxyFailure::of_stream)?;
        if read == 0 {
            return Err(ProxyFailure::Closed(None));
        }
        let known = head.len().min(VERSION.len());
        if head[..known] != VERSION[..known] || head.len() > MAX_HEAD {
            return Err(ProxyFailure::NotAProxy);
        }
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            // Bytes after the head are the page that goes with a refusal.
            head.truncate(end);
            return Ok(head);
        }
    }
}

/// Returns the status and its reason, of which only plain characters are left.
fn status_line(head: &[u8]) -> Option<(u16, String)> {
    let line = head.split(|&byte| byte == b'\r').next()?;
    let line = String::from_utf8_lossy(line);
    let mut parts = line.splitn(3, ' ');
    let status = parts.nth(1)?;
    if status.len() != 3 {
        return None;
    }
    let reason = parts.next().unwrap_or_default();
    let plain = |character: &char| character.is_ascii_graphic() || *character == ' ';
    Some((status.parse().ok()?, reason.chars().filter(plain).take(MAX_REASON).collect()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Returns the request, and the outcome if the proxy answers with `answer` and closes.
    async fn asked(proxy: &str, answer: &[u8]) -> (String, Result<(), ProxyFailure>) {
        let (mut own, mut other) = duplex(64 * 1024);
        other.write_all(answer).await.unwrap();
        other.shutdown().await.unwrap();
        let outcome = ask(&mut own, &proxy.parse().unwrap(), "hub:8883").await;
        drop(own);
        let mut request = String::new();
        other.read_to_string(&mut request).await.unwrap();
        (request, outcome)
    }

    #[tokio::test]
    async fn credentials_are_sent_if_there_are_some() {
        let (request, outcome) = asked("http://p", b"HTTP/1.1 200 Connection established\r\n\r\n").await;
        assert!(outcome.is_ok());
        assert_eq!(
            request,
            "CONNECT hub:8883 HTTP/1.1\r\nHost: hub:8883\r\nProxy-Connection: Keep-Alive\r\n\r\n"
        );
        let (request, _) = asked("http://Aladdin:open%20sesame@p", b"HTTP/1.0 200\r\n\r\n").await;
        // The example of RFC 7617.
        assert!(
            request.contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"),
            "{request}"
        );
    }

    #[tokio::test]
    async fn answers_that_open_no_tunnel_say_why() {
        for (answer, expected) in [
            (
                &b"HTTP/1.1 403 Forbidden\x1b[31m\r\nContent-Length: 3\r\n\r\nno!"[..],
                "Refused(\"status 403 Forbidden[31m\")",
            ),
            (b"HTTP/1.1 502\r\n\r\n", "Refused(\"status 502\")"),
            (b"HTTP/1.1 407 Who?\r\n\r\n", "AuthenticationRequired { given: false }"),
            (b"", "Closed(None)"),
            (b"HTTP/1.1 200 OK\r\n", "Closed(None)"),
            (b"SSH-2.0-OpenSSH", "NotAProxy"),
            (b"HTTP/1.1 2000 OK\r\n\r\n", "NotAProxy"),
            (b"HTTP/1.1\r\n\r\n", "NotAProxy"),
            (b"HTTP/1.1 abc OK\r\n\r\n", "NotAProxy"),
        ] {
            let (_, outcome) = asked("http://p", answer).await;
            assert_eq!(format!("{:?}", outcome.unwrap_err()), expected);
        }
        let long = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; MAX_HEAD]].concat();
        let (_, outcome) = asked("http://u:p@p", &long).await;
        assert!(matches!(outcome, Err(ProxyFailure::NotAProxy)));
        let (_, outcome) = asked("http://u:p@p", b"HTTP/1.1 407 Who?\r\n\r\n").await;
        assert!(matches!(outcome, Err(ProxyFailure::AuthenticationRequired { given: true })));
    }
}
