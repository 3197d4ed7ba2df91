//! Waits for whoever ends the program from outside: Ctrl-C, and on Unix also the signal SIGTERM, which `kill` sends
//! and which would otherwise leave the terminal as the full screen had it.

use std::io;

/// Starts to listen at once; the future is done when the program is to end.
#[cfg(unix)]
pub fn requested() -> io::Result<impl Future<Output = io::Result<()>>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    })
}

/// Where there are no such signals, Ctrl-C is all there is to listen for.
#[cfg(not(unix))]
pub fn requested() -> io::Result<impl Future<Output = io::Result<()>>> {
    Ok(tokio::signal::ctrl_c())
}
