//! [`RawReader`] reads events over TLS at the least cost to itself, so that a benchmark measures the hub: once its links
//! are attached it looks at the head of each AMQP frame and decodes none of them.

use anyhow::{Context, Result, anyhow, bail, ensure};
use iothub_auth::EventHubsConnectionString;
use iothub_testkit::amqp::{AmqpPeer, Ask, Frame};
use iothub_testkit::tls::Trust;
use tokio::io::BufReader;

const TRANSFER: u8 = 0x14;
/// The credit of each link, which is more than is ever read.
const CREDIT: u32 = 0x7fff_ffff;

pub(super) struct RawReader {
    peer: AmqpPeer,
    event_hub: String,
    frame: Frame,
}

impl RawReader {
    /// Returns a reader with an open session. It authenticates with the policy's key.
    pub(super) async fn connect(string: &EventHubsConnectionString) -> Result<Self> {
        let ca_file = string.trusted_ca_file.as_deref().context("the string names no CA file")?;
        let stream = Trust::in_file(ca_file)?.try_connect(string.port).await?;
        let event_hub = string.entity_path.clone().context("the string names no event hub")?;
        let mut peer = AmqpPeer::new(BufReader::with_capacity(256 * 1024, stream));
        let proof = format!("\0{}\0{}", string.policy, string.key.reveal());
        let code = peer.sasl("PLAIN", Some(proof.as_bytes())).await;
        ensure!(code == 0, "the hub refused a reader: SASL code {code}");
        peer.say_open().await;
        Ok(Self { peer, event_hub, frame: Frame::default() })
    }

    /// Attaches links that read all partitions from the beginning, and grants them credit.
    pub(super) async fn read_all(&mut self, partitions: u32) -> Result<()> {
        for id in 0..partitions {
            let address = format!("{}/ConsumerGroups/$Default/Partitions/{id}", self.event_hub);
            let attached = self.peer.attach_reader(Ask::all(id, id).at(&address)).await;
            attached.map_err(|(condition, why)| anyhow!("no link to {address}: {condition}: {why}"))?;
        }
        // Only now, since an event on one link would be overlooked while another link is attached.
        for id in 0..partitions {
            self.peer.credit(id, 0, CREDIT).await;
        }
        Ok(())
    }

    /// Returns the last eight bytes of the next event's body.
    pub(super) async fn event(&mut self) -> Result<[u8; 8]> {
        loop {
            self.peer.try_recv_frame_into(&mut self.frame).await?;
            let body = &self.frame.body;
            // The code of the performative stands behind two bytes of its descriptor; a heartbeat has none.
            match body.get(2) {
                Some(&TRANSFER) => {
                    return body.last_chunk().copied().context("a transfer without a body");
                }
                // Detach, end and close carry the reason as text.
                Some(0x16..=0x18) => bail!("the hub ended it: {}", String::from_utf8_lossy(body)),
                _ => {}
            }
        }
    }
}
