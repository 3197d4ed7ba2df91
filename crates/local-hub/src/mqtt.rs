//! This module serves devices and modules over MQTT 3.1.1.
//!
//! `running` starts it. There is one task per connection: [`wire`] moves bytes in bulk, [`codec`] is the seam
//! to the packet library, [`admission`] lets a device in or tells it why not, [`connection`] serves it. The
//! meaning of topics is in [`topics`], [`filters`], [`property_bag`] and [`telemetry`]; [`mailbox`] holds the
//! messages that wait for the device.
//! Source: *Communicate with your IoT hub using the MQTT protocol*.

mod admission;
mod codec;
mod connection;
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

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::activity::refused;
use crate::hub::Hub;
use crate::listener;

/// Connections whose device has not been let in yet. What each may hold is bounded too, so this bounds
/// what strangers can make the hub hold.
const STRANGERS: usize = 1024;

/// Serves devices on `listener` until the hub ends.
pub(crate) async fn serve(hub: Hub, listener: TcpListener, tls: TlsAcceptor) {
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let room = {
        let hub = hub.clone();
        move |stream| {
            let (hub, strangers) = (hub.clone(), Arc::clone(&strangers));
            async move {
                match strangers.try_acquire_owned() {
                    Ok(place) => connection::run(hub, stream, place).await,
                    Err(_) => refused(
                        "connect",
                        &format_args!("{STRANGERS} other connections have not sent their CONNECT yet"),
                    )
                    .tell(),
                }
            }
        }
    };
    listener::serve("mqtts", &hub, listener, Some(tls), room).await;
}
