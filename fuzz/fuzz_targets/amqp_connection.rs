//! Gives any bytes to the AMQP server as a whole connection. It answers or closes, and never panics.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use iothub_amqp_server::{
    Accept, AmqpError, AttachRequest, AttachVerdict, ConnectionConfig, ConnectionEnd, ConnectionHandle,
    ConnectionHandler, Credit, Delivery, Disposition, LinkId, Links, Outcome, RemoteOpen, SaslInit,
    SaslVerdict, SentDelivery, serve,
};
use iothub_testkit::Wire;
use iothub_testkit::amqp::AMQP;
use libfuzzer_sys::fuzz_target;
use tokio_util::sync::CancellationToken;

/// More than any wait of the server, on the paused clock.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Takes every link and every message, and reads what it can.
struct Everything;

impl ConnectionHandler for Everything {
    fn on_sasl(&mut self, _: SaslInit) -> SaslVerdict {
        SaslVerdict::Accept
    }
    fn on_open(&mut self, _: RemoteOpen, _: &ConnectionHandle) -> Result<(), AmqpError> {
        Ok(())
    }
    fn on_attach(&mut self, _: AttachRequest, _: &mut Links<'_>) -> AttachVerdict {
        AttachVerdict::Accept(Accept::default())
    }
    fn on_message(&mut self, _: LinkId, delivery: Delivery, _: &mut Links<'_>) -> Disposition {
        let _message = delivery.decode();
        Outcome::Accepted.into()
    }
    fn on_outcome(&mut self, _: LinkId, sent: SentDelivery, _: &mut Links<'_>) -> Disposition {
        sent.outcome.into()
    }
    fn on_credit(&mut self, _: LinkId, _: Credit, _: &mut Links<'_>) {}
    fn on_detach(&mut self, _: LinkId, _: Option<&AmqpError>, _: &mut Links<'_>) {}
    fn on_closed(&mut self, _: &ConnectionEnd) {}
}

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O can be built").block_on(async {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let config = Arc::new(ConnectionConfig::default());
        let serving = tokio::spawn(serve(server, config, Everything, CancellationToken::new()));
        let mut wire = Wire::new(client).with_patience(PATIENCE);
        // The header is given, so that the fuzzer need not find it. The server may hang up before it has read all.
        let _written = wire.try_write(AMQP).await;
        let _written = wire.try_write(bytes).await;
        let _written = wire.try_shutdown().await;
        wire.read_to_end().await;
        serving.await.expect("the connection's task does not panic").ok();
    });
});
