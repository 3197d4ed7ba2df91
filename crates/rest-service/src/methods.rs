//! This file calls the direct methods of devices and modules: `/twins/{id}/methods`.
//!
//! Source: *Understand and invoke direct methods from IoT Hub*.

use iothub_models::{DirectMethodRequest, DirectMethodResponse, Identity};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::call::{Call, Method, in_words, route_of};
use crate::client::ServiceClient;
use crate::error::{Error, ErrorKind};

pub(crate) const POLICIES: &str = "service and iothubowner";

/// The size in bytes of the largest response that is read: the largest payload, and the document around it.
const MAX_RESPONSE: usize = 1024 * 1024;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestBody<'r> {
    method_name: &'r str,
    response_timeout_in_seconds: u64,
    connect_timeout_in_seconds: u64,
    payload: &'r RawValue,
}

#[derive(Deserialize)]
struct ResponseBody {
    status: i32,
    #[serde(default)]
    payload: Option<Box<RawValue>>,
}

impl ServiceClient {
    /// Calls a direct method of a device or a module, and returns the response of the device or module, whatever its
    /// status.
    ///
    /// ```no_run
    /// use iothub_rest_service::{DirectMethodRequest, ErrorKind, ServiceClient};
    /// use serde_json::json;
    ///
    /// # async fn example(client: ServiceClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let device = "d1".parse()?;
    /// let reboot = DirectMethodRequest::new("reboot".parse()?).with_payload(json!({"delay": 3}));
    /// match client.invoke_method(&device, &reboot).await {
    ///     Ok(response) => println!("{}: {}", response.status, response.payload),
    ///     Err(error) if error.kind() == ErrorKind::DeviceNotOnline => println!("not now: {error}"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The request says how long the hub waits for the device to connect and to respond. The deadline of the call is the
    /// client's deadline plus these two times. A call that may have reached the device is never sent again.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if there is no such device or module;
    /// [`DeviceNotOnline`](ErrorKind::DeviceNotOnline) if it is not connected, or takes no direct methods;
    /// [`NoDeviceResponse`](ErrorKind::NoDeviceResponse) if it did not respond in time: it may have done it;
    /// [`BadDeviceResponse`](ErrorKind::BadDeviceResponse) if its response is not JSON;
    /// [`Throttled`](ErrorKind::Throttled) if too many calls wait for it;
    /// [`TooLarge`](ErrorKind::TooLarge) if the payload has more than 128 KB, of which nothing is sent.
    /// After a [`Timeout`](ErrorKind::Timeout) or a lost connection the device may have done it.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the device may do it.
    pub async fn invoke_method(
        &self,
        identity: impl Into<Identity>,
        request: &DirectMethodRequest,
    ) -> Result<DirectMethodResponse, Error> {
        let identity = identity.into();
        let tried = format!("invoke the method {} on {}", request.name(), in_words(&identity));
        let mut segments = route_of("twins", &identity);
        segments.push("methods");
        let call = Call::new(Method::Post, &segments, POLICIES, tried).about(identity)?;
        let payload = payload(&call, request)?;
        let call = to_device(call, request).json(&RequestBody {
            method_name: request.name().as_str(),
            response_timeout_in_seconds: request.response_timeout().as_secs(),
            connect_timeout_in_seconds: request.connect_timeout().as_secs(),
            payload: &payload,
        })?;
        let response = self.send(&call).await?;
        let ResponseBody { status, payload } = response.read(&call)?;
        match payload {
            None => Ok(DirectMethodResponse::new(status, Value::Null)),
            Some(payload) => DirectMethodResponse::from_json(status, payload.get())
                .map_err(|cause| Error::unreadable(&call, &response, &cause)),
        }
    }
}

/// Returns the same call with a deadline that leaves the hub its time to wait for the device.
pub(crate) fn to_device(call: Call, request: &DirectMethodRequest) -> Call {
    let time = request.connect_timeout() + request.response_timeout();
    Call { max_response: MAX_RESPONSE, ..call.waiting_for_device(time) }
}

/// Returns the payload of a call as it is sent, or an error if it is larger than any hub takes.
pub(crate) fn payload(call: &Call, request: &DirectMethodRequest) -> Result<Box<RawValue>, Error> {
    let json = request.payload_json();
    let size = json.len();
    if size > DirectMethodRequest::MAX_PAYLOAD {
        let advice = format!(
            "its payload has {size} bytes, and the service takes {}: send less, or send a reference",
            DirectMethodRequest::MAX_PAYLOAD
        );
        return Err(Error::new(ErrorKind::TooLarge, call.tried.clone(), advice).about(call));
    }
    RawValue::from_string(json.into_owned())
        .map_err(|_| call.invalid_argument("its payload cannot be written as JSON"))
}
