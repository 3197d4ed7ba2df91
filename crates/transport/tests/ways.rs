//! The ways to a hub: directly, through proxies that behave and others that do not, and over WebSocket. The other end is
//! a scripted server without TLS; with TLS and a hub, `tests/scenarios` goes the same ways.

// A test may stop at the first surprise, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use iothub_auth::ProxySetting;
use iothub_testkit::proxy::{ProxyLanguage, ProxyManner, TestProxy};
use iothub_transport::{Connector, Destination, OpenError, Stream, Transport, WebSocketEndpoint};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that sends every byte back.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    port
}

/// A server of WebSocket that sends every byte back in messages of one byte, with a ping before each message of its
/// client's. It returns the path and the subprotocol that it was asked for, and chooses `chosen`.
async fn websocket_echo(
    chosen: Option<&'static str>,
) -> (u16, tokio::sync::mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked_of, asked) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let asked_of = asked_of.clone();
            #[allow(clippy::result_large_err, reason = "the library's signature")]
            let upgrade = |request: &Request, mut response: Response| {
                let header = request.headers()["Sec-WebSocket-Protocol"].to_str().unwrap().to_owned();
                asked_of.try_send((request.uri().to_string(), header)).unwrap();
                if let Some(chosen) = chosen {
                    response.headers_mut().insert("Sec-WebSocket-Protocol", chosen.parse().unwrap());
                }
                Ok(response)
            };
            let Ok(mut websocket) = tokio_tungstenite::accept_hdr_async(stream, upgrade).await else {
                continue;
            };
            while let Some(Ok(message)) = websocket.next().await {
                if let Message::Binary(bytes) = message {
                    websocket.send(Message::Ping(b"?".as_slice().into())).await.unwrap();
                    for byte in bytes {
                        websocket.send(Message::Binary(vec![byte].into())).await.unwrap();
                    }
                }
            }
        }
    });
    (port, asked)
}

fn destination(port: u16, websocket_port: u16) -> Destination {
    let websocket =
        WebSocketEndpoint { port: websocket_port, path: "/path?query".to_owned(), subprotocol: "mqtt" };
    Destination { host: "localhost".to_owned(), port, tls: None, websocket: Some(websocket) }
}

async fn open(port: u16, proxy: &str) -> Result<Stream, OpenError> {
    let setting = ProxySetting::Proxy(proxy.parse().unwrap());
    let connector = Connector::new(destination(port, 1), Transport::Tcp, &setting).unwrap();
    connector.open(PATIENCE).await.map(|opened| opened.stream)
}

