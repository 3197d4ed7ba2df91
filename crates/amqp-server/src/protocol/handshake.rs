//! How a connection begins and ends on the wire: headers, SASL, open, close.

use std::{mem, time::Duration};

use bytes::Bytes;

use super::{Phase, Protocol, SASL_AUTH, SASL_OK};
use crate::{
    error::{AmqpError, condition},
    frame::{AMQP_HEADER, MIN_MAX_FRAME_SIZE, SASL_HEADER},
    handler::{ConnectionEnd, ConnectionHandler, RemoteOpen, SaslInit, SaslVerdict},
    performative::{self, encode},
};

/// The shortest idle time-out a peer may ask for: below it, heartbeats would be a load.
const MIN_REMOTE_IDLE: Duration = Duration::from_millis(100);

impl Protocol {
    /// Looks for the expected header and returns how many bytes it took.
    pub(super) fn take_header(&mut self, input: &[u8]) -> usize {
        let offers_sasl = self.phase == Phase::Header && !self.config.sasl_mechanisms.is_empty();
        let expected: &[[u8; 8]] = if offers_sasl { &[AMQP_HEADER, SASL_HEADER] } else { &[AMQP_HEADER] };
        let seen = &input[..input.len().min(8)];
        let Some(header) = expected.iter().find(|header| header.starts_with(seen)) else {
            self.output.extend_from_slice(if offers_sasl { &SASL_HEADER } else { &AMQP_HEADER });
            self.end.get_or_insert(ConnectionEnd::UnsupportedHeader);
            self.phase = Phase::Discarding;
            return input.len();
        };
        if seen.len() < 8 {
            return 0;
        }
        self.output.extend_from_slice(header);
        self.phase = if *header == SASL_HEADER {
            encode::sasl_mechanisms(&mut self.output, &self.config);
            Phase::Sasl
        } else {
            Phase::Opening
        };
        8
    }

    pub(super) fn take_sasl_init(
        &mut self,
        init: &performative::SaslInit<'_>,
        handler: &mut dyn ConnectionHandler,
    ) {
        let offered = self.config.sasl_mechanisms.contains(&init.mechanism);
        let verdict = offered.then(|| {
            handler.on_sasl(SaslInit {
                mechanism: init.mechanism.clone(),
                initial_response: init.initial_response.map(Bytes::copy_from_slice),
                hostname: init.hostname.clone(),
            })
        });
        if verdict == Some(SaslVerdict::Accept) {
            encode::sasl_outcome(&mut self.output, SASL_OK);
            self.phase = Phase::HeaderAfterSasl;
        } else {
            encode::sasl_outcome(&mut self.output, SASL_AUTH);
            self.end.get_or_insert(ConnectionEnd::SaslRefused);
            self.phase = Phase::Discarding;
        }
    }

    pub(super) fn take_open(&mut self, open: performative::Open, handler: &mut dyn ConnectionHandler) {
        let max_frame_size = open.max_frame_size.unwrap_or(u32::MAX);
        if max_frame_size < MIN_MAX_FRAME_SIZE {
            let text = format!("max-frame-size {max_frame_size} is below {MIN_MAX_FRAME_SIZE}");
            return self.close(AmqpError::new(condition::INVALID_FIELD, text));
        }
        self.frame_limit =
            usize::try_from(max_frame_size.min(self.config.max_frame_size)).unwrap_or(usize::MAX);
        self.remote_idle = open.idle_time_out.filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.into()));
        if self.remote_idle.is_some_and(|idle| idle < MIN_REMOTE_IDLE) {
            let text = format!("an idle-time-out below {MIN_REMOTE_IDLE:?} is not supported");
            return self.close(AmqpError::new(condition::NOT_IMPLEMENTED, text));
        }
        let remote = RemoteOpen {
            container_id: open.container_id,
            hostname: open.hostname,
            properties: open.properties,
        };
        let handle = self.handle.clone();
        match handler.on_open(remote, &handle) {
            Ok(()) => {
                self.send_open();
                self.phase = Phase::Ready;
            }
            Err(error) => self.close(error),
        }
    }

    pub(super) fn take_close(&mut self, error: Option<AmqpError>) {
        if self.phase != Phase::Closing {
            self.send_open();
            self.flush_accepted();
            self.drop_sessions(error.as_ref());
            encode::close(&mut self.output, None);
        }
        self.end.get_or_insert(ConnectionEnd::ClosedByPeer(error));
        self.phase = Phase::Closed;
    }

    pub(super) fn send_open(&mut self) {
        if !mem::replace(&mut self.open_sent, true) {
            encode::open(&mut self.output, &self.config);
        }
    }
}
