//! The device side over MQTT 3.1.1.
//!
//! One task per connection: [`wire`] moves bytes in bulk, [`codec`] is the seam to the packet library,
//! [`admission`] lets a device in or tells it why not, [`connection`] serves it. What a topic means is
//! in [`topics`], [`property_bag`] and [`telemetry`], what waits for the device in [`mailbox`].
//! Source: *Communicate with your IoT hub using the MQTT protocol*.

mod admission;
mod codec;
mod connection;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
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

use crate::hub::Hub;
use crate::listener::{self, Port};

/// Serves devices on a port until the hub ends.
pub(crate) async fn serve(hub: Hub, port: Port) {
    let room = {
        let hub = hub.clone();
        move |stream, place| connection::run(hub.clone(), stream, place)
    };
    listener::serve(&hub, port, room).await;
}
