//! This file asks a SOCKS5 proxy for a connection (RFC 1928), with a user name and a password if there are some
//! (RFC 1929). `proxy.rs` calls it, and has the deadline.
//!
//! The proxy resolves the host name.

use std::net::IpAddr;

use iothub_auth::Proxy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

use crate::error::ProxyFailure;
use crate::stream::Io;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_NAME_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xFF;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Asks for a connection to the host and port. Afterwards the stream is that connection.
pub(crate) async fn ask(
    stream: &mut impl Io,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(), ProxyFailure> {
    let credentials = proxy.reveal_credentials();
    let greeting: &[u8] = match credentials {
        None => &[VERSION, 1, NO_AUTHENTICATION],
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, USER_NAME_AND_PASSWORD],
    };
    write(stream, greeting).await?;
    match (read(stream).await?, credentials) {
        ([VERSION, NO_AUTHENTICATION], _) => {}
        ([VERSION, USER_NAME_AND_PASSWORD], Some((user_name, password))) => {
            authenticate(stream, user_name, password).await?;
        }
        ([VERSION, NO_METHOD], _) => {
            return Err(ProxyFailure::AuthenticationRequired { given: credentials.is_some() });
        }
        _ => return Err(ProxyFailure::NotAProxy),
    }
    let mut request = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend_from_slice(&address.octets());
        }
        Err(_) => {
            request.push(NAME);
            push_with_length(&mut request, host)?;
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    write(stream, &request).await?;
    let [version, reply, _reserved, address_type] = read(stream).await?;
    if version != VERSION {
        return Err(ProxyFailure::NotAProxy);
    }
    if reply != 0 {
        return Err(ProxyFailure::Refused(described(reply)));
    }
    // The address of the proxy's end, which nobody needs.
    let length = match address_type {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(read::<1>(stream).await?[0]),
        _ => return Err(ProxyFailure::NotAProxy),
    };
    let mut address_and_port = [0; 255 + 2];
    stream.read_exact(&mut address_and_port[..length + 2]).await.map(drop).map_err(ProxyFailure::of_stream)
}

async fn authenticate(stream: &mut impl Io, user_name: &str, password: &str) -> Result<(), ProxyFailure> {
    let mut request = Zeroizing::new(Vec::with_capacity(3 + 2 * 255));
    request.push(1);
    push_with_length(&mut request, user_name)?;
    push_with_length(&mut request, password)?;
    write(stream, &request).await?;
    match read(stream).await {
        Ok([1, 0]) => Ok(()),
        Ok([1, _]) => Err(ProxyFailure::AuthenticationRequired { given: true }),
        // The proxy must close after it has refused; some close instead of refusing.
        Err(ProxyFailure::Closed(_)) => Err(ProxyFailure::AuthenticationRequired { given: true }),
        Ok(_) => Err(ProxyFailure::NotAProxy),
        Err(failure) => Err(failure),
    }
}

