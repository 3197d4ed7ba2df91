//! Any bytes as a whole connection: answered or closed, never a panic.
#![no_main]

use std::sync::Arc;

use iothub_amqp_server::{
    Accept, AmqpError, AttachRequest, AttachVerdict, ConnectionConfig, ConnectionEnd, ConnectionHandle,
    ConnectionHandler, Credit, Delivery, Disposition, LinkId, Links, Outcome, RemoteOpen, SaslInit, SaslVerdict,
    SentDelivery, serve,
};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

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
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let config = Arc::new(ConnectionConfig::default());
        let serving = tokio::spawn(serve(server, config, Everything, CancellationToken::new()));
        let input = bytes.to_vec();
        let exchange = async move {
            // The header is given, so that the fuzzer need not find it.
            let _written = client.write_all(b"AMQP\x00\x01\x00\x00").await;
            let _written = client.write_all(&input).await;
            let _written = client.shutdown().await;
            let mut sink = [0; 4096];
            while client.read(&mut sink).await.is_ok_and(|read| read > 0) {}
        };
        exchange.await;
        serving.await.expect("the connection's task does not panic").ok();
    });
});
