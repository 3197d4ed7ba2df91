//! This file defines [`ForeignHttp`], a back end that knows nothing of our clients: it sends plain HTTPS requests with
//! tokens that it makes itself. The scenarios of the hub's HTTPS routes use it.

use std::time::Duration;

use iothub_auth::{SasToken, ServiceConnectionString};
use iothub_local_hub::{PolicyName, RunningHub};
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

/// The longest time to wait for one response.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A back end of one hub.
pub(crate) struct ForeignHttp {
    client: Client,
    base: String,
    /// The time at the hub, from which tokens are valid.
    now: Timestamp,
    strings: Vec<(PolicyName, ServiceConnectionString)>,
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: StatusCode,
    pub(crate) error_code: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) item_type: Option<String>,
    pub(crate) continuation: Option<String>,
    pub(crate) headers: HeaderMap,
    /// The body as text.
    pub(crate) text: String,
    /// The body as JSON, or null if it is empty.
    pub(crate) body: Value,
}

impl ForeignHttp {
    pub(crate) fn new(hub: &RunningHub) -> Self {
        let tls = iothub_auth::client_config(Some(hub.ca_file())).unwrap();
        let client = Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            .timeout(SOON)
            .no_proxy()
            .build()
            .unwrap();
        let strings = PolicyName::ALL.map(|name| (name, hub.connection_string(name).parse().unwrap()));
        Self {
            client,
            base: format!("https://localhost:{}", hub.ports().https),
            now: hub.clock().now(),
            strings: strings.into(),
        }
    }

    /// Returns a token of a policy, for the hub as a whole.
    pub(crate) fn token(&self, policy: PolicyName) -> String {
        self.token_for("localhost", policy)
    }

    /// Returns a token of a policy for one resource.
    pub(crate) fn token_for(&self, resource: &str, policy: PolicyName) -> String {
        let string = &self.strings.iter().find(|(name, _)| *name == policy).unwrap().1;
        let hour = Duration::from_secs(3600);
        let token = SasToken::sign(resource, &string.key, self.now, hour, Some(policy.as_str()));
        token.unwrap().reveal().to_owned()
    }

    /// Returns a request without a token. The API version is added where the path has no query.
    pub(crate) fn bare(&self, method: &Method, path: &str) -> RequestBuilder {
        let version = if path.contains('?') { "" } else { "?api-version=2021-04-12" };
        self.client.request(method.clone(), format!("{}{path}{version}", self.base))
    }

    /// Returns a request with a token of the policy `iothubowner`.
    pub(crate) fn owner(&self, method: &Method, path: &str) -> RequestBuilder {
        self.bare(method, path).header("Authorization", self.token(PolicyName::IotHubOwner))
    }

    pub(crate) async fn get(&self, path: &str) -> HttpResponse {
        exchange(self.owner(&Method::GET, path)).await
    }

    pub(crate) async fn put(
        &self,
        path: &str,
        if_match: Option<&str>,
        body: impl Into<String>,
    ) -> HttpResponse {
        self.write(&Method::PUT, path, if_match, body.into()).await
    }

    pub(crate) async fn patch(
        &self,
        path: &str,
        if_match: Option<&str>,
        body: impl Into<String>,
    ) -> HttpResponse {
        self.write(&Method::PATCH, path, if_match, body.into()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<String>) -> HttpResponse {
        self.write(&Method::POST, path, None, body.into()).await
    }

    async fn write(&self, method: &Method, path: &str, if_match: Option<&str>, body: String) -> HttpResponse {
        let request = self.owner(method, path).header("Content-Type", "application/json; charset=utf-8");
        exchange(with_if_match(request, if_match).body(body)).await
    }

    /// Returns a page of a query, asked for with these headers.
    pub(crate) async fn query(&self, text: &str, headers: &[(&str, &str)]) -> HttpResponse {
        let request = self.owner(&Method::POST, "/devices/query").header("Content-Type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        exchange(request.body(serde_json::json!({ "query": text }).to_string())).await
    }

    pub(crate) async fn delete(&self, path: &str, if_match: Option<&str>) -> HttpResponse {
        exchange(with_if_match(self.owner(&Method::DELETE, path), if_match)).await
    }
}

fn with_if_match(request: RequestBuilder, if_match: Option<&str>) -> RequestBuilder {
    match if_match {
        Some(etag) => request.header("If-Match", etag),
        None => request,
    }
}

/// Sends a request and returns the whole response.
pub(crate) async fn exchange(request: RequestBuilder) -> HttpResponse {
    let response = request.send().await.unwrap();
    let header = |name: &str| header(&response, name);
    let (error_code, content_type, etag) =
        (header("iothub-errorcode"), header("content-type"), header("etag"));
    let (item_type, continuation) = (header("x-ms-item-type"), header("x-ms-continuation"));
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
    HttpResponse { status, error_code, content_type, etag, item_type, continuation, headers, text, body }
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

impl HttpResponse {
    /// Checks that this is the refusal of a direct method with that code, and returns its text and the timeout that it
    /// names.
    pub(crate) fn call_refusal(&self, number: u32, name: &str) -> (String, Option<String>) {
        assert_eq!(u32::from(self.status.as_u16()), number / 1000, "{self:?}");
        assert_eq!(self.error_code.as_deref(), Some(name), "{self:?}");
        assert_eq!(self.content_type.as_deref(), Some("application/json; charset=utf-8"));
        assert_eq!(self.body["ExceptionMessage"], "", "{self:?}");
        let inner: Value = serde_json::from_str(self.body["Message"].as_str().unwrap()).unwrap();
        assert_eq!(inner["errorCode"], number, "{self:?}");
        assert!(inner["timestampUtc"].as_str().unwrap().parse::<Timestamp>().is_ok(), "{self:?}");
        let (id, _) = inner["trackingId"].as_str().unwrap().split_once("-G:0-TimeStamp:").unwrap();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{self:?}");
        let timeout = inner["info"].get("timeout").map(|timeout| timeout.as_str().unwrap().to_owned());
        (inner["message"].as_str().unwrap().to_owned(), timeout)
    }

    /// Checks that this is a refusal with that code, in every place where official clients look, and returns the text
    /// after the code.
    pub(crate) fn refusal(&self, number: u32, name: &str) -> String {
        assert_eq!(u32::from(self.status.as_u16()), number / 1000, "{self:?}");
        assert_eq!(self.error_code.as_deref(), Some(name), "{self:?}");
        assert_eq!(self.content_type.as_deref(), Some("application/json; charset=utf-8"));
        let message = self.body["Message"].as_str().unwrap();
        let text = message.strip_prefix(&format!("ErrorCode:{name};")).unwrap_or_else(|| panic!("{self:?}"));
        let tracking = self.body["ExceptionMessage"].as_str().unwrap();
        let id = tracking.strip_prefix("Tracking ID:").and_then(|rest| rest.split_once("-G:0-TimeStamp:"));
        let (id, time) = id.unwrap_or_else(|| panic!("{tracking}"));
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{tracking}");
        assert!(jiff::civil::DateTime::strptime("%m/%d/%Y %H:%M:%S", time).is_ok(), "{tracking}");
        assert_eq!(self.body.as_object().unwrap().len(), 2, "{self:?}");
        text.to_owned()
    }
}
