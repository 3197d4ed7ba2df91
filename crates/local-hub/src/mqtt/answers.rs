//! [`Answers`] holds the acknowledgements and answers of one connection until the changes they speak of are kept.
//!
//! `connection` puts every PUBACK, SUBACK, UNSUBACK, PINGRESP and twin answer in here, with the gate of its
//! transaction. They leave in the order of the packets that they answer, each once its gate is open. The connection
//! never waits for a gate where it reads, because it would be deaf to its signals meanwhile; it waits here, beside
//! everything else that it listens to. While the hub keeps its changes in memory all gates are open, and an answer goes
//! straight to the output.

use std::collections::VecDeque;
use std::future::pending;

use bytes::BytesMut;

use crate::journal::{Gate, NotKept};

/// The number of waiting bytes, in the output and here, from which on the connection reads no more packets.
pub(super) const BYTES: usize = 256 * 1024;

/// The number of closed gates from which on the connection reads no more packets.
const GATES: usize = 64;

/// Answers that wait, in the order of their packets.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: VecDeque<(Gate, BytesMut)>,
    bytes: usize,
}

impl Answers {
    /// Writes answers to the output if their gate is open and no older answer waits; otherwise they wait.
    pub(super) fn push(&mut self, gate: Gate, answers: BytesMut, output: &mut BytesMut) {
        if answers.is_empty() && gate.is_open() {
            return;
        }
        if self.waiting.is_empty() && gate.is_open() {
            output.unsplit(answers);
            return;
        }
        self.bytes += answers.len();
        self.waiting.push_back((gate, answers));
    }

    /// Writes the answers whose gates are open, up to the first that still waits.
    ///
    /// # Errors
    /// The change of an answer was not kept: neither it nor any later answer may be written.
    pub(super) fn flush(&mut self, output: &mut BytesMut) -> Result<(), NotKept> {
        while let Some((gate, _)) = self.waiting.front() {
            match gate.outcome() {
                None => return Ok(()),
                Some(outcome) => outcome?,
            }
            if let Some((_, answers)) = self.waiting.pop_front() {
                self.bytes -= answers.len();
                output.unsplit(answers);
            }
        }
        Ok(())
    }

    /// Returns whether further packets may be answered while the output has `output` bytes.
    pub(super) fn has_room(&self, output: usize) -> bool {
        self.bytes + output < BYTES && self.waiting.len() < GATES
    }

    /// Waits until the oldest answer need not wait any more; for ever if there is no answer.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn ready(&self) {
        match self.waiting.front() {
            // The outcome is looked at by `flush`.
            Some((gate, _)) => drop(gate.wait().await),
            None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::GateKeeper;

    #[test]
    fn answers_leave_in_order_and_none_after_one_that_was_not_kept() {
        let (mut answers, mut output) = (Answers::default(), BytesMut::new());
        answers.push(Gate::OPEN, BytesMut::from("1"), &mut output);
        assert_eq!(&output[..], b"1");
        let [(first, second), (third, fourth)] = [GateKeeper::closed(), GateKeeper::closed()];
        answers.push(second, BytesMut::from("2"), &mut output);
        answers.push(Gate::OPEN, BytesMut::from("3"), &mut output);
        answers.push(fourth, BytesMut::from("4"), &mut output);
        answers.push(Gate::OPEN, BytesMut::from("5"), &mut output);
        answers.flush(&mut output).unwrap();
        assert_eq!(&output[..], b"1");
        first.decide(Ok(()));
        answers.flush(&mut output).unwrap();
        assert_eq!(&output[..], b"123");
        third.decide(Err(NotKept::new("the disk is full")));
        answers.flush(&mut output).unwrap_err();
        answers.flush(&mut output).unwrap_err();
        assert_eq!(&output[..], b"123");
    }

    #[test]
    fn waiting_answers_are_bounded_in_bytes_and_in_number() {
        let (mut answers, mut output) = (Answers::default(), BytesMut::new());
        assert!(answers.has_room(BYTES - 1) && !answers.has_room(BYTES));
        let (_keeper, gate) = GateKeeper::closed();
        answers.push(gate.clone(), BytesMut::from(&[0; 1000][..]), &mut output);
        assert!(answers.has_room(BYTES - 1001) && !answers.has_room(BYTES - 1000));
        for _ in 1..GATES {
            assert!(answers.has_room(0));
            answers.push(gate.clone(), BytesMut::from("x"), &mut output);
        }
        assert!(!answers.has_room(0));
    }
}
