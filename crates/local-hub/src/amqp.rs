//! This module serves back ends over AMQP 1.0: they prove themselves on `$cbs`, send cloud-to-device messages to
//! `/messages/devicebound`, learn the outcomes from `/messages/servicebound/feedback`, and read events at the
//! Event Hubs-compatible endpoint, which is here too.
//!
//! The builder starts it. Each node has a file; the transport is the crate `iothub-amqp-server`, which knows nothing
//! of IoT Hub.

mod address;
mod c2d_message;
mod cbs;
mod devicebound;
mod error;
pub(crate) mod event_message;
mod feedback;
mod management;
mod nodes;
mod readers;
mod redirect;
mod replies;
mod sasl;
mod selector;
mod worker;

use std::sync::Arc;

use self::nodes::Nodes;
use self::redirect::Listener;
use crate::hub::Hub;
use crate::listener::{self, Accepted, Port};
use iothub_amqp_server::ConnectionConfig;

/// The number of bytes of unfinished messages on one connection: room for a few of the largest size.
const MAX_PARTIAL_BYTES: usize = 1024 * 1024;

/// Serves AMQP on a port until the hub ends, and then its readers until they have the events that were
/// acknowledged.
pub(crate) async fn serve(hub: Hub, port: Port) {
    let config = Arc::new(ConnectionConfig {
        container_id: hub.config().name.clone(),
        sasl_mechanisms: sasl::mechanisms(),
        max_partial_bytes: MAX_PARTIAL_BYTES,
        ..ConnectionConfig::default()
    });
    let number = port.listener.local_addr().map_or(0, |address| address.port());
    let here = Listener { tls: port.tls.is_some(), port: number };
    let room = {
        let hub = hub.clone();
        move |Accepted { stream, permit }| {
            let nodes = Nodes::new(hub.clone(), here, permit);
            let shutdown = hub.lifecycle().amqp_shutdown().clone();
            let serving = iothub_amqp_server::serve(stream, Arc::clone(&config), nodes, shutdown);
            async move {
                if let Err(error) = serving.await {
                    tracing::debug!(%error, "an AMQP connection broke");
                }
            }
        }
    };
    listener::serve(&hub, port, room).await;
}

/// Opens the reading of selectors to the fuzz targets.
#[cfg(fuzzing)]
pub(crate) fn fuzzing_selector(text: &str) {
    drop(selector::parse(text));
}

/// Opens the reading of addresses to the fuzz targets.
#[cfg(fuzzing)]
pub(crate) fn fuzzing_address(text: &str) {
    drop(address::Node::parse(text));
    let _ = address::recipients(text).map(Iterator::count);
}
