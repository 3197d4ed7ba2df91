//! This file is the seam to reqwest: it sends one request and reads one response of bounded size. No other file knows the
//! HTTP library.
//!
//! `attempts.rs` calls it and keeps the deadline. It follows no redirect, since the token is for this hub alone.

use std::error::Error as StdError;
use std::net::Ipv6Addr;

use iothub_auth::{HubAddress, Proxy, ProxySetting, client_config};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, ETAG, HeaderValue, IF_MATCH, RETRY_AFTER};
use rustls::CertificateError;
use zeroize::Zeroizing;

use crate::call::{Call, Method};
use crate::response::HttpResponse;

/// The number of bytes that are read of a refusal, which says what matters at its beginning.
const MAX_REFUSAL: usize = 64 * 1024;

/// The content type of every body sent.
const JSON: &str = "application/json; charset=utf-8";

const ERROR_CODE: &str = "iothub-errorcode";
const COMMAND_STATUS: &str = "x-ms-command-statuscode";
const ITEM_TYPE: &str = "x-ms-item-type";
const CONTINUATION: &str = "x-ms-continuation";
const REQUEST_ID: &str = "Request-Id";

#[derive(Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    proxy: Option<Proxy>,
    /// The beginning of every URL: `https://host:port`.
    base: String,
}

/// The reason why there is no response.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No program listens there.
    Refused,
    /// The host name has no address.
    Unresolved,
    /// There is no connection, for another reason.
    Unreachable,
    /// The proxy was not reached, or did not connect to the hub.
    Proxy,
    /// The certificate is signed by no CA that we trust.
    UntrustedCertificate,
    /// The certificate is for another name.
    OtherName,
    /// The certificate has expired or is not valid yet.
    CertificateTime,
    /// The other side does not speak TLS as we do.
    Handshake,
    /// The connection was lost after the request may have arrived.
    Broken,
    /// The response is larger than the call permits.
    TooLarge,
}

/// The innermost error of the library, as text: the errors around it repeat the route or say "error".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Cause(String);

impl Http {
    pub(crate) fn new(
        address: &HubAddress,
        proxy: &ProxySetting,
    ) -> Result<Self, Box<dyn StdError + Send + Sync>> {
        let tls = client_config(address.trusted_ca_file.as_deref())?;
        let host = address.connect_host();
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            .https_only(true)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("iothub-rest-service/", env!("CARGO_PKG_VERSION")));
        // Which proxy it is is decided as in all clients, and not by the HTTP library.
        let proxy = proxy.resolve(host, address.https_port)?;
        builder = match &proxy {
            Some(proxy) => builder.proxy(reqwest::Proxy::all(url_of(proxy).as_str())?),
            None => builder.no_proxy(),
        };
        let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
        Ok(Self { client: builder.build()?, proxy, base: format!("https://{host}:{}", address.https_port) })
    }

    /// Sends the call and returns its response. It may wait for ever: the caller keeps the deadline.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; whether the hub did the call is not known then.
    pub(crate) async fn exchange(
        &self,
        call: &Call,
        token: &str,
        request_id: &str,
    ) -> Result<HttpResponse, Failure> {
        let method = match call.method {
            Method::Get => reqwest::Method::GET,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Post => reqwest::Method::POST,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut authorization = HeaderValue::from_str(token).map_err(Failure::from_error)?;
        authorization.set_sensitive(true);
        let mut request = self
            .client
            .request(method, format!("{}{}", self.base, call.uri))
            .header(AUTHORIZATION, authorization)
            .header(ACCEPT, "application/json")
            .header(REQUEST_ID, request_id);
        if let Some(etag) = &call.if_match {
            request = request.header(IF_MATCH, etag);
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, JSON).body(body.clone());
        }
        let mut received = request
            .send()
            .await
            .map_err(|error| Failure::from_reqwest(error).by_way_of(self.proxy.as_ref()))?;
        let header = |name: &str| {
            let value = received.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let mut response = HttpResponse {
            status: received.status().as_u16(),
            error_code: header(ERROR_CODE),
            retry_after: header(RETRY_AFTER.as_str()),
            date: header(DATE.as_str()),
            etag: header(ETAG.as_str()),
            command_status: header(COMMAND_STATUS),
            item_type: header(ITEM_TYPE),
            continuation: received
                .headers()
                .get(CONTINUATION)
                .map(|token| String::from_utf8_lossy(token.as_bytes()).into_owned()),
            body: Vec::new(),
        };
        let success = response.is_success();
        let limit = if success { call.max_response } else { MAX_REFUSAL };
        loop {
            let chunk = match received.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(response),
                // The status and the headers of a refusal have already said most of it.
                Err(_) if !success => return Ok(response),
                Err(error) => return Err(Failure::from_reqwest(error)),
            };
            if chunk.len() <= limit - response.body.len() {
                response.body.extend_from_slice(&chunk);
            } else if success {
                let cause = Cause(format!("the answer is larger than {limit} bytes"));
                return Err(Failure { reason: Reason::TooLarge, cause });
            } else {
                return Ok(response);
            }
        }
    }
}

/// Returns the URL of a proxy with its user name and password, as the HTTP library reads it.
fn url_of(proxy: &Proxy) -> Zeroizing<String> {
    let bare = proxy.to_string();
    let Some((user_name, password)) = proxy.reveal_credentials() else { return Zeroizing::new(bare) };
    let (scheme, address) = bare.split_once("://").unwrap_or(("http", &bare));
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    Zeroizing::new(format!("{scheme}://{}:{}@{address}", encoded(user_name), encoded(password)))
}

impl Failure {
    fn from_error(error: impl StdError) -> Self {
        Self { reason: Reason::Unreachable, cause: Cause(error.to_string()) }
    }

    /// Returns the same failure, or the proxy's where it is the proxy that was not reached or did not connect.
    fn by_way_of(self, proxy: Option<&Proxy>) -> Self {
        match (proxy, self.reason) {
            (Some(proxy), Reason::Refused | Reason::Unresolved | Reason::Unreachable) => {
                Self { reason: Reason::Proxy, cause: Cause(format!("{proxy}: {}", self.cause)) }
            }
            _ => self,
        }
    }

    fn from_reqwest(error: reqwest::Error) -> Self {
        // The words of the call say better what the URL would say.
        let error = error.without_url();
        let reason = if !error.is_connect() {
            Reason::Broken
        } else if error.is_dns() {
            Reason::Unresolved
        } else {
            chain(&error).find_map(reason_of).unwrap_or(Reason::Unreachable)
        };
        let innermost = chain(&error).last().map(ToString::to_string);
        Self { reason, cause: Cause(innermost.unwrap_or_default()) }
    }
}

/// Returns the error and the errors inside it. An I/O error can hold an error that `source` does not return.
fn chain<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

/// Returns the reason that one error of the chain gives for a connection that was not made.
fn reason_of(error: &(dyn StdError + 'static)) -> Option<Reason> {
    match error.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::InvalidCertificate(certificate)) => Some(reason_of_certificate(certificate)),
        Some(_) => Some(Reason::Handshake),
        None => {
            let io = error.downcast_ref::<std::io::Error>()?;
            (io.kind() == std::io::ErrorKind::ConnectionRefused).then_some(Reason::Refused)
        }
    }
}

const fn reason_of_certificate(error: &CertificateError) -> Reason {
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Reason::OtherName
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Reason::CertificateTime,
        // An unknown issuer, a certificate that is its own issuer, a signature by another CA of the
        // same name: in all cases the right CA file is missing.
        _ => Reason::UntrustedCertificate,
    }
}
