//! This module serves devices and modules over MQTT 3.1.1.
//!
//! The builder starts it, and `https` hands it the connections that come over WebSocket. There is one task per connection: [`wire`] moves bytes in bulk, [`codec`] is the seam
//! to the packet library, [`admission`] lets a device in or tells it why not, [`connection`] serves it. The
//! meaning of topics is in [`topics`], [`filters`], [`property_bag`] and [`telemetry`]; [`mailbox`] holds the
//! messages that wait for the device.
//! Source: *Communicate with your IoT hub using the MQTT protocol*.

mod admission;
mod answers;
mod codec;
mod connection;
mod ended;
mod filters;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
#[cfg(test)]
mod log_tests;
mod mailbox;
mod method;
mod property_bag;
mod telemetry;
#[cfg(test)]
mod test_peer;
mod topics;
mod twin;
mod user_name;
mod wire;

pub(crate) use self::connection::run;
use crate::hub::Hub;
use crate::listener::{self, Port};

/// Serves devices on a port until the hub ends.
pub(crate) async fn serve(hub: Hub, port: Port) {
    let room = {
        let hub = hub.clone();
        move |accepted| connection::run(hub.clone(), accepted)
    };
    listener::serve(&hub, port, room).await;
}
