//! The connection's state, without any I/O: bytes in, callbacks, bytes out.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    config::ConnectionConfig,
    error::AmqpError,
    handle::ConnectionHandle,
    handler::{DeliveryId, LinkId, Outcome},
    links::{SendError, SendOptions},
};

/// One connection's state.
#[derive(Debug)]
pub(crate) struct Protocol {
    config: Arc<ConnectionConfig>,
    handle: ConnectionHandle,
}

impl Protocol {
    pub(crate) fn handle(&self) -> &ConnectionHandle {
        &self.handle
    }
    pub(crate) fn config(&self) -> &ConnectionConfig {
        &self.config
    }
    pub(crate) fn credit(&self, _link: LinkId) -> u32 {
        0
    }
    pub(crate) fn send(&mut self, _: LinkId, _: &[u8], _: SendOptions) -> Result<(), SendError> {
        Err(SendError::NotAttached)
    }
    pub(crate) fn enqueue(&mut self, _: LinkId, _: Bytes, _: SendOptions) -> Result<(), SendError> {
        Err(SendError::NotAttached)
    }
    pub(crate) fn settle(&mut self, _: LinkId, _: DeliveryId, _: Outcome) {}
    pub(crate) fn detach(&mut self, _: LinkId, _: AmqpError) {}
    pub(crate) fn close(&mut self, _: AmqpError) {}
}
