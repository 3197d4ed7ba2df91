//! The tutorial with the two apps, in the order of its page: register a device, start it and see its
//! counters move, send it a message, hear that it was delivered, that another expired and that a third was
//! purged. The apps run line by line here; `screens` runs them as people see them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use iothub_programs::program::{self, Program};
use iothub_rest_service::ServiceClient;

use super::hub::Hub;
use super::reader::{DEVICE_STRING, Reader, SERVICE_STRING, SOON, command};
use super::screens;
use super::settings::{copy_string, device_needs, refuses, register};

/// How long a hub may collect feedback before it tells.
pub(super) const BATCH: Duration = Duration::from_secs(15);

/// The device sends this often, whatever hub it talks to.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a message waits for its device: as `sample_service` has it on a hub whose clock is ours, and
/// not so long where the wait is real.
const EXPIRY: Duration = Duration::from_secs(60);
const SHORT_EXPIRY: Duration = Duration::from_secs(10);

/// How long later ones wait: longer than the hub's clock is set forward before.
pub(super) const LONG_EXPIRY: Duration = Duration::from_secs(3600);

const REGISTER: &str = "register the device";
const COPY: &str = "copy its connection string";
const FORGET: &str = "each program says which variable is missing";
const START: &str = "start sample_device: its counters move";
const SEND: &str = "send a message: the device shows it, sample_service that it was delivered";
const STOP: &str = "stop the device";
const PURGE: &str = "send to a device that is away, and purge: Purged";
const EXPIRE: &str = "send to a device that is away, and wait: Expired";
const AGAIN: &str = "start again: neither of the two comes, and the next does";
const QUIT: &str = "quit both";

pub(super) const STEPS: &[&str] =
    &[REGISTER, COPY, FORGET, START, SEND, STOP, PURGE, EXPIRE, AGAIN, QUIT, screens::STEP];

pub(super) async fn walk(reader: &mut Reader, hub: &Hub) -> Option<()> {
    let id = reader.new_device("ios-device");
    reader.step(REGISTER, register(hub, &id)).await?;
    let device_string = reader.step(COPY, copy_string(hub, &id)).await?;
    reader.step(FORGET, forget_variables(&device_string)).await?;
    let mut device = reader.step(START, start_device(&device_string)).await?;
    let mut service = reader.step(SEND, send(hub, &id, &mut device)).await?;
    reader.step(STOP, stop(&mut device)).await?;
    reader.step(PURGE, purge(hub, &id, &mut service)).await?;
    reader.step(EXPIRE, expire(hub, &id, service)).await?;
    let service = reader.step(AGAIN, start_again(hub, &id, &mut device)).await?;
    reader.step(QUIT, quit(device, service)).await?;
    screens::walk(reader, hub, &id, &device_string).await
}

async fn forget_variables(device_string: &str) -> Result<()> {
    device_needs("sample_device", device_string).await?;
    refuses("sample_service", &[], &[], SERVICE_STRING).await?;
    refuses("sample_service", &[], &[(SERVICE_STRING, "nonsense")], SERVICE_STRING).await
}

async fn start_device(device_string: &str) -> Result<Program> {
    let mut command = command("sample_device", &[(DEVICE_STRING, device_string)]);
    command.arg("--plain");
    let mut device = Program::start("sample_device", command)?;
    for line in [
        "iOS App Sample",
        "Commands: start, stop, quit",
        "Messages sent: 0",
        "Receipts confirmed: 0",
        "Send Failures: 0",
        "Messages received: 0",
        "Last Temperature Reading (C): <none>",
        "Last Humidity Reading (%): <none>",
        "Message sent: <none>",
        "Message received: <none>",
        "Start: enabled, Stop: disabled",
    ] {
        device.expect_line(line, SOON).await?;
    }
    device.type_line("start").await?;
    device.expect_line("Start: disabled, Stop: enabled", SOON).await?;
    device.until_line("Messages sent: 1", SOON).await?;
    let first = Instant::now();
    expect_reading(&mut device).await?;
    device.until_line("Receipts confirmed: 1", SOON).await?;
    device.until_line("Messages sent: 2", SOON).await?;
    let between = first.elapsed();
    if !(INTERVAL / 2..INTERVAL * 2).contains(&between) {
        bail!("{between:?} between two messages, where {INTERVAL:?} belong");
    }
    device.until_line("Receipts confirmed: 2", SOON).await?;
    Ok(device)
}

