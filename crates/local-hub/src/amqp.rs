//! This module serves back ends over AMQP 1.0: they prove themselves on `$cbs`, send cloud-to-device messages to
//! `/messages/devicebound`, learn the outcomes from `/messages/servicebound/feedback`, and read events at the
//! Event Hubs-compatible endpoint, which is here too.
//!
//! The builder starts it, and `https` hands it the connections that come over WebSocket. Each node has a file; the transport is the crate `iothub-amqp-server`, which knows nothing
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

use iothub_amqp_server::{ConnectionConfig, ServeError};
use tokio::io::{AsyncRead, AsyncWrite};

use self::nodes::Nodes;
use self::redirect::Listener;
use crate::activity::refused;
use crate::hub::Hub;
use crate::listener::{self, Accepted, Port};
use crate::websocket::is_fault;

/// The number of bytes of unfinished messages on one connection: room for a few of the largest size.
const MAX_PARTIAL_BYTES: usize = 1024 * 1024;

/// The AMQP service as connections come to it: its settings, and the port that redirects name.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    hub: Hub,
    config: Arc<ConnectionConfig>,
    here: Listener,
}

impl Room {
    /// Creates the room of a listener: with or without TLS, at this port.
    pub(crate) fn new(hub: Hub, tls: bool, port: u16) -> Self {
        let config = Arc::new(ConnectionConfig {
            container_id: hub.config().name.clone(),
            sasl_mechanisms: sasl::mechanisms(),
            max_partial_bytes: MAX_PARTIAL_BYTES,
            ..ConnectionConfig::default()
        });
        Self { hub, config, here: Listener { tls, port } }
    }

    /// Serves one connection until it ends.
    pub(crate) fn serve<S>(
        &self,
        Accepted { stream, permit }: Accepted<S>,
    ) -> impl Future<Output = ()> + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let nodes = Nodes::new(self.hub.clone(), self.here, permit);
        let shutdown = self.hub.lifecycle().amqp_shutdown().clone();
        let serving = iothub_amqp_server::serve(stream, Arc::clone(&self.config), nodes, shutdown);
        async move {
            match serving.await {
                Err(ServeError::Stream(error)) if is_fault(&error) => refused("AMQP", &error).tell(),
                Err(error) => tracing::debug!(%error, "an AMQP connection broke"),
                Ok(_) => {}
            }
        }
    }
}

/// Serves AMQP on a port until the hub ends, and then its readers until they have the events that were
/// acknowledged.
pub(crate) async fn serve(hub: Hub, port: Port) {
    let number = port.listener.local_addr().map_or(0, |address| address.port());
    let room = Room::new(hub.clone(), port.tls.is_some(), number);
    listener::serve(&hub, port, move |accepted| room.serve(accepted)).await;
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
