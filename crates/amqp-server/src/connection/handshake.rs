//! This file begins and ends a connection on the wire: headers, SASL, open, close. `protocol` hands it the frames and
//! asks the handler for its verdicts.

use std::{mem, time::Duration};

use super::{Connection, ConnectionEnd, Phase};
use crate::{
    error::{AmqpError, condition},
    frame::{AMQP_HEADER, MIN_MAX_FRAME_SIZE, SASL_HEADER},
    performative::{Open, encode},
    value::Symbol,
};

/// The SASL outcome codes.
const SASL_OK: u8 = 0;
const SASL_AUTH: u8 = 1;

/// The shortest idle time-out that a peer may ask for. Below it, heartbeats would be a load.
const MIN_REMOTE_IDLE: Duration = Duration::from_millis(100);

impl Connection {
    /// Looks for the expected header and returns the number of bytes that it took; 0 while it is not whole.
    pub(crate) fn take_header(&mut self, input: &[u8]) -> usize {
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

    /// Returns whether a SASL mechanism is among those that were offered.
    pub(crate) fn offers(&self, mechanism: &Symbol) -> bool {
        self.config.sasl_mechanisms.contains(mechanism)
    }

    /// Ends the SASL layer: the AMQP layer follows if the peer's credentials were accepted, or else the end.
    pub(crate) fn finish_sasl(&mut self, accepted: bool) {
        if accepted {
            encode::sasl_outcome(&mut self.output, SASL_OK);
            self.phase = Phase::HeaderAfterSasl;
        } else {
            self.refuse_sasl();
            self.phase = Phase::Discarding;
        }
    }

    /// Tells the peer that its SASL layer failed.
    pub(super) fn refuse_sasl(&mut self) {
        encode::sasl_outcome(&mut self.output, SASL_AUTH);
        self.end.get_or_insert(ConnectionEnd::SaslRefused);
    }

    /// Takes the limits of the peer's open.
    ///
    /// # Errors
    /// The peer asks for a frame size or an idle time-out that is not supported.
    pub(crate) fn take_open(&mut self, open: &Open) -> Result<(), AmqpError> {
        let max_frame_size = open.max_frame_size.unwrap_or(u32::MAX);
        if max_frame_size < MIN_MAX_FRAME_SIZE {
            let text = format!("max-frame-size {max_frame_size} is below {MIN_MAX_FRAME_SIZE}");
            return Err(AmqpError::new(condition::INVALID_FIELD, text));
        }
        self.frame_limit =
            usize::try_from(max_frame_size.min(self.config.max_frame_size)).unwrap_or(usize::MAX);
        self.remote_idle = open.idle_time_out.filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.into()));
        if self.remote_idle.is_some_and(|idle| idle < MIN_REMOTE_IDLE) {
            let text = format!("an idle-time-out below {MIN_REMOTE_IDLE:?} is not supported");
            return Err(AmqpError::new(condition::NOT_IMPLEMENTED, text));
        }
        Ok(())
    }

    /// Answers the peer's open, which the handler has accepted.
    pub(crate) fn finish_open(&mut self) {
        self.send_open();
        self.phase = Phase::Ready;
    }

    /// Closes because the peer does.
    pub(crate) fn take_close(&mut self, error: Option<AmqpError>) {
        if self.phase != Phase::Closing {
            self.send_open();
            self.flush_accepted();
            self.drop_sessions(error.as_ref());
            encode::close(&mut self.output, None);
        }
        self.end.get_or_insert(ConnectionEnd::ClosedByPeer(error));
        self.phase = Phase::Closed;
    }

    /// Sends our open, unless it was sent before.
    pub(super) fn send_open(&mut self) {
        if !mem::replace(&mut self.open_sent, true) {
            encode::open(&mut self.output, &self.config);
        }
    }
}
