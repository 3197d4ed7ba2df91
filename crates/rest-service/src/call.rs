//! This file defines one call of the service's REST API, before it is sent: route, condition, body, and what is
//! said when it fails. It refuses ids that a URL cannot carry.

use std::borrow::Cow;
use std::time::Duration;

use iothub_models::{DeviceId, ModuleId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::error::Error;
use crate::precondition::Precondition;
use crate::target::Target;

/// The version of the REST API that is spoken, the one the official clients speak.
const API_VERSION: &str = "2021-04-12";

/// The largest answer that is read, unless the call expects more: a list of 1,000 identities takes
/// about 1.3 MB.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// All but the characters RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Put,
    Patch,
    Post,
    Delete,
}

/// The rule on whether a call whose answer was lost may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Twice does what once does, and answers the same.
    Safe,
    /// The second answer would mislead: "already exists", "not found" or "ETag differs" about what
    /// the first one did. Sent again only if the hub certainly did nothing.
    Unsafe,
}

/// One call. `Debug` leaves out the body, which may hold keys.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) uri: String,
    pub(crate) if_match: Option<String>,
    /// Headers of this call alone; the values are fit for that.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Vec<u8>>,
    /// In bytes.
    pub(crate) max_answer: usize,
    /// The time that the hub itself may wait for a device, where the answer is the device's: the call's deadline
    /// is longer by as much.
    pub(crate) device_time: Option<Duration>,
    pub(crate) repeat: Repeat,
    /// Completes "could not …".
    pub(crate) tried: String,
    pub(crate) device_id: Option<DeviceId>,
    pub(crate) module_id: Option<ModuleId>,
    /// The shared access policies that permit the call, in the words of an advice.
    pub(crate) policies: &'static str,
}

impl Call {
    /// A call to the route made of `segments`, which are percent-encoded here.
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
            max_answer: MAX_ANSWER,
            device_time: None,
            repeat: if method == Method::Get { Repeat::Safe } else { Repeat::Unsafe },
            tried,
            device_id: None,
            module_id: None,
            policies,
        }
    }

    /// A call to the route of a device or a module: `/{collection}/{id}` and, for a module,
    /// `/modules/{id}`.
    pub(crate) fn on(
        method: Method,
        collection: &str,
        target: Target<'_>,
        policies: &'static str,
        verb: &str,
    ) -> Result<Self, Error> {
        let tried = format!("{verb} {target}");
        let segments: &[&str] = match target {
            Target::Device(device) => &[collection, device.as_str()],
            Target::Module(device, module) => &[collection, device.as_str(), "modules", module.as_str()],
        };
        Self::new(method, segments, policies, tried).about(target)
    }

    /// The same call, whose errors say what it was about.
    ///
    /// The ids `.` and `..` are valid, and yet no URL can name them: every client and proxy takes
    /// them for steps in the path, encoded or not, so that the call would reach another resource.
    pub(crate) fn about(mut self, target: Target<'_>) -> Result<Self, Error> {
        let (device, module) = match target {
            Target::Device(device) => (device, None),
            Target::Module(device, module) => (device, Some(module)),
        };
        self.device_id = Some(device.clone());
        self.module_id = module.cloned();
        if [Some(device.as_str()), module.map(ModuleId::as_str)]
            .into_iter()
            .flatten()
            .any(|id| matches!(id, "." | ".."))
        {
            return Err(self.invalid_argument("an id of dots alone cannot stand in a URL: use another id"));
        }
        Ok(self)
    }

    /// An invalid argument of this call, found before anything was sent.
    pub(crate) fn invalid_argument(&self, advice: impl Into<Cow<'static, str>>) -> Error {
        Error::invalid_argument(self.tried.clone(), advice).about(self)
    }

    pub(crate) fn query(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.uri.push_str(&format!("&{name}={value}"));
        self
    }

    /// The same call, done only if the precondition holds.
    pub(crate) fn only_if(mut self, precondition: &Precondition) -> Result<Self, Error> {
        let header = precondition.header().ok_or_else(|| {
            self.invalid_argument(
                "it has no usable ETag: use one that was read from the hub, or ask for no check",
            )
        })?;
        self.if_match = Some(header);
        Ok(self)
    }

    /// The same call, which a device answers within this time.
    pub(crate) const fn answered_by_device(mut self, time: Duration) -> Self {
        self.device_time = Some(time);
        self
    }

    /// The same call with a body.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body)
            .map_err(|_| self.invalid_argument("what is to be sent cannot be written as JSON"))?;
        self.body = Some(body);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
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
            let target = Target::Module(&usable, &module);
            let error = Call::on(Method::Delete, "devices", target, "", "delete").err().unwrap();
            assert_eq!((error.device_id(), error.module_id()), (Some(&usable), Some(&module)));
        }
        assert!(Call::on(Method::Get, "devices", (&usable, &module).into(), "", "get").is_ok());
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