fn push_with_length(request: &mut Vec<u8>, text: &str) -> Result<(), ProxyFailure> {
    let length = u8::try_from(text.len()).map_err(|_| {
        ProxyFailure::Refused("that SOCKS5 carries no name of more than 255 bytes".to_owned())
    })?;
    request.push(length);
    request.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Returns the meaning of a reply (RFC 1928, section 6).
fn described(reply: u8) -> String {
    let meaning = match reply {
        1 => "general failure",
        2 => "connection not allowed by ruleset",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unassigned",
    };
    format!("status {reply} ({meaning})")
}

async fn write(stream: &mut impl Io, bytes: &[u8]) -> Result<(), ProxyFailure> {
    stream.write_all(bytes).await.map_err(ProxyFailure::of_stream)?;
    stream.flush().await.map_err(ProxyFailure::of_stream)
}

async fn read<const N: usize>(stream: &mut impl Io) -> Result<[u8; N], ProxyFailure> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(ProxyFailure::of_stream)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// Returns the client's bytes, and the outcome if the proxy answers with `answer` and closes.
    async fn asked(proxy: &str, host: &str, answer: &[u8]) -> (Vec<u8>, Result<(), ProxyFailure>) {
        let (mut own, mut other) = duplex(1024);
        other.write_all(answer).await.unwrap();
        other.shutdown().await.unwrap();
        let outcome = ask(&mut own, &proxy.parse().unwrap(), host, 8883).await;
        drop(own);
        let mut said = Vec::new();
        other.read_to_end(&mut said).await.unwrap();
        (said, outcome)
    }

    const ACCEPTED: &[u8] = &[5, 0, 5, 0, 0, 1, 1, 2, 3, 4, 0, 80];

    #[tokio::test]
    async fn hosts_go_to_the_proxy_as_they_are() {
        let (said, outcome) = asked("socks5://p", "hub", ACCEPTED).await;
        assert!(outcome.is_ok());
        assert_eq!(said, [&[5, 1, 0, 5, 1, 0, 3, 3][..], b"hub", &[0x22, 0xb3]].concat());
        let (said, _) = asked("socks5://p", "10.0.0.1", &[5, 0, 5, 0, 0, 3, 1, b'x', 0, 80]).await;
        assert_eq!(said[3..], [5, 1, 0, 1, 10, 0, 0, 1, 0x22, 0xb3]);
        let (said, outcome) = asked("socks5://p", "::1", ACCEPTED).await;
        assert_eq!((said[6], said.len()), (4, 3 + 4 + 16 + 2));
        assert!(outcome.is_ok());
    }

    #[tokio::test]
    async fn credentials_are_given_when_the_proxy_asks() {
        let answer = [&[5, 2, 1, 0][..], &ACCEPTED[2..]].concat();
        let (said, outcome) = asked("socks5://us:pw@p", "hub", &answer).await;
        assert!(outcome.is_ok());
        assert_eq!(said[..11], [5, 2, 0, 2, 1, 2, b'u', b's', 2, b'p', b'w']);
        let (said, _) = asked("socks5://us:pw@p", "hub", ACCEPTED).await;
        assert!(!said.windows(2).any(|window| window == b"pw"));
    }

    #[tokio::test]
    async fn answers_that_open_no_connection_say_why() {
        for (proxy, answer, expected) in [
            ("socks5://p", &[5, 0xFF][..], "AuthenticationRequired { given: false }"),
            ("socks5://u:p@p", &[5, 0xFF], "AuthenticationRequired { given: true }"),
            ("socks5://u:p@p", &[5, 2, 1, 1], "AuthenticationRequired { given: true }"),
            ("socks5://u:p@p", &[5, 2], "AuthenticationRequired { given: true }"),
            ("socks5://u:p@p", &[5, 2, 9, 0], "NotAProxy"),
            ("socks5://p", &[5, 2], "NotAProxy"),
            ("socks5://p", b"HTTP/1.1 400", "NotAProxy"),
            ("socks5://p", &[], "Closed(None)"),
            ("socks5://p", &[5, 0, 5, 2, 0, 1], "Refused(\"status 2 (connection not allowed by ruleset)\")"),
            ("socks5://p", &[5, 0, 5, 99, 0, 1], "Refused(\"status 99 (unassigned)\")"),
            ("socks5://p", &[5, 0, 4, 0, 0, 1], "NotAProxy"),
            ("socks5://p", &[5, 0, 5, 0, 0, 9], "NotAProxy"),
            ("socks5://p", &[5, 0, 5, 0, 0, 1, 1, 2], "Closed(None)"),
        ] {
            let (_, outcome) = asked(proxy, "hub", answer).await;
            assert_eq!(format!("{:?}", outcome.unwrap_err()), expected, "{answer:?}");
        }
        let (_, outcome) = asked("socks5://p", &"x".repeat(256), &[5, 0]).await;
        assert!(matches!(outcome, Err(ProxyFailure::Refused(_))));
    }
}
