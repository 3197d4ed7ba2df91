//! [`TestProxy`] is an HTTP CONNECT or SOCKS5 proxy on a free port of this machine. It counts its tunnels, asks for a user
//! name and a password if it is told to, and can misbehave.
//!
//! Every tunnel leads to this machine, whatever the name that the client asks for, so that no test leaves it.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The longest head of a request that the proxy reads.
const MAX_HEAD: usize = 16 * 1024;

/// The language of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyLanguage {
    /// HTTP CONNECT.
    Http,
    /// SOCKS5.
    Socks5,
}

/// The behavior of a proxy towards those who have proven themselves, or need not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyManner {
    /// It opens the tunnel.
    #[default]
    Honest,
    /// It refuses tunnels to this port, and opens all others.
    RefusesPort(u16),
    /// It refuses every tunnel: with status 403, or with reply 2.
    Refuses,
    /// It reads the first bytes and closes.
    Closes,
    /// It answers the first bytes with what no proxy says, and closes.
    TalksGarbage,
    /// It reads and never answers.
    IsSilent,
}

/// A proxy, which ends when it is dropped, with all its tunnels.
#[derive(Debug)]
pub struct TestProxy {
    port: u16,
    language: ProxyLanguage,
    targets: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// The settings of a proxy, shared by its connections.
#[derive(Clone, Debug)]
struct Rules {
    language: ProxyLanguage,
    credentials: Option<(String, String)>,
    manner: ProxyManner,
    targets: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    /// Starts a proxy that anybody may use.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(language: ProxyLanguage) -> Self {
        Self::start_with(language, None, ProxyManner::Honest).await
    }

    /// Starts a proxy that may ask for a user name and a password, and may misbehave.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start_with(
        language: ProxyLanguage,
        credentials: Option<(&str, &str)>,
        manner: ProxyManner,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("the port has a number").port();
        let targets = Arc::<Mutex<Vec<String>>>::default();
        let credentials = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let rules = Rules { language, credentials, manner, targets: Arc::clone(&targets) };
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let rules = rules.clone();
                connections.spawn(async move {
                    // The test sees the outcome at the client's end.
                    let _ended = serve(client, &rules).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, language, targets, task }
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL for clients that need no user name and no password.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_with("")
    }

    /// Returns the URL with what stands before the host: `user:password@`, percent-encoded.
    #[must_use]
    pub fn url_with(&self, user_info: &str) -> String {
        let scheme = match self.language {
            ProxyLanguage::Http => "http",
            ProxyLanguage::Socks5 => "socks5h",
        };
        format!("{scheme}://{user_info}127.0.0.1:{}", self.port)
    }

    /// Returns the targets of the tunnels that were opened, in their order: `host:port`, as the clients asked for them.
    #[must_use]
    pub fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how many tunnels were opened.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.targets().len()
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: TcpStream, rules: &Rules) -> Result<()> {
    client.set_nodelay(true)?;
    match rules.manner {
        ProxyManner::Closes => return client.read_u8().await.map(drop),
        ProxyManner::TalksGarbage => {
            client.read_u8().await?;
            return client.write_all(b"220 mail.example ESMTP\r\n").await;
        }
        ProxyManner::IsSilent => {
            while client.read(&mut [0; 1024]).await? > 0 {}
            return Ok(());
        }
        ProxyManner::Honest | ProxyManner::RefusesPort(_) | ProxyManner::Refuses => {}
    }
    let mut hub = match rules.language {
        ProxyLanguage::Http => connect_for_http(&mut client, rules).await?,
        ProxyLanguage::Socks5 => connect_for_socks(&mut client, rules).await?,
    };
    copy_bidirectional(&mut client, &mut hub).await.map(drop)
}

impl Rules {
    fn refuses(&self, port: u16) -> bool {
        match self.manner {
            ProxyManner::Refuses => true,
            ProxyManner::RefusesPort(refused) => refused == port,
            _ => false,
        }
    }

    async fn connect(&self, target: String, port: u16) -> Result<TcpStream> {
        let hub = TcpStream::connect(("127.0.0.1", port)).await?;
        hub.set_nodelay(true)?;
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).push(target);
        Ok(hub)
    }
}

