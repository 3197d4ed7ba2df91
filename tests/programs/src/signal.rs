//! This file sends signals to programs that this one started: Ctrl-C, and the two that hold a program and let it go
//! on. Only Unix has them. Elsewhere the same functions return an error, so that the commands that need no signals
//! (`hub`, `new`, `docs`, `tidy` and others) compile and work there.

use anyhow::Result;
use tokio::process::Command;

/// A signal that a program can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The signal of Ctrl-C.
    Interrupt,
    /// The signal of `kill`.
    Terminate,
    /// The program ends at once, whatever it does.
    Kill,
    /// The program stands still.
    Stop,
    /// The program goes on after [`Signal::Stop`].
    Continue,
}

#[cfg(unix)]
mod unix {
    use anyhow::{Context, Result};
    use nix::sys::signal::{Signal as Number, kill, killpg};
    use nix::unistd::Pid;
    use tokio::process::Command;

    use super::Signal;

    const fn number(signal: Signal) -> Number {
        match signal {
            Signal::Interrupt => Number::SIGINT,
            Signal::Terminate => Number::SIGTERM,
            Signal::Kill => Number::SIGKILL,
            Signal::Stop => Number::SIGSTOP,
            Signal::Continue => Number::SIGCONT,
        }
    }

    fn pid(id: u32) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(id)?))
    }

    pub(super) fn send(id: u32, signal: Signal) -> Result<()> {
        kill(pid(id)?, number(signal)).with_context(|| format!("{signal:?} cannot be sent"))
    }

    pub(super) fn send_to_group(id: u32, signal: Signal) -> Result<()> {
        killpg(pid(id)?, number(signal)).with_context(|| format!("{signal:?} cannot be sent"))
    }

    pub(super) fn lead_a_group(command: &mut Command) {
        command.process_group(0);
    }
}

#[cfg(not(unix))]
mod unix {
    use anyhow::{Result, bail};
    use tokio::process::Command;

    use super::Signal;

    pub(super) fn send(_id: u32, signal: Signal) -> Result<()> {
        bail!("{signal:?} cannot be sent to a program on this system, which has no signals")
    }

    pub(super) fn send_to_group(id: u32, signal: Signal) -> Result<()> {
        send(id, signal)
    }

    pub(super) const fn lead_a_group(_command: &mut Command) {}
}

/// Sends a signal to one program.
pub fn send(id: u32, signal: Signal) -> Result<()> {
    unix::send(id, signal)
}

/// Sends a signal to a program that [leads a group](lead_a_group), and to all that it started.
pub fn send_to_group(id: u32, signal: Signal) -> Result<()> {
    unix::send_to_group(id, signal)
}

/// Makes a program, once started, the leader of a group of its own.
pub fn lead_a_group(command: &mut Command) {
    unix::lead_a_group(command);
}
