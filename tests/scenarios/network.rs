//! A network that breaks when a test says so, between one device and its hub.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use iothub_local_hub::{LocalHub, RunningHub};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::device_client::device;

/// A network between the client and the hub, to be cut at will and to be led to another hub.
pub(crate) struct Network {
    port: u16,
    hub: Arc<AtomicU16>,
    cut: watch::Sender<u32>,
}

impl Network {
    pub(crate) async fn to(hub: &RunningHub) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, hub) =
            (listener.local_addr().unwrap().port(), Arc::new(AtomicU16::new(hub.ports().mqtts)));
        let (cut, cuts) = watch::channel(0);
        let target = Arc::clone(&hub);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                let hub = target.load(Ordering::SeqCst);
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", hub)).await else { return };
                    // Whatever is on its way in either direction is lost.
                    tokio::select! {
                        _ended = copy_bidirectional(&mut client, &mut server) => {}
                        _cut = cuts.changed() => {}
                    }
                });
            }
        });
        Self { port, hub, cut }
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// From now on connections go to this hub.
    pub(crate) fn lead_to(&self, hub: &RunningHub) {
        self.hub.store(hub.ports().mqtts, Ordering::SeqCst);
    }

    /// The device's connection string, by way of this network.
    pub(crate) fn string(&self, hub: &RunningHub) -> String {
        let string = hub.device_connection_string(&device()).unwrap();
        string.replace(&format!("MqttsPort={}", hub.ports().mqtts), &format!("MqttsPort={}", self.port))
    }
}

/// A hub that keeps its devices' keys in `state`, and nothing else, over a restart.
pub(crate) async fn start(state: &tempfile::TempDir) -> RunningHub {
    LocalHub::builder().state_dir(state.path()).device(device()).start().await.unwrap()
}
