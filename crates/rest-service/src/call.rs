//! This file defines [`Call`], one call of the service's REST API before it is sent: its route, condition and body, and
//! the words that describe it in an error.
//!
//! The file of each resource makes calls, and `attempts.rs` sends them. Ids that a URL cannot carry are refused here.

use std::borrow::Cow;
use std::time::Duration;

use iothub_models::{Identity, ModuleId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::error::Error;
use crate::precondition::Precondition;

/// The version of the REST API that this client speaks; the official clients speak the same one.
const API_VERSION: &str = "2021-04-12";

/// The size in bytes of the largest response that is read, unless the call expects more: a list of 1,000 identities
/// takes about 1.3 MB.
const MAX_RESPONSE: usize = 8 * 1024 * 1024;

/// The characters that are percent-encoded: all except those that RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Put,
    Patch,
    Post,
    Delete,
}

/// The rule on whether a call may be sent again after its response was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Two calls have the same effect as one, and get the same response.
    Safe,
    /// The second response would mislead: it would say "already exists", "not found" or "ETag differs" because of the
    /// effect of the first call. Such a call is sent again only if the hub certainly did nothing.
    Unsafe,
}

/// One call. It has no `Debug`, since its body may hold keys.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// The path and the query.
    pub(crate) uri: String,
    pub(crate) if_match: Option<String>,
    /// The headers of this call alone, with values that are valid in a header.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Vec<u8>>,
    /// The size in bytes of the largest response that is read.
    pub(crate) max_response: usize,
    /// The time that the hub itself may wait for a device, if it is the device that responds. The deadline of the call
    /// is longer by this time.
    pub(crate) device_time: Option<Duration>,
    pub(crate) repeat: Repeat,
    /// The words that complete "could not …".
    pub(crate) tried: String,
    /// The device or module that the call is about, if there is one.
    pub(crate) identity: Option<Identity>,
    /// The shared access policies that permit the call, in the words of an advice.
    pub(crate) policies: &'static str,
}

impl Call {
    /// Returns a call to the route made of `segments`, which it percent-encodes.
    pub(crate) fn new(method: Method, segments: &[&str], policies: &'static str, tried: String) -> Self {
        let mut uri = String::new();
        for segment in segments {
            uri.push('/');
            uri.extend(utf8_percent_encode(segment, RESERVED));
        }
        uri.push_str("?api-version=");
        uri.push_str(API_VERSION);
        Self {
            method,
            uri,
            if_match: None,
            headers: Vec::new(),
            body: None,
            max_response: MAX_RESPONSE,
            device_time: None,
            repeat: if method == Method::Get { Repeat::Safe } else { Repeat::Unsafe },
            tried,
            identity: None,
            policies,
        }
    }

    /// Returns a call to the route of a device, `/{collection}/{device}`, or of a module,
    /// `/{collection}/{device}/modules/{module}`.
    pub(crate) fn on(
        method: Method,
        collection: &str,
        identity: Identity,
        policies: &'static str,
        verb: &str,
    ) -> Result<Self, Error> {
        let tried = format!("{verb} {}", in_words(&identity));
        let segments = route_of(collection, &identity);
        Self::new(method, &segments, policies, tried).about(identity)
    }

    /// Returns the same call, whose errors name the device or module.
    ///
    /// The ids `.` and `..` are valid, but no URL can contain them: every client and proxy takes them for steps in the
    /// path, encoded or not, so that the call would reach another resource.
    pub(crate) fn about(mut self, identity: Identity) -> Result<Self, Error> {
        let ids = [Some(identity.device.as_str()), identity.module.as_ref().map(ModuleId::as_str)];
        let has_dots_alone = ids.into_iter().flatten().any(|id| matches!(id, "." | ".."));
        self.identity = Some(identity);
        if has_dots_alone {
            return Err(self.invalid_argument("an id of dots alone cannot stand in a URL: use another id"));
        }
        Ok(self)
    }

    /// Returns the error of an invalid argument of this call, found before anything was sent.
    pub(crate) fn invalid_argument(&self, advice: impl Into<Cow<'static, str>>) -> Error {
        Error::invalid_argument(self.tried.clone(), advice).about(self)
    }

