//! These tests settle deliveries later than their callbacks: outcomes that the peer told, which the handler answers with
//! [`Disposition::Later`](iothub_amqp_server::Disposition::Later).

use fe2o3_amqp_types::{
    definitions::{Handle, ReceiverSettleMode, Role},
    messaging::{Accepted, DeliveryState},
    performatives::*,
};
use iothub_amqp_server::{DeliveryId, LinkId, Outcome};
use iothub_testkit::amqp::attach;

use crate::{
    nodes::Event,
    peer::{Peer, config, flow, flow_fields},
    sending::{disposition, outcome},
};

const ACCEPTED: DeliveryState = DeliveryState::Accepted(Accepted {});

impl Peer {
    /// Attaches a link on which the peer settles second, and takes `count` messages.
    async fn receive_second(&mut self, handle: u32, source: &str, count: u32) {
        self.feed(count as usize, 10);
        let mut ask = attach(handle, Role::Receiver, source, "/us");
        ask.rcv_settle_mode = ReceiverSettleMode::Second;
        self.send(0, Performative::Attach(ask)).await;
        let Performative::Attach(_) = self.recv().await else { panic!("no attach") };
        self.send(0, flow(Some(handle), count)).await;
        for _ in 0..count {
            self.recv_transfer().await;
        }
    }

    /// Tells an outcome without settling, and returns the delivery as the handler heard of it.
    async fn tell(&mut self, delivery: u32) -> (LinkId, DeliveryId) {
        self.send(0, disposition(delivery, None, false, Some(ACCEPTED))).await;
        let (link, sent) = self.event(outcome).await;
        assert!(!sent.settled);
        (link, sent.id)
    }

    /// Checks that nothing waits to be read: the answer to a request comes next.
    async fn hears_nothing(&mut self) {
        let mut echo = flow_fields(None, 0);
        echo.echo = true;
        self.send(0, Performative::Flow(echo)).await;
        let next = self.recv().await;
        assert!(matches!(next, Performative::Flow(_)), "{next:?}");
    }
}

fn settled(answer: &Disposition) -> (u32, bool) {
    assert_eq!((&answer.role, &answer.state), (&Role::Sender, &Some(ACCEPTED)));
    (answer.first, answer.settled)
}

#[tokio::test(start_paused = true)]
async fn the_outcome_goes_back_only_when_it_is_settled_and_only_once() {
    let mut peer = Peer::open().await;
    peer.receive_second(0, "/feed/later", 2).await;
    let (link, first) = peer.tell(0).await;
    let (_, second) = peer.tell(1).await;
    peer.hears_nothing().await;
    // The order is that of the settlements.
    peer.handle().settle(link, second, Outcome::Accepted);
    assert_eq!(settled(&peer.recv_disposition().await), (1, true));
    peer.handle().settle(link, second, Outcome::Released);
    peer.hears_nothing().await;
    peer.handle().settle(link, first, Outcome::Accepted);
    assert_eq!(settled(&peer.recv_disposition().await), (0, true));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_later_callback_can_settle_too() {
    let mut peer = Peer::open().await;
    peer.receive_second(0, "/feed/hold", 1).await;
    peer.tell(0).await;
    peer.hears_nothing().await;
    // The handler settles when it is offered credit.
    let mut grant = flow_fields(Some(0), 1);
    grant.delivery_count = Some(1);
    peer.send(0, Performative::Flow(grant)).await;
    assert_eq!(settled(&peer.recv_disposition().await), (0, true));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn deliveries_that_wait_for_their_settlement_count_as_unsettled() {
    let mut config = config();
    config.max_unsettled = 2;
    let mut peer = Peer::open_with(config, 1 << 20).await;
    peer.receive_second(0, "/feed/later", 2).await;
    peer.feed(1, 10);
    let mut grant = flow_fields(Some(0), 5);
    grant.delivery_count = Some(2);
    peer.send(0, Performative::Flow(grant)).await;
    let (link, first) = peer.tell(0).await;
    peer.hears_nothing().await;
    assert_eq!(peer.fed(), 1);
    peer.handle().settle(link, first, Outcome::Accepted);
    assert_eq!(settled(&peer.recv_disposition().await), (0, true));
    assert_eq!(peer.recv_transfer().await.0.delivery_id, Some(2));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_settles_first_hears_nothing_of_a_later_settlement() {
    let mut peer = Peer::open().await;
    peer.receive_second(0, "/feed/later", 2).await;
    peer.send(0, disposition(0, None, true, Some(ACCEPTED))).await;
    let (link, sent) = peer.event(outcome).await;
    assert!(sent.settled);
    peer.handle().settle(link, sent.id, Outcome::Accepted);
    peer.hears_nothing().await;
    // A peer that does not wait for the answer settles by itself; the handler does not hear of it again.
    let (_, second) = peer.tell(1).await;
    peer.send(0, disposition(1, None, true, Some(ACCEPTED))).await;
    peer.hears_nothing().await;
    peer.handle().settle(link, second, Outcome::Accepted);
    peer.hears_nothing().await;
    assert!(std::iter::from_fn(|| peer.events.try_recv().ok()).all(|event| outcome(event).is_none()));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_settlement_after_its_link_does_nothing_to_the_next_link_on_the_handle() {
    let mut peer = Peer::open().await;
    peer.receive_second(0, "/feed/later", 1).await;
    let (link, id) = peer.tell(0).await;
    let detach = Detach { handle: Handle(0), closed: true, error: None };
    peer.send(0, Performative::Detach(detach)).await;
    let Performative::Detach(_) = peer.recv().await else { panic!("no detach") };
    peer.event(|event| matches!(event, Event::Detach(None)).then_some(())).await;
    peer.attach_receiver(0, "/feed/later", 0).await;
    peer.handle().settle(link, id, Outcome::Accepted);
    peer.hears_nothing().await;
    assert!(!peer.handle().is_closed());
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_settlement_after_its_connection_is_ignored() {
    let mut peer = Peer::open().await;
    peer.receive_second(0, "/feed/later", 1).await;
    let (link, id) = peer.tell(0).await;
    let handle = peer.handle();
    peer.vanish().await;
    assert!(handle.is_closed());
    handle.settle(link, id, Outcome::Accepted);
}
