//! This file opens a connection to a proxy, and has the proxy connect to the hub. `http_connect.rs` and `socks5.rs` are
//! the languages that proxies speak; `connector.rs` calls it and does everything above.

use std::net::Ipv6Addr;
use std::time::Duration;

use iothub_auth::{Proxy, ProxyScheme};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::error::{ProxyError, ProxyFailure};
use crate::stream::Stream;
use crate::{http_connect, socks5};

/// The longest time that a proxy may take. It also gets at most half of the time that is left, so that the error names
/// the proxy, which is silent, and not the hub behind it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns the stream to the host and port behind the proxy.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub(crate) async fn connect(
    proxy: &Proxy,
    (host, port): (&str, u16),
    deadline: Instant,
) -> Result<Stream, ProxyError> {
    let target =
        if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let patience = PATIENCE.min(deadline.saturating_duration_since(Instant::now()) / 2);
    let asked = async {
        let mut stream = reach(proxy).await?;
        match proxy.scheme() {
            ProxyScheme::Socks5 => socks5::ask(&mut stream, proxy, host, port).await?,
            _ => http_connect::ask(&mut stream, proxy, &target).await?,
        }
        Ok(stream)
    };
    let failure = match timeout(patience, asked).await {
        Ok(Ok(stream)) => {
            tracing::debug!("the proxy {proxy} connected to {target}");
            return Ok(stream);
        }
        Ok(Err(failure)) => failure,
        Err(_) => ProxyFailure::Silent(patience),
    };
    Err(ProxyError { proxy: proxy.clone(), target, failure })
}

async fn reach(proxy: &Proxy) -> Result<Stream, ProxyFailure> {
    let tcp = TcpStream::connect((proxy.host(), proxy.port())).await.map_err(ProxyFailure::Unreachable)?;
    tcp.set_nodelay(true).map_err(ProxyFailure::Unreachable)?;
    if proxy.scheme() != ProxyScheme::Https {
        return Ok(Stream::new(tcp));
    }
    let no_tls = |error: String| ProxyFailure::Tls(std::io::Error::other(error));
    let name = ServerName::try_from(proxy.host().to_owned()).map_err(|error| no_tls(error.to_string()))?;
    // A proxy is not the hub: the CA of the hub and the certificate of the device are not for it.
    let config = iothub_auth::client_config(None).map_err(|error| no_tls(error.to_string()))?;
    let connecting = TlsConnector::from(config).connect(name, tcp);
    Ok(Stream::new(connecting.await.map_err(ProxyFailure::Tls)?))
}