async fn connect_for_http(client: &mut TcpStream, rules: &Rules) -> Result<TcpStream> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MAX_HEAD {
            return Err(invalid("the head is too long"));
        }
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).map_err(|_| invalid("the head is not UTF-8"))?;
    let mut lines = head.split("\r\n");
    let target = lines.next().and_then(|line| line.strip_prefix("CONNECT ")?.strip_suffix(" HTTP/1.1"));
    let port = target.and_then(|target| target.rsplit_once(':')?.1.parse::<u16>().ok());
    let (Some(target), Some(port)) = (target, port) else {
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
        return Err(invalid("the request is not CONNECT"));
    };
    if let Some((user, password)) = &rules.credentials {
        let expected = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
        let given = lines.filter_map(|line| line.split_once(": "));
        let is_right = given
            .filter(|(name, _)| name.eq_ignore_ascii_case("Proxy-Authorization"))
            .any(|(_, value)| value == expected);
        if !is_right {
            client
                .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n")
                .await?;
            return Err(invalid("the credentials are wrong"));
        }
    }
    if rules.refuses(port) {
        client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await?;
        return Err(invalid("the port is refused"));
    }
    match rules.connect(target.to_owned(), port).await {
        Ok(hub) => {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            Ok(hub)
        }
        Err(error) => {
            client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await?;
            Err(error)
        }
    }
}

async fn connect_for_socks(client: &mut TcpStream, rules: &Rules) -> Result<TcpStream> {
    let [version, count] = read(client).await?;
    if version != 5 {
        return Err(invalid("the greeting is not SOCKS5"));
    }
    let methods = read_sized(client, count).await?;
    let method = if rules.credentials.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        client.write_all(&[5, 0xFF]).await?;
        return Err(invalid("the client does not offer the method"));
    }
    client.write_all(&[5, method]).await?;
    if let Some((user, password)) = &rules.credentials {
        let [_version, length] = read(client).await?;
        let given_user = read_sized(client, length).await?;
        let [length] = read(client).await?;
        let given_password = read_sized(client, length).await?;
        if given_user != user.as_bytes() || given_password != password.as_bytes() {
            client.write_all(&[1, 1]).await?;
            return Err(invalid("the credentials are wrong"));
        }
        client.write_all(&[1, 0]).await?;
    }
    let [_version, _command, _reserved, address_type] = read(client).await?;
    let host = match address_type {
        1 => std::net::Ipv4Addr::from(read::<4>(client).await?).to_string(),
        4 => format!("[{}]", std::net::Ipv6Addr::from(read::<16>(client).await?)),
        3 => {
            let [length] = read(client).await?;
            String::from_utf8(read_sized(client, length).await?)
                .map_err(|_| invalid("the name is not UTF-8"))?
        }
        _ => return Err(invalid("the address has an unknown type")),
    };
    let port = u16::from_be_bytes(read(client).await?);
    let connected = if rules.refuses(port) {
        Err((2, invalid("the port is refused")))
    } else {
        rules.connect(format!("{host}:{port}"), port).await.map_err(|error| (5, error))
    };
    match connected {
        Ok(hub) => {
            client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await?;
            Ok(hub)
        }
        Err((reply, error)) => {
            client.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
            Err(error)
        }
    }
}

async fn read<const N: usize>(client: &mut TcpStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn read_sized(client: &mut TcpStream, length: u8) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(length)];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn invalid(text: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, text)
}

/// Returns the base64 text of some bytes, which only this file of the testkit needs.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            text.push(if place > chunk.len() {
                '='
            } else {
                char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize])
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[tokio::test]
    async fn tunnels_are_counted_and_lead_to_this_machine() {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = echo.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = echo.accept().await.unwrap();
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        });
        let proxy = TestProxy::start(ProxyLanguage::Http).await;
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        client.write_all(format!("CONNECT far.example:{port} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = [0; 39];
        client.read_exact(&mut answer).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"hello");
        assert_eq!((proxy.tunnels(), proxy.targets()), (1, vec![format!("far.example:{port}")]));
    }
}
