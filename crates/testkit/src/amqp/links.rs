//! This file attaches the links of an [`AmqpPeer`] on channel 0, grants credit, sends messages and reads outcomes. The
//! messages themselves are encoded in `amqp/messages.rs`.

use fe2o3_amqp_types::definitions::{Handle, Role};
use fe2o3_amqp_types::messaging::DeliveryState;
use fe2o3_amqp_types::performatives::{Attach, Performative};

use super::{AmqpPeer, Refusal, attach, flow, refusal, transfer};

/// The bytes of a message that go into one frame, which leaves room for the transfer before them.
const CHUNK: usize = 60_000;

impl AmqpPeer {
    /// Attaches a link to a node, without waiting for an answer. With [`Role::Sender`] the peer sends.
    ///
    /// # Panics
    /// If the hub has hung up.
    pub async fn say_attach(&mut self, handle: u32, role: Role, address: &str) {
        self.send(Performative::Attach(attach(handle, role, address, address)), &[]).await;
    }

    /// Attaches a link on which the peer sends, and returns the credit that the hub grants; or the reason for which the
    /// hub refuses it.
    ///
    /// # Panics
    /// If the hub answers otherwise.
    pub async fn attach_sender(&mut self, handle: u32, address: &str) -> Result<u32, Refusal> {
        self.say_attach(handle, Role::Sender, address).await;
        self.attached(handle).await?;
        loop {
            if let Performative::Flow(flow) = self.recv().await.0
                && flow.handle == Some(Handle(handle))
            {
                return Ok(flow.link_credit.expect("a flow of a link has its credit"));
            }
        }
    }

    /// Attaches a link on which the peer receives, and grants 100 credits; or returns the reason for which the hub
    /// refuses it.
    ///
    /// # Panics
    /// If the hub answers otherwise.
    pub async fn attach_receiver(&mut self, handle: u32, address: &str) -> Result<(), Refusal> {
        self.say_attach(handle, Role::Receiver, address).await;
        self.attached(handle).await?;
        self.grant(handle, 100).await;
        Ok(())
    }

    /// Grants credit to a link that has had no delivery yet.
    ///
    /// # Panics
    /// If the hub has hung up.
    pub async fn grant(&mut self, handle: u32, credit: u32) {
        self.send(Performative::Flow(flow(Some(handle), credit)), &[]).await;
    }

    /// Takes the hub's answer to an attach: its own attach, or the reason for which it refuses. Other frames before the
    /// answer are dropped.
    ///
    /// # Panics
    /// If the hub answers otherwise.
    pub async fn attached(&mut self, handle: u32) -> Result<Attach, Refusal> {
        let attach = loop {
            if let Performative::Attach(attach) = self.recv().await.0
                && attach.handle == Handle(handle)
            {
                break attach;
            }
        };
        // A link that is about to be refused has no node on the hub's side.
        let node =
            if attach.role == Role::Receiver { attach.target.is_some() } else { attach.source.is_some() };
        if node {
            return Ok(attach);
        }
        let (kind, refusal) = self.expect_error().await;
        assert_eq!(kind, "detach");
        Err(refusal)
    }

    /// Sends a message in as many frames as it takes, and returns its delivery id.
    ///
    /// # Panics
    /// If the hub has hung up.
    pub async fn post(&mut self, handle: u32, message: &[u8]) -> u32 {
        let id = self.next_delivery;
        self.next_delivery += 1;
        let mut chunks = message.chunks(CHUNK).peekable();
        while let Some(chunk) = chunks.next() {
            let head = transfer(handle, id, chunks.peek().is_some());
            self.send(Performative::Transfer(head), chunk).await;
        }
        id
    }

    /// Returns the next outcome: the first and the last delivery that it is about, and whether they were accepted.
    ///
    /// # Panics
    /// If another frame comes than an outcome or a flow, or the outcome is not settled, or is neither accepted nor
    /// rejected.
    pub async fn outcome(&mut self) -> (u32, u32, Result<(), Refusal>) {
        loop {
            match self.recv().await.0 {
                Performative::Disposition(disposition) => {
                    assert!(disposition.settled, "{disposition:?}");
                    let outcome = match disposition.state {
                        Some(DeliveryState::Accepted(_)) => Ok(()),
                        Some(DeliveryState::Rejected(rejected)) => {
                            Err(refusal(rejected.error.expect("a reason")))
                        }
                        other => panic!("{other:?}"),
                    };
                    return (disposition.first, disposition.last.unwrap_or(disposition.first), outcome);
                }
                Performative::Flow(_) => {}
                other => panic!("no outcome: {other:?}"),
            }
        }
    }

    /// Sends a message, and returns whether it was accepted. Outcomes of earlier deliveries are dropped.
    ///
    /// # Panics
    /// As [`outcome`](Self::outcome).
    pub async fn deliver(&mut self, handle: u32, message: &[u8]) -> Result<(), Refusal> {
        let id = self.post(handle, message).await;
        loop {
            let (first, last, outcome) = self.outcome().await;
            if last < id {
                continue; // The outcome of a token, which was sent on another link.
            }
            assert_eq!((first, last), (id, id));
            return outcome;
        }
    }
}
