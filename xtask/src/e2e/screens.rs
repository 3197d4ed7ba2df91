//! Runs the two apps of the iOS tutorial on full screens, driven by keys and clicks, inside the terminal multiplexer
//! tmux. Without tmux the step is skipped.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use iothub_programs::signal::{self, Signal};
use iothub_programs::workspace;
use tokio::process::Command;

use super::hub::Hub;
use super::ios::{BATCH, LONG_EXPIRY, queue_is_empty};
use super::reader::{DEVICE_ID, DEVICE_STRING, Reader, SERVICE_STRING, SOON, with_variables};

pub(super) const STEP: &str = "both apps on full screens, inside tmux";

const LOOK_INTERVAL: Duration = Duration::from_millis(50);

pub(super) async fn walk(reader: &mut Reader, hub: &Hub, id: &str, device_string: &str) -> Option<()> {
    if !Tmux::exists().await {
        reader.skip(STEP, "tmux is not installed; it is what the apps' screens are looked at in");
        return Some(());
    }
    reader.step(STEP, see(hub, id, device_string)).await
}

async fn see(hub: &Hub, id: &str, device_string: &str) -> Result<()> {
    let variables = [(DEVICE_STRING, device_string), (SERVICE_STRING, hub.service()), (DEVICE_ID, id)];
    let tmux = Tmux::start(&variables).await?;
    let device = tmux.run("sample_device", "--original-text").await?;
    let expiry = format!("--expires-after {}", LONG_EXPIRY.as_secs());
    let service = tmux.run("sample_service", &expiry).await?;

    tmux.see(&device, "iOS App Sample").await?;
    tmux.type_keys(&device, "s").await?;
    tmux.see_label(&device, "Receipts confirmed:", |count| count != "0").await?;
    tmux.see(&device, "\": \"").await.context("the original's text has its values in quotes")?;

    tmux.see(&service, id).await.context("the field begins with IOTHUB_DEVICE_ID")?;
    tmux.press(&service, "Enter").await?;
    tmux.type_keys(&service, "Hello, screen").await?;
    tmux.press(&service, "Enter").await?;
    tmux.see(&service, "Message has been accepted by the hub: Hello, screen").await?;
    tmux.see_label(&device, "Message received:", |text| text == "Hello, screen").await?;
    queue_is_empty(hub, id).await?;
    hub.advance(BATCH);
    tmux.see(&service, "Message has been delivered to the device: Hello, screen").await?;
    tmux.click(&service, "Clear").await?;
    tmux.see(&service, "Message To Send").await?;

    let (terminated, process) = tmux.run_to_signal("sample_device").await?;
    tmux.see(&terminated, "iOS App Sample").await?;
    tmux.tell(&["resize-window", "-t", &terminated, "-x", "50", "-y", "12"]).await?;
    tmux.see(&terminated, "This terminal has 50x12").await.context("it asks for a larger terminal")?;
    tmux.tell(&["resize-window", "-t", &terminated, "-x", "90", "-y", "24"]).await?;
    tmux.see(&terminated, "Messages sent:").await.context("it is there again in a larger terminal")?;
    signal::send(process, Signal::Terminate)?;

    tmux.click(&device, "Stop").await?;
    tmux.see(&device, "Stopped").await?;
    tmux.type_keys(&device, "q").await?;
    tmux.press(&service, "C-c").await?;
    for window in [&device, &service, &terminated] {
        // What the shell prints after the app, on a screen that is its own again.
        tmux.see(window, "ended with 0").await?;
        let modes = tmux.ask(window, "#{alternate_on} #{mouse_any_flag}").await?;
        if modes.trim() != "0 0" {
            bail!("the terminal is left with alternate screen and mouse at {modes:?}");
        }
        tmux.see(window, " icanon").await.context("the terminal is left in raw mode")?;
    }
    Ok(())
}

/// A tmux of our own, apart from one the user may have. It ends with this.
struct Tmux {
    socket: String,
}

impl Tmux {
    async fn exists() -> bool {
        Command::new("tmux").arg("-V").output().await.is_ok_and(|output| output.status.success())
    }

    /// The variables are handed on in its environment, since arguments are for everybody to see.
    async fn start(variables: &[(&str, &str)]) -> Result<Self> {
        let tmux = Self { socket: format!("iothub-e2e-{:016x}", rand::random::<u64>()) };
        let mut start = with_variables(tmux.command(), variables);
        start.env("LC_ALL", "C.UTF-8").args(["new-session", "-d", "-x", "90", "-y", "24", "cat"]);
        output(start).await?;
        Ok(tmux)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-f", "/dev/null", "-L", &self.socket]);
        command
    }

