//! This file ends a [`Program`], and sends it the signals that a terminal or a sleeping machine would send.

use std::fs;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

use super::{Program, seconds};
use crate::signal::{self, Signal};

impl Program {
    /// Sends Ctrl-C.
    pub fn interrupt(&self) -> Result<()> {
        self.signal(Signal::Interrupt)
    }

    /// Sends Ctrl-C and waits for the end, with the input left open: a program that waits for a line is not given one.
    /// All that it printed is read then.
    pub async fn interrupt_and_wait(&mut self, within: Duration) -> Result<ExitStatus> {
        self.interrupt()?;
        let Ok(status) = tokio::time::timeout(within, self.child.wait()).await else {
            return Err(self.complaint(format!("did not end within {} after Ctrl-C", seconds(within))));
        };
        while self.next_line(within).await?.is_some() {}
        status.with_context(|| format!("{} is lost", self.name))
    }

    /// Waits until the program handles Ctrl-C itself. A program prints that Ctrl-C stops it just before it begins to
    /// listen, and a signal in between ends it as if it had no handler. Only Linux tells; elsewhere this returns at
    /// once.
    pub async fn until_it_handles_ctrl_c(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while let Some(id) = self.child.id() {
            let Ok(status) = std::fs::read_to_string(format!("/proc/{id}/status")) else { break };
            let handled = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let handled = handled.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            // The lowest bit stands for the signal 1, so the next one for SIGINT, which is 2.
            if handled.is_none_or(|mask| mask & 0b10 != 0) {
                break;
            }
            if Instant::now() >= deadline {
                return Err(self.complaint(format!("does not handle Ctrl-C after {}", seconds(within))));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Ends its input and waits for its end.
    pub async fn end(&mut self, within: Duration) -> Result<ExitStatus> {
        self.close_input();
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => status.with_context(|| format!("{} is lost", self.name)),
            Err(_) => Err(self.complaint(format!("did not end within {}", seconds(within)))),
        }
    }

    /// Ends its input, reads all that it prints and waits for its end, within this time altogether.
    pub async fn read_to_end(&mut self, within: Duration) -> Result<ExitStatus> {
        self.close_input();
        let ended = async {
            while self.next_line(within).await?.is_some() {}
            self.end(within).await
        };
        match tokio::time::timeout(within, ended).await {
            Ok(ended) => ended,
            Err(_) => Err(self.complaint(format!("did not end within {}", seconds(within)))),
        }
    }

    /// Ends its input and waits for its end, which must be a good one.
    pub async fn end_well(&mut self, within: Duration) -> Result<()> {
        let status = self.end(within).await?;
        if !status.success() {
            return Err(self.complaint(format!("ended with {status}")));
        }
        Ok(())
    }

    /// Stops it where it is, like a machine that sleeps, until [`wake`](Self::wake). Returns once each of its threads has
    /// stopped, as far as the operating system shows threads.
    ///
    /// The signal alone is not enough. A thread that runs on another processor goes on for a moment, which is long enough
    /// for a device to acknowledge a message.
    ///
    /// # Errors
    /// It has ended, or a thread does not stop within five seconds.
    pub async fn sleep(&self) -> Result<()> {
        self.signal(Signal::Stop)?;
        let stopped = async {
            while !self.all_threads_stopped() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(5), stopped).await;
        in_time.map_err(|_| self.complaint("does not stop".to_owned()))
    }

    /// Returns false if the operating system shows a thread of the program that is not stopped.
    fn all_threads_stopped(&self) -> bool {
        let Some(threads) = self.child.id().and_then(|id| fs::read_dir(format!("/proc/{id}/task")).ok())
        else {
            return true;
        };
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The state stands behind the name, which is in parentheses and may hold any character.
            stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['T', 't', 'Z', 'X']))
        })
    }

    /// Lets it go on.
    pub fn wake(&self) -> Result<()> {
        self.signal(Signal::Continue)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.id().ok_or_else(|| self.complaint("has ended already".to_owned()))?;
        signal::send(id, signal).with_context(|| self.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::process::Command;

    use crate::program::Program;
    use crate::program::tests::{SOON, shell};

    #[tokio::test]
    async fn a_program_that_prints_without_end_meets_the_deadline() {
        let mut chatty = Program::start("it", shell("while :; do echo no; sleep 0.01; done")).unwrap();
        let error = chatty.read_to_end(Duration::from_millis(100)).await.unwrap_err().to_string();
        assert!(error.starts_with("it did not end within 0.1 s"), "{error}");
        let mut quick = Program::start("it", shell("echo one; exit 3")).unwrap();
        assert_eq!(quick.read_to_end(SOON).await.unwrap().code(), Some(3));
        assert_eq!(quick.lines(), ["one"]);
    }

    #[tokio::test]
    async fn ctrl_c_arrives() {
        let script = "trap 'echo stopped; exit 0' INT; echo ready; while :; do read x || exit 1; done";
        // A shell cannot trap a signal that was ignored when it began, as it is in background jobs.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", "sh", "-c", script]);
        let mut program = Program::start("it", command).unwrap();
        program.expect_line("ready", SOON).await.unwrap();
        program.interrupt().unwrap();
        // The shell runs the trap once its read returns.
        // One that has ended already reads nothing any more.
        program.type_line("").await.ok();
        program.expect_line("stopped", SOON).await.unwrap();
        program.end_well(SOON).await.unwrap();
    }
}
