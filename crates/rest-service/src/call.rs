//! One call of the service's REST API, before it is sent: route, condition, body, and what is said
//! when it fails. Refuses ids that a URL cannot carry.

use iothub_models::DeviceId;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::Error;

/// The version of the REST API that is spoken, the one the official clients speak.
const API_VERSION: &str = "2021-04-12";

/// All but the characters RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Put,
    Delete,
}

/// Whether a call whose answer was lost may be sent again.
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
    pub(crate) target: String,
    pub(crate) if_match: Option<String>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) repeat: Repeat,
    /// Completes "could not …".
    pub(crate) tried: String,
    pub(crate) device_id: Option<DeviceId>,
    /// The shared access policies that permit the call, in the words of an advice.
    pub(crate) policies: &'static str,
}

impl Call {
    /// A call to the route made of `segments`, which are percent-encoded here.
    pub(crate) fn new(method: Method, segments: &[&str], policies: &'static str, tried: String) -> Self {
        let mut target = String::new();
        for segment in segments {
            target.push('/');
            target.extend(utf8_percent_encode(segment, RESERVED));
        }
        target.push_str("?api-version=");
        target.push_str(API_VERSION);
        let repeat = if method == Method::Get { Repeat::Safe } else { Repeat::Unsafe };
        Self { method, target, if_match: None, body: None, repeat, tried, device_id: None, policies }
    }

    /// A call about one device: `/{collection}/{id}`.
    ///
    /// The ids `.` and `..` are valid, and yet no URL can name them: every client and proxy takes
    /// them for steps in the path, encoded or not, so that the call would reach another resource.
    pub(crate) fn on_device(
        method: Method,
        collection: &str,
        id: &DeviceId,
        policies: &'static str,
        verb: &str,
    ) -> Result<Self, Error> {
        let tried = format!("{verb} device {id}");
        if matches!(id.as_str(), "." | "..") {
            let advice = "an id of dots alone cannot stand in a URL: use another id";
            return Err(Error::invalid_argument(tried, advice).about(id));
        }
        let mut call = Self::new(method, &[collection, id.as_str()], policies, tried);
        call.device_id = Some(id.clone());
        Ok(call)
    }

    /// An invalid argument of this call, found before anything was sent.
    pub(crate) fn invalid_argument(&self, advice: impl Into<std::borrow::Cow<'static, str>>) -> Error {
        let error = Error::invalid_argument(self.tried.clone(), advice);
        match &self.device_id {
            Some(id) => error.about(id),
            None => error,
        }
    }

    pub(crate) fn query(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.target.push_str(&format!("&{name}={value}"));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_an_id_stays_in_its_segment() {
        let id: DeviceId = "Az09-:.+%_#*?!(),=@;$'".parse().unwrap();
        let call = Call::on_device(Method::Get, "devices", &id, "", "get").unwrap();
        assert_eq!(
            call.target,
            "/devices/Az09-%3A.%2B%25_%23%2A%3F%21%28%29%2C%3D%40%3B%24%27?api-version=2021-04-12"
        );
    }

    #[test]
    fn ids_that_a_url_would_swallow_are_refused() {
        for id in [".", ".."] {
            let id: DeviceId = id.parse().unwrap();
            let error = Call::on_device(Method::Delete, "devices", &id, "", "delete").err().unwrap();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument);
            assert_eq!(error.device_id(), Some(&id));
        }
        assert!(Call::on_device(Method::Get, "devices", &"...".parse().unwrap(), "", "get").is_ok());
    }

    #[test]
    fn only_reading_may_be_repeated_blindly() {
        for (method, repeat) in
            [(Method::Get, Repeat::Safe), (Method::Put, Repeat::Unsafe), (Method::Delete, Repeat::Unsafe)]
        {
            assert_eq!(Call::new(method, &["devices"], "", String::new()).repeat, repeat);
        }
    }
}