    pub(crate) fn query(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.uri.push_str(&format!("&{name}={value}"));
        self
    }

    /// Returns the same call, which the hub carries out only if the precondition holds.
    pub(crate) fn only_if(mut self, precondition: &Precondition) -> Result<Self, Error> {
        let header = precondition.header().ok_or_else(|| {
            self.invalid_argument(
                "it has no usable ETag: use one that was read from the hub, or ask for no check",
            )
        })?;
        self.if_match = Some(header);
        Ok(self)
    }

    /// Returns the same call, to which a device responds within this time.
    pub(crate) const fn waiting_for_device(mut self, time: Duration) -> Self {
        self.device_time = Some(time);
        self
    }

    /// Returns the same call with a body.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body)
            .map_err(|_| self.invalid_argument("what is to be sent cannot be written as JSON"))?;
        self.body = Some(body);
        Ok(self)
    }
}

/// Returns the segments of the route of a device or a module.
pub(crate) fn route_of<'i>(collection: &'i str, identity: &'i Identity) -> Vec<&'i str> {
    let mut segments = vec![collection, identity.device.as_str()];
    if let Some(module) = &identity.module {
        segments.extend(["modules", module.as_str()]);
    }
    segments
}

/// Returns how an error names a device, "device my-device", or a module, "module camera of device my-device".
pub(crate) fn in_words(identity: &Identity) -> String {
    match &identity.module {
        None => format!("device {}", identity.device),
        Some(module) => format!("module {module} of device {}", identity.device),
    }
}

#[cfg(test)]
mod tests {
    use iothub_models::DeviceId;

    use super::*;

    #[test]
    fn every_character_of_an_id_stays_in_its_segment() {
        let id: DeviceId = "Az09-:.+%_#*?!(),=@$'".parse().unwrap();
        let call = Call::on(Method::Get, "devices", (&id).into(), "", "get").unwrap();
        assert_eq!(
            call.uri,
            "/devices/Az09-%3A.%2B%25_%23%2A%3F%21%28%29%2C%3D%40%24%27?api-version=2021-04-12"
        );
        let (device, module) = ("d#1".parse().unwrap(), "$edgeAgent".parse().unwrap());
        let call = Call::on(Method::Get, "twins", (&device, &module).into(), "", "get").unwrap();
        assert_eq!(call.uri, "/twins/d%231/modules/%24edgeAgent?api-version=2021-04-12");
    }

    #[test]
    fn ids_that_a_url_would_swallow_are_refused() {
        let (usable, module) = ("...".parse().unwrap(), "...".parse().unwrap());
        for dots in [".", ".."] {
            let id: DeviceId = dots.parse().unwrap();
            let error = Call::on(Method::Delete, "devices", (&id).into(), "", "delete").err().unwrap();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument);
            assert_eq!(error.device_id(), Some(&id));
            let module: ModuleId = dots.parse().unwrap();
            let identity = (&usable, &module).into();
            let error = Call::on(Method::Delete, "devices", identity, "", "delete").err().unwrap();
            assert_eq!((error.device_id(), error.module_id()), (Some(&usable), Some(&module)));
        }
        assert!(Call::on(Method::Get, "devices", (&usable, &module).into(), "", "get").is_ok());
    }

    #[test]
    fn an_error_names_the_device_or_the_module() {
        let (device, module): (DeviceId, ModuleId) =
            ("my-device".parse().unwrap(), "camera".parse().unwrap());
        assert_eq!(in_words(&Identity::from(&device)), "device my-device");
        assert_eq!(in_words(&Identity::from((&device, &module))), "module camera of device my-device");
    }

    #[test]
    fn only_reading_may_be_repeated_blindly() {
        for (method, repeat) in [
            (Method::Get, Repeat::Safe),
            (Method::Put, Repeat::Unsafe),
            (Method::Patch, Repeat::Unsafe),
            (Method::Post, Repeat::Unsafe),
            (Method::Delete, Repeat::Unsafe),
        ] {
            assert_eq!(Call::new(method, &["devices"], "", String::new()).repeat, repeat);
        }
    }
}
