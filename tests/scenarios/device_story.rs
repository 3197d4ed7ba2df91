//! This test reads the lines of a device's log about its connection, with the filter that the samples use.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iothub_mqtt_device::{ConnectionState, DeviceClient, TelemetryMessage};
use tracing_subscriber::EnvFilter;

use crate::device_client::{reconnect, soon};
use crate::network::{Network, start};

/// The log of the client, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Writes what the device client says on this thread, and nothing of the hub, which shares the thread.
    ///
    /// The second dispatcher never gets anything. While there is only one, `tracing` asks the thread that comes to an
    /// event first whether anybody wants it, and keeps the answer for all threads; here that may be the thread of
    /// another test, which has none.
    fn open() -> (Self, (tracing::Dispatch, tracing::subscriber::DefaultGuard)) {
        let log = Self::default();
        let writer = log.clone();
        let second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("off,iothub_mqtt_device=info"))
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .finish();
        (log, (second, tracing::subscriber::set_default(subscriber)))
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

#[tokio::test]
async fn the_connection_s_story_is_one_line_for_each_turn() {
    let (log, _logged) = Log::open();
    let state = tempfile::tempdir().unwrap();
    let hub = start(&state).await;
    let network = Network::to(&hub).await;
    let builder =
        DeviceClient::builder(&network.string(&hub)).reconnect(reconnect(Duration::from_millis(200)));
    let client = soon(builder.connect()).await.unwrap();
    let mut states = client.connection_states();
    network.cut();
    let lost = async { while !matches!(states.next().await, Some(ConnectionState::Disconnected { .. })) {} };
    soon(lost).await;
    soon(client.send_telemetry(TelemetryMessage::new("back"))).await.unwrap();
    soon(client.shutdown()).await.unwrap();

    let lines = log.lines();
    let [connected, lost, again] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!(connected, "INFO device d1 on localhost is connected");
    assert!(
        lost.starts_with(
            "WARN the connection of device d1 on localhost was closed by the hub or the network: the client \
             connects again by itself; the next attempt is in "
        ),
        "{lost}"
    );
    assert_eq!(again, "INFO device d1 on localhost is connected again");
}
