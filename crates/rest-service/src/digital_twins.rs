//! This file reads and patches the digital twins of Plug and Play devices, and calls the commands of their models:
//! `/digitaltwins`.
//!
//! Source: *IoT Plug and Play service developer guide* and *Manage IoT Plug and Play digital twins*.

use iothub_models::{
    ComponentName, DeviceId, DigitalTwin, DigitalTwinPatch, DirectMethodRequest, DirectMethodResponse,
};
use serde_json::value::RawValue;

use crate::call::{Call, Method};
use crate::client::ServiceClient;
use crate::error::{Error, ErrorKind};
use crate::methods::{POLICIES, payload, to_device};
use crate::precondition::Precondition;

/// The digital twins of a hub's devices; made by [`ServiceClient::digital_twins`].
///
/// ```no_run
/// use iothub_rest_service::{DigitalTwinPatch, DirectMethodRequest, Precondition, ServiceClient};
///
/// # async fn example(client: ServiceClient) -> Result<(), Box<dyn std::error::Error>> {
/// let (device, thermostat) = ("d1".parse()?, "thermostat1".parse()?);
/// let twins = client.digital_twins();
/// let (twin, etag) = twins.get(&device).await?;
/// println!("{} is a {}", twin.id(), twin.model_id());
///
/// let patch = DigitalTwinPatch::new().add("/thermostat1/targetTemperature", 21.5);
/// twins.update(&device, &patch, Precondition::IfMatch(etag)).await?;
///
/// let report = DirectMethodRequest::new("getMaxMinReport".parse()?).with_payload("2026-11-25T00:00:00Z");
/// let response = twins.invoke_component_command(&device, &thermostat, &report).await?;
/// println!("{}: {}", response.status, response.payload);
/// # Ok(())
/// # }
/// ```
///
/// Every method fails as [`ErrorKind`] lists it, and never waits longer than the client's deadline and, for
/// a command, the time its device is allowed.
#[derive(Clone, Debug)]
pub struct DigitalTwins {
    client: ServiceClient,
}

impl DigitalTwins {
    pub(crate) const fn new(client: ServiceClient) -> Self {
        Self { client }
    }

    /// Returns the digital twin of a device, and its ETag.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if there is no such device.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn get(&self, device: &DeviceId) -> Result<(DigitalTwin, String), Error> {
        let call = call(Method::Get, device, &[], format!("get the digital twin of device {device}"))?;
        let response = self.client.send(&call).await?;
        Ok((response.read(&call)?, response.etag.unwrap_or_default()))
    }

    /// Changes the desired values of properties of the root and of components, and returns the new ETag. A device that
    /// is connected is told of the new values.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if there is no such device;
    /// [`PreconditionFailed`](ErrorKind::PreconditionFailed) if it was changed since the ETag was read: get it
    /// again. [`InvalidArgument`](ErrorKind::InvalidArgument) if the patch does not fit this digital twin; the
    /// source says why. After a [`Timeout`](ErrorKind::Timeout) or a lost connection the patch may have been
    /// applied.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the patch may be applied.
    pub async fn update(
        &self,
        device: &DeviceId,
        patch: &DigitalTwinPatch,
        precondition: Precondition,
    ) -> Result<String, Error> {
        let call = call(Method::Patch, device, &[], format!("update the digital twin of device {device}"))?;
        // Without a header there is no check; the service documents no `*` here.
        let call = match &precondition {
            Precondition::Any => call,
            Precondition::IfMatch(_) => call.only_if(&precondition)?,
        };
        Ok(self.client.send(&call.json(patch)?).await?.etag.unwrap_or_default())
    }

    /// Calls a command of the root of the device's model, and returns the device's own response, whatever its
    /// status.
    ///
    /// # Errors
    /// The errors of [`ServiceClient::invoke_method`].
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the device may do it.
    pub async fn invoke_command(
        &self,
        device: &DeviceId,
        command: &DirectMethodRequest,
    ) -> Result<DirectMethodResponse, Error> {
        let name = command.name();
        let tried = format!("invoke the command {name} of device {device}");
        self.command(device, &["commands", name.as_str()], tried, command).await
    }

    /// Calls a command of a component, and returns the device's own response, whatever its status.
    ///
    /// # Errors
    /// The errors of [`ServiceClient::invoke_method`].
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the device may do it.
    pub async fn invoke_component_command(
        &self,
        device: &DeviceId,
        component: &ComponentName,
        command: &DirectMethodRequest,
    ) -> Result<DirectMethodResponse, Error> {
        let name = command.name();
        let tried = format!("invoke the command {name} of {component} of device {device}");
        let route = ["components", component.as_str(), "commands", name.as_str()];
        self.command(device, &route, tried, command).await
    }

    async fn command(
        &self,
        device: &DeviceId,
        route: &[&str],
        tried: String,
        command: &DirectMethodRequest,
    ) -> Result<DirectMethodResponse, Error> {
        let call = call(Method::Post, device, route, tried)?;
        if matches!(command.name().as_str(), "." | "..") {
            return Err(
                call.invalid_argument("a command of dots alone cannot stand in a URL: invoke the method")
            );
        }
        let payload = payload(&call, command)?;
        let call = to_device(call, command)
            .query("connectTimeoutInSeconds", command.connect_timeout().as_secs())
            .query("responseTimeoutInSeconds", command.response_timeout().as_secs())
            .json(&payload)?;
        let response = self.client.send(&call).await?;
        let payload: Option<Box<RawValue>> =
            if response.body.is_empty() { None } else { response.read(&call)? };
        let status = response.command_status.as_deref().and_then(|status| status.trim().parse().ok());
        let status = status.ok_or_else(|| {
            let advice = "the answer does not say the status that the device gave. Is there a proxy between?";
            Error::new(ErrorKind::Protocol, call.tried.clone(), advice).about(&call)
        })?;
        let payload = payload.as_deref().map_or("null", RawValue::get);
        DirectMethodResponse::from_json(status, payload)
            .map_err(|cause| Error::unreadable(&call, &response, &cause))
    }
}

fn call(method: Method, device: &DeviceId, route: &[&str], tried: String) -> Result<Call, Error> {
    let segments: Vec<&str> =
        ["digitaltwins", device.as_str()].into_iter().chain(route.iter().copied()).collect();
    Call::new(method, &segments, POLICIES, tried).about(device.into())
}
