//! Walks through the cloud-to-device tutorial in the order of its page: registers a device, starts it, sends it two
//! messages, sees them arrive, stops it.

use anyhow::{Result, bail};
use iothub_programs::program::Program;

use super::hub::Hub;
use super::reader::{DEVICE_ID, DEVICE_STRING, Reader, SERVICE_STRING, SOON, command};
use super::settings::{back_end_needs, copy_string, device_needs, register};

/// The number of messages that `send_c2d` sends.
const MESSAGES: usize = 2;

const REGISTER: &str = "register the device";
const COPY: &str = "copy its connection string";
const FORGET: &str = "each program says which variable is missing";
const START: &str = "start simulated_device";
const SEND: &str = "run send_c2d";
const SEE: &str = "see both messages on the device";
const STOP: &str = "stop simulated_device with Ctrl-C";

pub(super) const STEPS: &[&str] = &[REGISTER, COPY, FORGET, START, SEND, SEE, STOP];

pub(super) async fn walk(reader: &mut Reader, hub: &Hub) -> Option<()> {
    let id = reader.new_device("c2d-device");
    reader.step(REGISTER, register(hub, &id)).await?;
    let device_string = reader.step(COPY, copy_string(hub, &id)).await?;
    reader.step(FORGET, forget_variables(hub, &device_string)).await?;
    let mut device = reader.step(START, start_device(&device_string)).await?;
    reader.step(SEND, send(hub, &id)).await?;
    reader.step(SEE, see_messages(&mut device)).await?;
    reader.step(STOP, stop_device(device)).await
}

async fn forget_variables(hub: &Hub, device_string: &str) -> Result<()> {
    device_needs("simulated_device", device_string).await?;
    back_end_needs("send_c2d", hub.service()).await
}

async fn start_device(device_string: &str) -> Result<Program> {
    let mut device =
        Program::start("simulated_device", command("simulated_device", &[(DEVICE_STRING, device_string)]))?;
    device.expect_line("Starting the Rust IoT Hub C2D Messaging device sample...", SOON).await?;
    device.expect_line("Waiting for C2D messages, press Ctrl-C to exit", SOON).await?;
    Ok(device)
}

async fn send(hub: &Hub, id: &str) -> Result<()> {
    let mut sender =
        Program::start("send_c2d", command("send_c2d", &[(SERVICE_STRING, hub.service()), (DEVICE_ID, id)]))?;
    sender.expect_line("Starting the Rust IoT Hub C2D Messaging service sample...", SOON).await?;
    for message in 0..MESSAGES {
        sender.expect_line(&format!("Sending message: {message}"), SOON).await?;
    }
    sender.expect_line("Press Enter to continue...", SOON).await?;
    sender.type_line("").await?;
    sender.expect_end(SOON).await?;
    sender.end_well(SOON).await
}

async fn see_messages(device: &mut Program) -> Result<()> {
    for message in 0..MESSAGES {
        device.expect_line("", SOON).await?;
        device.expect_line("Message received:", SOON).await?;
        device.expect("the data, with a wind speed from 12 to 16", SOON, is_wind_speed).await?;
        for (name, value) in fields(message) {
            device.expect_line(&format!("    ({name}, {value})"), SOON).await?;
        }
        device.expect_line(&format!("Total calls received: {}", message + 1), SOON).await?;
    }
    Ok(())
}

/// Returns the fields of a message that the device prints below its data.
fn fields(message: usize) -> [(&'static str, String); 11] {
    let none = || "None".to_owned();
    [
        ("custom_properties", format!(r#"{{"testProperty": "PropMsg_{message}"}}"#)),
        ("message_id", format!("message_{message}")),
        ("expiry_time_utc", none()),
        ("correlation_id", format!("correlation_{message}")),
        ("user_id", none()),
        ("content_encoding", none()),
        ("content_type", "application/json".to_owned()),
        ("output_name", none()),
        ("input_name", none()),
        ("ack", none()),
        ("_iothub_interface_id", none()),
    ]
}

fn is_wind_speed(line: &str) -> bool {
    let number = line
        .strip_prefix("    (data, {\"service client sent a message\": ")
        .and_then(|rest| rest.strip_suffix("})"));
    let Some(number) = number else { return false };
    let two_places = number.split_once('.').is_some_and(|(_, places)| places.len() == 2);
    two_places && number.parse::<f64>().is_ok_and(|speed| (12.0..=16.0).contains(&speed))
}

async fn stop_device(mut device: Program) -> Result<()> {
    device.interrupt()?;
    device.expect_line("IoT Hub C2D Messaging device sample stopped", SOON).await?;
    device.expect_line("Shutting down IoT Hub Client", SOON).await?;
    device.expect_end(SOON).await?;
    device.end_well(SOON).await?;
    // The story of the connection is on standard error.
    let told = device.errors();
    if !told.iter().any(|line| line.contains(" INFO device ") && line.ends_with(" is connected")) {
        bail!(device.complaint(format!("should have said that it is connected, and said {told:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wind_speeds_have_two_places_and_their_range() {
        let line = |speed: &str| format!("    (data, {{\"service client sent a message\": {speed}}})");
        assert!(is_wind_speed(&line("12.00")) && is_wind_speed(&line("16.00")));
        for wrong in ["11.99", "16.01", "13.1", "13", "13.123", "x.yz"] {
            assert!(!is_wind_speed(&line(wrong)), "{wrong}");
        }
        assert!(!is_wind_speed("    (data, 13.00)"));
    }
}
