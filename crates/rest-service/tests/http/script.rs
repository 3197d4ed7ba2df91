//! A scripted HTTPS server: each request gets the next answer of the script, byte for byte.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use iothub_auth::{HubAddress, ServiceConnectionString, SharedAccessKey, ring_provider};
use iothub_rest_service::{RetryPolicy, ServiceClient, ServiceClientBuilder};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Longest time any awaited step of a test may take.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What the server does with one request.
pub(crate) enum Reply {
    /// Sends these bytes and keeps the connection.
    Send(Vec<u8>),
    /// Sends these bytes and closes the connection.
    SendAndClose(Vec<u8>),
    /// Reads the request and says nothing.
    Silence,
}

/// An answer with a body, and more header lines if need be.
pub(crate) fn reply(status: u16, headers: &[&str], body: &str) -> Reply {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    Reply::Send(
        format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
            .into_bytes(),
    )
}

/// An answer with the identity of `d1`.
pub(crate) fn identity() -> Reply {
    reply(200, &["Content-Type: application/json"], r#"{"deviceId":"d1","etag":"MA=="}"#)
}

/// One request as it came.
#[derive(Debug)]
pub(crate) struct Request {
    /// The request line and the headers, names in lower case.
    pub(crate) head: Vec<String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn line(&self) -> &str {
        &self.head[0]
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head[1..].iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) ca_file: PathBuf,
    requests: Mutex<mpsc::UnboundedReceiver<Request>>,
    task: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_as("localhost", script).await
    }

    /// A server whose certificate is for `name`.
    pub(crate) async fn start_as(name: &str, script: impl IntoIterator<Item = Reply>) -> Self {
        let (tls, ca) = certificate(name);
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, ca).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, received) = mpsc::unbounded_channel();
        let script = Arc::new(Mutex::new(script.into_iter().collect::<Vec<_>>().into_iter()));
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (tls, requests, script) = (tls.clone(), requests.clone(), Arc::clone(&script));
                tokio::spawn(async move {
                    // A client that does not trust us ends the handshake, as some tests want it.
                    let Ok(stream) = tls.accept(socket).await else { return };
                    let mut stream = BufReader::new(stream);
                    while let Some(request) = read_request(&mut stream).await {
                        let reply = script.lock().await.next();
                        requests.send(request).unwrap();
                        match reply {
                            Some(Reply::Send(bytes)) => stream.write_all(&bytes).await.unwrap(),
                            Some(Reply::SendAndClose(bytes)) => {
                                stream.write_all(&bytes).await.unwrap();
                                stream.shutdown().await.unwrap();
                                return;
                            }
                            Some(Reply::Silence) => std::future::pending().await,
                            None => return,
                        }
                        stream.flush().await.unwrap();
                    }
                });
            }
        });
        Self { port, ca_file, requests: Mutex::new(received), task, _folder: folder }
    }

    pub(crate) fn credential(&self) -> ServiceConnectionString {
        let mut address = HubAddress::new("localhost");
        address.https_port = self.port;
        address.trusted_ca_file = Some(self.ca_file.clone());
        ServiceConnectionString::new(address, "iothubowner", SharedAccessKey::new("c2VjcmV0"))
    }

    /// A client that waits next to nothing between attempts.
    pub(crate) fn builder(&self) -> ServiceClientBuilder {
        let retry = RetryPolicy { initial_delay: Duration::from_millis(1), ..RetryPolicy::default() };
        ServiceClient::builder(self.credential()).retry_policy(retry)
    }

    pub(crate) fn client(&self) -> ServiceClient {
        self.builder().build().unwrap()
    }

    /// The next request that came.
    pub(crate) async fn request(&self) -> Request {
        let mut requests = self.requests.lock().await;
        tokio::time::timeout(SOON, requests.recv()).await.expect("no request came").unwrap()
    }

    /// How many requests came that were not looked at.
    pub(crate) async fn further_requests(&self) -> usize {
        self.requests.lock().await.len()
    }
}

async fn read_request(stream: &mut BufReader<impl tokio::io::AsyncRead + Unpin>) -> Option<Request> {
    let mut head: Vec<String> = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        head.push(match line.split_once(": ") {
            Some((name, value)) if !head.is_empty() => format!("{}: {value}", name.to_ascii_lowercase()),
            _ => line.to_owned(),
        });
    }
    let mut request = Request { head, body: String::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}

/// A server's TLS with a certificate for `name`, and the CA that signed it.
fn certificate(name: &str) -> (TlsAcceptor, String) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority =
        rcgen::CertifiedIssuer::self_signed(authority, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(ring_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), authority.pem())
}