/// Two values with two decimals, and the message made of them.
async fn expect_reading(device: &mut Program) -> Result<()> {
    let temperature = device.until("a temperature", SOON, |line| {
        line.strip_prefix("Last Temperature Reading (C): ").is_some_and(|value| is_within(value, 20.0, 35.0))
    });
    let temperature = last_word(&temperature.await?);
    let humidity = device.until("a humidity", SOON, |line| {
        line.strip_prefix("Last Humidity Reading (%): ").is_some_and(|value| is_within(value, 60.0, 80.0))
    });
    let humidity = last_word(&humidity.await?);
    let sent = format!(r#"Message sent: {{"temperature": {temperature}, "humidity": {humidity}}}"#);
    device.expect_line(&sent, SOON).await
}

fn last_word(line: &str) -> String {
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

fn is_within(value: &str, low: f64, high: f64) -> bool {
    let two_decimals = value.split_once('.').is_some_and(|(_, decimals)| decimals.len() == 2);
    two_decimals && value.parse::<f64>().is_ok_and(|value| (low..=high).contains(&value))
}

async fn start_service(hub: &Hub, id: &str, expiry: Duration) -> Result<Program> {
    let mut command = command("sample_service", &[(SERVICE_STRING, hub.service())]);
    command.args(["--plain", "--expires-after", &expiry.as_secs().to_string()]);
    let mut service = Program::start("sample_service", command)?;
    service.expect_line("IoTHub Service Client Sample", SOON).await?;
    service.expect_line("Commands: device ID, message TEXT, send, clear, quit", SOON).await?;
    service.type_line(&format!("device {id}")).await?;
    Ok(service)
}

async fn send(hub: &Hub, id: &str, device: &mut Program) -> Result<Program> {
    let expiry = if hub.is_ours() { EXPIRY } else { SHORT_EXPIRY };
    let mut service = start_service(hub, id, expiry).await?;
    send_text(&mut service, "Hello, device").await?;
    device.until_line("Messages received: 1", SOON).await?;
    device.until_line("Message received: Hello, device", SOON).await?;
    delivered(hub, id, &mut service, "Hello, device").await?;
    Ok(service)
}

/// Queued, and accepted by the hub, with Send disabled in between.
async fn send_text(service: &mut Program, text: &str) -> Result<()> {
    service.type_line(&format!("message {text}")).await?;
    service.type_line("send").await?;
    service.expect_line(&format!("Message has been queued: {text}"), SOON).await?;
    service.expect_line("Send: disabled", SOON).await?;
    service.expect_line(&format!("Message has been accepted by the hub: {text}"), SOON).await?;
    service.expect_line("Send: enabled", SOON).await
}

async fn delivered(hub: &Hub, id: &str, service: &mut Program, text: &str) -> Result<()> {
    queue_is_empty(hub, id).await?;
    hub.advance(BATCH);
    service.expect_line(&format!("Message has been delivered to the device: {text}"), SOON).await
}

async fn lost(hub: &Hub, id: &str, service: &mut Program, status: &str, text: &str) -> Result<()> {
    queue_is_empty(hub, id).await?;
    hub.advance(BATCH);
    service.expect_line(&format!("Message has failed to be delivered ({status}): {text}"), SOON).await
}

/// Waits until the hub has settled every message for the device: from then on it collects feedback, and
/// its clock may be set forward past that.
pub(super) async fn queue_is_empty(hub: &Hub, id: &str) -> Result<()> {
    let client = ServiceClient::from_connection_string(hub.owner())?;
    let id = id.parse()?;
    let empty = async {
        while client.devices().get(&id).await?.cloud_to_device_message_count > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::time::timeout(SOON, empty).await.context("messages still wait for the device")?
}

async fn stop(device: &mut Program) -> Result<()> {
    device.type_line("stop").await?;
    device.until_line("Start: enabled, Stop: disabled", SOON).await?;
    device.expect_line("Stopped", SOON).await
}

async fn purge(hub: &Hub, id: &str, service: &mut Program) -> Result<()> {
    send_text(service, "to be purged").await?;
    let mut purge = command("iothub", &[(SERVICE_STRING, hub.owner())]);
    purge.args(["device", "purge", id]);
    let printed = program::run("iothub device purge", purge, SOON).await?;
    if printed != [format!("1 message for device {id} purged")] {
        bail!("iothub device purge printed {printed:?}");
    }
    lost(hub, id, service, "Purged", "to be purged").await
}

/// The end of this sender too: by a clock set so far forward, what it sends expires before it is sent.
async fn expire(hub: &Hub, id: &str, mut service: Program) -> Result<()> {
    send_text(&mut service, "to expire").await?;
    hub.advance(EXPIRY);
    lost(hub, id, &mut service, "Expired", "to expire").await?;
    service.close_input();
    service.expect_end(SOON).await?;
    service.end_well(SOON).await
}

async fn start_again(hub: &Hub, id: &str, device: &mut Program) -> Result<Program> {
    device.type_line("start").await?;
    device.expect_line("Messages sent: 0", SOON).await?;
    device.expect_line("Receipts confirmed: 0", SOON).await?;
    device.until_line("Receipts confirmed: 1", SOON).await?;
    let mut service = start_service(hub, id, LONG_EXPIRY).await?;
    send_text(&mut service, "Hello again").await?;
    device.until_line("Messages received: 2", SOON).await?;
    device.until_line("Message received: Hello again", SOON).await?;
    delivered(hub, id, &mut service, "Hello again").await?;
    Ok(service)
}

/// One with Ctrl-C, one by its command.
async fn quit(mut device: Program, mut service: Program) -> Result<()> {
    device.interrupt()?;
    device.end_well(SOON).await?;
    service.type_line("quit").await?;
    service.expect_end(SOON).await?;
    service.end_well(SOON).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_have_two_decimals_and_their_range() {
        assert!(is_within("20.00", 20.0, 35.0) && is_within("35.00", 20.0, 35.0));
        for wrong in ["19.99", "35.01", "21", "21.5", "21.555", "x.yz"] {
            assert!(!is_within(wrong, 20.0, 35.0), "{wrong}");
        }
        assert_eq!(last_word("Last Humidity Reading (%): 65.12"), "65.12");
    }
}