async fn assert_echoes(mut stream: Stream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut back = vec![0; bytes.len()];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(back, bytes);
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn both_kinds_of_proxies_lead_to_the_hub_with_credentials_and_without() {
    let port = echo().await;
    for language in [ProxyLanguage::Http, ProxyLanguage::Socks5] {
        let proxy = TestProxy::start(language).await;
        assert_echoes(open(port, &proxy.url()).await.unwrap(), b"hello").await;
        assert_echoes(open(port, &proxy.url_with("unasked:for@")).await.unwrap(), b"hello").await;
        assert_eq!(proxy.targets(), [format!("localhost:{port}"), format!("localhost:{port}")]);
        let proxy = TestProxy::start_with(language, Some(("anna", "p@ss:w%rd")), ProxyManner::Honest).await;
        assert_echoes(open(port, &proxy.url_with("anna:p%40ss:w%25rd@")).await.unwrap(), b"hello").await;
        assert_eq!(proxy.tunnels(), 1);
    }
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_is_named_with_the_reason_and_without_secrets() {
    let asked = Some(("anna", "hunter2"));
    for (language, credentials, manner, user_info, expected) in [
        (ProxyLanguage::Http, None, ProxyManner::Refuses, "anna:hunter2@", "answered status 403 Forbidden"),
        (
            ProxyLanguage::Socks5,
            None,
            ProxyManner::Refuses,
            "anna:hunter2@",
            "status 2 (connection not allowed",
        ),
        (
            ProxyLanguage::Http,
            None,
            ProxyManner::Closes,
            "anna:hunter2@",
            "closed the connection without an answer",
        ),
        (ProxyLanguage::Socks5, None, ProxyManner::Closes, "", "closed the connection without an answer"),
        (ProxyLanguage::Http, None, ProxyManner::TalksGarbage, "", "is not one of such a proxy"),
        (ProxyLanguage::Socks5, None, ProxyManner::TalksGarbage, "", "is not one of such a proxy"),
        (ProxyLanguage::Http, asked, ProxyManner::Honest, "", "asks for a user name and a password"),
        (ProxyLanguage::Socks5, asked, ProxyManner::Honest, "", "asks for a user name and a password"),
        (
            ProxyLanguage::Http,
            asked,
            ProxyManner::Honest,
            "bob:hunter2@",
            "refused the user name and the password",
        ),
        (
            ProxyLanguage::Socks5,
            asked,
            ProxyManner::Honest,
            "bob:hunter2@",
            "refused the user name and the password",
        ),
    ] {
        let proxy = TestProxy::start_with(language, credentials, manner).await;
        let error = open(1, &proxy.url_with(user_info)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains(&proxy.url()), "{text}");
        let all = format!("{text} {error:?}");
        assert!(!all.contains("hunter2") && !all.contains("anna") && !all.contains("bob"), "{all}");
        assert_eq!(proxy.tunnels(), 0);
    }
    let proxy = TestProxy::start(ProxyLanguage::Http).await;
    let (url, target) = (proxy.url(), proxy.port());
    drop(proxy);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = open(target, &url).await.unwrap_err();
    assert!(error.to_string().contains("cannot be reached: check the address"), "{error}");
}

#[tokio::test]
async fn a_silent_proxy_is_given_up_before_the_attempt_is() {
    for language in [ProxyLanguage::Http, ProxyLanguage::Socks5] {
        let proxy = TestProxy::start_with(language, None, ProxyManner::IsSilent).await;
        let setting = ProxySetting::Proxy(proxy.url().parse().unwrap());
        let connector = Connector::new(destination(1, 1), Transport::Tcp, &setting).unwrap();
        let error = connector.open(Duration::from_millis(600)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("gave no answer about localhost:1 within 300ms"), "{text}");
    }
}

#[tokio::test]
async fn websocket_is_a_stream_whatever_its_messages_are() {
    let (port, mut asked) = websocket_echo(Some("mqtt")).await;
    let connector =
        Connector::new(destination(1, port), Transport::WebSocket, &ProxySetting::Direct).unwrap();
    let opened = connector.open(PATIENCE).await.unwrap();
    assert_eq!(opened.transport, Transport::WebSocket);
    let bytes: Vec<u8> = (0..40_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    assert_echoes(opened.stream, &bytes).await;
    assert_eq!(asked.recv().await.unwrap(), ("/path?query".to_owned(), "mqtt".to_owned()));
}

#[tokio::test]
async fn a_server_that_does_not_speak_websocket_is_told_from_one_that_does() {
    let open = async |port| {
        let setting = ProxySetting::Direct;
        let connector = Connector::new(destination(1, port), Transport::WebSocket, &setting).unwrap();
        connector.open(Duration::from_secs(2)).await.unwrap_err().to_string()
    };
    let (port, _asked) = websocket_echo(None).await;
    assert!(open(port).await.contains("does not speak the WebSocket subprotocol mqtt"));
    let (port, _asked) = websocket_echo(Some("amqp")).await;
    assert!(open(port).await.contains("does not speak the WebSocket subprotocol mqtt"));
    for (answer, expected) in [
        (&b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"[..], "with status 404"),
        (b"220 mail.example ESMTP\r\n\r\n", "no proper answer to the WebSocket upgrade"),
        (b"", "the connection broke"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _request = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let text = open(port).await;
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn auto_takes_the_way_that_is_open_and_remembers_it() {
    let (port, _asked) = websocket_echo(Some("mqtt")).await;
    let closed = TestProxy::start_with(ProxyLanguage::Http, None, ProxyManner::RefusesPort(8883)).await;
    let setting = ProxySetting::Proxy(closed.url().parse().unwrap());
    let connector = Connector::new(destination(8883, port), Transport::Auto, &setting).unwrap();
    let opened = connector.open(PATIENCE).await.unwrap();
    assert_eq!(opened.transport, Transport::WebSocket);
    assert_echoes(opened.stream, b"over WebSocket").await;
    drop(closed);

    // TCP is open: it is taken first.
    let open =
        Connector::new(destination(echo().await, port), Transport::Auto, &ProxySetting::Direct).unwrap();
    assert_eq!(open.open(PATIENCE).await.unwrap().transport, Transport::Tcp);
    // Where WebSocket worked it is taken first, though TCP is open at the other destination.
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let connector =
        Connector::new(destination(refused, port), Transport::Auto, &ProxySetting::Direct).unwrap();
    connector.open(PATIENCE).await.unwrap();
    let elsewhere = connector.redirected(destination(echo().await, port), &ProxySetting::Direct).unwrap();
    assert_eq!(elsewhere.open(PATIENCE).await.unwrap().transport, Transport::WebSocket);
    let error = Connector::new(destination(refused, refused), Transport::Auto, &ProxySetting::Direct)
        .unwrap()
        .open(PATIENCE)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("over TCP on port") && text.contains("over WebSocket on port"), "{text}");
}