    async fn tell(&self, arguments: &[impl AsRef<OsStr>]) -> Result<String> {
        let mut command = self.command();
        command.args(arguments);
        output(command).await
    }

    /// Runs a program of ours in a window of its own, and then says how it ended and how the terminal is.
    async fn run(&self, program: &str, argument: &str) -> Result<String> {
        let path = workspace::program(program);
        let path = path.to_str().context("this workspace lies under a path that is no text")?;
        self.run_shell(&format!("'{path}' {argument}")).await
    }

    /// Runs the program in a window. Returns the window and the id of the program's process, to send it a signal.
    async fn run_to_signal(&self, program: &str) -> Result<(String, u32)> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let note = folder.path().join("process");
        let (path, note) = (workspace::program(program), note.as_path());
        // The inner shell writes down its own id and becomes the program.
        let inner = format!("sh -c 'echo $$ > \"{}\"; exec \"{}\"'", note.display(), path.display());
        let window = self.run_shell(&inner).await?;
        let started = Instant::now();
        loop {
            if let Some(id) = std::fs::read_to_string(note).ok().and_then(|text| text.trim().parse().ok()) {
                return Ok((window, id));
            }
            if started.elapsed() > SOON {
                bail!("{program} was not started within {SOON:?}");
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn run_shell(&self, command: &str) -> Result<String> {
        let script = format!("{command}; echo \"ended with $?\"; stty -a; exec cat");
        let window = self.tell(&["new-window", "-d", "-P", "-F", "#{window_id}", &script]).await?;
        Ok(window.trim().to_owned())
    }

    async fn type_keys(&self, window: &str, text: &str) -> Result<()> {
        self.tell(&["send-keys", "-t", window, "-l", text]).await.map(drop)
    }

    async fn press(&self, window: &str, key: &str) -> Result<()> {
        self.tell(&["send-keys", "-t", window, key]).await.map(drop)
    }

    /// Clicks on the first place that shows this text, as a terminal reports it (mode 1006).
    async fn click(&self, window: &str, text: &str) -> Result<()> {
        let screen = self.screen(window).await?;
        let place = screen.lines().zip(1..).find_map(|(line, row)| {
            let before = line.split_once(text)?.0;
            Some((before.chars().count() + 1, row))
        });
        let (column, row) = place.with_context(|| format!("no {text:?} to click on in\n{screen}"))?;
        self.type_keys(window, &format!("\x1b[<0;{column};{row}M\x1b[<0;{column};{row}m")).await
    }

    async fn screen(&self, window: &str) -> Result<String> {
        self.tell(&["capture-pane", "-p", "-t", window]).await
    }

    async fn ask(&self, window: &str, format: &str) -> Result<String> {
        self.tell(&["display-message", "-p", "-t", window, format]).await
    }

    /// Waits until the window shows this text.
    async fn see(&self, window: &str, text: &str) -> Result<()> {
        self.see_screen(window, text, |screen| screen.contains(text)).await
    }

    /// Waits until such a value stands beside the label.
    async fn see_label(&self, window: &str, label: &str, accept: impl Fn(&str) -> bool) -> Result<()> {
        self.see_screen(window, label, |screen| value_of(screen, label).is_some_and(&accept)).await
    }

    async fn see_screen(&self, window: &str, wanted: &str, accept: impl Fn(&str) -> bool) -> Result<()> {
        let started = Instant::now();
        loop {
            let screen = self.screen(window).await?;
            if accept(&screen) {
                return Ok(());
            }
            if started.elapsed() > SOON {
                bail!("not the {wanted:?} that is expected after {SOON:?}:\n{screen}");
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

/// Returns the text beside a label, inside the window's frame.
fn value_of<'a>(screen: &'a str, label: &str) -> Option<&'a str> {
    screen.lines().find_map(|line| Some(line.split_once(label)?.1.trim_end_matches('│').trim()))
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut kill = std::process::Command::new("tmux");
        kill.args(["-L", &self.socket, "kill-server"]).stdout(Stdio::null()).stderr(Stdio::null());
        // It may have ended by itself.
        drop(kill.status());
    }
}

async fn output(mut command: Command) -> Result<String> {
    let output = command.kill_on_drop(true).output().await.context("tmux could not be started")?;
    if !output.status.success() {
        bail!("tmux failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_beside_a_label_is_read_inside_the_frame() {
        let screen = "┌────┐\n│ Messages sent:   12    │\n│ Message sent:  a b │\n";
        assert_eq!(value_of(screen, "Messages sent:"), Some("12"));
        assert_eq!(value_of(screen, "Message sent:"), Some("a b"));
        assert_eq!(value_of(screen, "Nothing:"), None);
    }
}
