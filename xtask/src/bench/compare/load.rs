//! [`Load`] is the clients that make a hub do operations of one kind: raw senders for telemetry, and the clients of
//! this project for the rest, since their own processor time does not count.
//!
//! `compare` connects one for each measurement, and runs it to warm up, then slice by slice.

use std::future::{Future, ready};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _};
use iothub_amqp_service::{C2dMessage, C2dSender};
use iothub_models::{DeviceId, DeviceIdentity, TwinPatch};
use iothub_mqtt_device::{C2dMessages, DesiredProperties, DeviceClient, DirectMethodResponse};
use iothub_rest_service::{DirectMethodRequest, Precondition, ServiceClient};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::kind::Kind;
use crate::bench::events::Fleet;
use crate::bench::server::{DEVICE, Server};

/// The number of operations that are under way at the same time, telemetry excepted. More would not make the hub
/// busier, and a device's queue holds 50 messages.
const IN_FLIGHT: usize = 16;
/// The number of devices of [`Kind::Telemetry50`].
const DEVICES: usize = 50;
/// The number of twins that are queried, and the number of those that match.
const TWINS: usize = 1_000;
const MATCHING: usize = 100;
const QUERY: &str = "SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'";

/// The connected clients of one kind of operation.
pub(super) enum Load {
    Telemetry(Fleet),
    C2d { sender: C2dSender, device: DeviceClient, messages: C2dMessages },
    Report { device: DeviceClient },
    Patch { back_end: ServiceClient, device: DeviceClient, desired: DesiredProperties },
    Method { back_end: ServiceClient, device: DeviceClient, answering: JoinHandle<Result<()>> },
    Query { back_end: ServiceClient },
}

impl Load {
    /// Connects the clients to a hub, and creates the devices that they need.
    pub(super) async fn connect(kind: Kind, server: &Server) -> Result<Self> {
        let back_end =
            || ServiceClient::from_connection_string(server.owner_string()?).map_err(anyhow::Error::from);
        let device = async || anyhow::Ok(DeviceClient::connect(server.device_string()?).await?);
        Ok(match kind {
            Kind::Telemetry1 => Self::Telemetry(Fleet::connect(server, 1).await?),
            Kind::Telemetry50 => Self::Telemetry(Fleet::connect(server, DEVICES).await?),
            Kind::C2d => {
                let device = device().await?;
                let messages = device.c2d_messages().await?;
                let sender = C2dSender::connect(server.owner_string()?).await?;
                Self::C2d { sender, device, messages }
            }
            Kind::Report => Self::Report { device: device().await? },
            Kind::Patch => {
                let device = device().await?;
                let desired = device.desired_properties().await?;
                Self::Patch { back_end: back_end()?, device, desired }
            }
            Kind::Method => {
                let device = device().await?;
                let mut calls = device.direct_methods().await?;
                let answering = tokio::spawn(async move {
                    while let Some(call) = calls.next().await {
                        let payload = call.payload().clone();
                        call.respond(DirectMethodResponse::new(200, payload))?;
                    }
                    Ok(())
                });
                Self::Method { back_end: back_end()?, device, answering }
            }
            Kind::Query => {
                let back_end = back_end()?;
                at_once(TWINS, |number| create(&back_end, number)).await?;
                Self::Query { back_end }
            }
        })
    }

    /// Runs so many operations. Returns once all of them have ended for every client that takes part.
    pub(super) async fn run(&mut self, operations: usize) -> Result<()> {
        let id: DeviceId = DEVICE.parse()?;
        match self {
            Self::Telemetry(fleet) => fleet.push(operations).await,
            Self::C2d { sender, messages, .. } => {
                let (sender, id) = (&*sender, &id);
                let send = async |_| Ok(sender.send(id, C2dMessage::new("twenty bytes of body")).await?);
                sent_and_heard(operations, send, async || {
                    let message = messages.next().await.context("the device has stopped")?;
                    Ok(message.complete()?)
                })
                .await
            }
            Self::Report { device } => {
                let device = &*device;
                at_once(operations, async |number| {
                    device.update_reported_properties(&json!({ "number": number })).await?;
                    Ok(())
                })
                .await
            }
            Self::Patch { back_end, desired, .. } => {
                let (twins, id) = (back_end.twins(), &id);
                let send = async |number| {
                    let patch = TwinPatch::new().desired("number", number);
                    twins.patch(id, &patch, Precondition::Any).await?;
                    Ok(())
                };
                sent_and_heard(operations, send, async || {
                    desired.next().await.map(drop).context("the device has stopped")
                })
                .await
            }
            Self::Method { back_end, .. } => {
                at_once(operations, async |number| {
                    let request = DirectMethodRequest::new("echo".parse()?).with_payload(number);
                    let answer = back_end.invoke_method(&id, &request).await?;
                    ensure!(answer.payload == number, "another call's answer came");
                    Ok(())
                })
                .await
            }
            Self::Query { back_end } => {
                at_once(operations, async |_| {
                    let page = back_end.query(QUERY).page_size(100).page(None).await?;
                    ensure!(page.rows.len() == MATCHING, "{} twins match", page.rows.len());
                    Ok(())
                })
                .await
            }
        }
    }

    /// Ends all connections.
    pub(super) async fn close(self) -> Result<()> {
        match self {
            Self::Telemetry(_) | Self::Query { .. } => {}
            Self::C2d { sender, device, .. } => {
                sender.close().await?;
                device.shutdown().await?;
            }
            Self::Report { device } | Self::Patch { device, .. } => device.shutdown().await?,
            Self::Method { device, answering, .. } => {
                device.shutdown().await?;
                answering.await??;
            }
        }
        Ok(())
    }
}

/// Runs an operation so many times, with a few of them under way at the same time.
async fn at_once<F: Future<Output = Result<()>>>(
    count: usize,
    operation: impl FnMut(usize) -> F,
) -> Result<()> {
    let operations = futures_util::stream::iter(0..count).map(operation).buffer_unordered(IN_FLIGHT);
    operations.try_for_each(|()| ready(Ok(()))).await
}

/// Sends so many messages like [`at_once`], and hears as many. A message is under way until it is heard: a sender that
/// waited for the hub's answers alone would overtake the device, whose queue is then full.
async fn sent_and_heard(
    count: usize,
    send: impl AsyncFn(usize) -> Result<()>,
    mut hear: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let places = Semaphore::new(IN_FLIGHT);
    let sending = at_once(count, async |number| {
        places.acquire().await?.forget();
        send(number).await
    });
    let hearing = async {
        for _ in 0..count {
            hear().await?;
            places.add_permits(1);
        }
        Ok(())
    };
    tokio::try_join!(sending, hearing).map(drop)
}

/// Creates a device with a twin; every tenth one matches the query.
async fn create(back_end: &ServiceClient, number: usize) -> Result<()> {
    let id: DeviceId = format!("device-{number:04}").parse()?;
    back_end.devices().create(DeviceIdentity::new(id.clone())).await?;
    let plant = if number.is_multiple_of(TWINS / MATCHING) {
        "Redmond43".to_owned()
    } else {
        format!("Plant{}", number % 97)
    };
    let patch = TwinPatch::new()
        .tag("location", json!({ "region": "US", "plant": plant }))
        .tag("building", number % 50)
        .desired("telemetryInterval", 30)
        .desired("mode", "eco");
    back_end.twins().patch(&id, &patch, Precondition::Any).await?;
    Ok(())
}
