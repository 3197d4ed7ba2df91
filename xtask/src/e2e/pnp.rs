//! Walks through the Plug and Play tutorial in the order of its page, with a device without components and one with,
//! and a back end that works with both, first through twins and direct methods, then through digital twins.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use iothub_programs::program::{self, Program};
use iothub_rest_service::ServiceClient;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::{self, Form};
use super::hub::Hub;
use super::reader::{DEVICE_ID, DEVICE_STRING, Reader, SERVICE_STRING, SOON, command};
use super::settings::{back_end_needs_with, copy_string, device_needs, register};

const THERMOSTAT: &str = "dtmi:com:example:Thermostat;1";
const CONTROLLER: &str = "dtmi:com:example:TemperatureController;1";

/// The pause before a twin is read again, until the device's answer is in it.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The most by which the hub's clock may differ from ours.
const ANOTHER_CLOCK: Duration = Duration::from_secs(60);

const REGISTER: &str = "register both devices";
const COPY: &str = "copy their connection strings";
const FORGET: &str = "each program says which variable is missing";
const START: &str = "start pnp_thermostat and pnp_temperature_controller";
const TWIN: &str = "get the device twin and model id";
const UPDATE: &str = "update the device twin";
const COMPONENT_UPDATE: &str = "update the device twin of a component";
const CALL: &str = "call a command";
const COMPONENT_CALL: &str = "call a command of a component";
const GET: &str = "get the digital twin and model id";
const DIGITAL_UPDATE: &str = "update the digital twin";
const DIGITAL_COMPONENT_UPDATE: &str = "update the digital twin of a component";
const DIGITAL_CALL: &str = "call a command through the digital twin";
const DIGITAL_COMPONENT_CALL: &str = "call a command of a component through the digital twin";
const UNKNOWN: &str = "call a command that the device does not have";
const STOP: &str = "stop both devices with Ctrl-C";
const OFFLINE: &str = "call a command of a device that is not there";

/// The steps that read each device's events: telemetry, the change of its twin, the change of its digital twin.
const EVENTS: [&str; 3] = [
    "read telemetry",
    "read the device twin change notification",
    "read the digital twin change notification",
];
const COMPONENT_EVENTS: [&str; 3] = [
    "read telemetry of a component",
    "read the device twin change notification of a component",
    "read the digital twin change notification of a component",
];

pub(super) const STEPS: &[&str] = &[
    REGISTER,
    COPY,
    FORGET,
    START,
    TWIN,
    UPDATE,
    COMPONENT_UPDATE,
    CALL,
    COMPONENT_CALL,
    GET,
    DIGITAL_UPDATE,
    DIGITAL_COMPONENT_UPDATE,
    DIGITAL_CALL,
    DIGITAL_COMPONENT_CALL,
    UNKNOWN,
    STOP,
    OFFLINE,
    EVENTS[0],
    EVENTS[1],
    EVENTS[2],
    COMPONENT_EVENTS[0],
    COMPONENT_EVENTS[1],
    COMPONENT_EVENTS[2],
];

pub(super) async fn walk(reader: &mut Reader, hub: &Hub) -> Option<()> {
    let begin = Timestamp::now() - ANOTHER_CLOCK;
    let thermostat = reader.new_device("pnp-thermostat");
    let controller = reader.new_device("pnp-controller");
    reader.step(REGISTER, register_both(hub, &thermostat, &controller)).await?;
    let strings = reader.step(COPY, copy_both(hub, &thermostat, &controller)).await?;
    reader.step(FORGET, forget_variables(hub, &strings.0)).await?;
    let (mut plain, mut parts) = reader.step(START, start_both(&strings)).await?;

    let service = |program, id| BackEnd { hub, program, id };
    let (of_plain, of_parts) = (service("pnp_service", &*thermostat), service("pnp_service", &*controller));
    reader.step(TWIN, twins(&of_plain, &of_parts)).await?;
    reader.step(UPDATE, of_plain.update("update", &mut plain, "")).await?;
    reader.step(COMPONENT_UPDATE, of_parts.update("component-update", &mut parts, "thermostat1.")).await?;
    reader.step(CALL, of_plain.call("command", &mut plain, "")).await?;
    reader.step(COMPONENT_CALL, of_parts.call("component-command", &mut parts, "thermostat1*")).await?;

    let (of_plain, of_parts) =
        (service("pnp_digital_twin", &*thermostat), service("pnp_digital_twin", &*controller));
    reader.step(GET, digital_twins(&of_plain, &of_parts)).await?;
    reader.step(DIGITAL_UPDATE, of_plain.update("update", &mut plain, "")).await?;
    let step = of_parts.update("component-update", &mut parts, "thermostat1.");
    reader.step(DIGITAL_COMPONENT_UPDATE, step).await?;
    reader.step(DIGITAL_CALL, of_plain.call("command", &mut plain, "")).await?;
    let step = of_parts.call("component-command", &mut parts, "thermostat1*");
    reader.step(DIGITAL_COMPONENT_CALL, step).await?;

    reader.step(UNKNOWN, unknown_command(&of_parts, &mut parts)).await?;
    reader.step(STOP, stop_both(plain, parts)).await?;
    reader.step(OFFLINE, of_plain.refused("command", &[], "isn't online")).await?;

    let plain = Form { device: thermostat, model: THERMOSTAT, component: None, steps: EVENTS };
    events::read(reader, hub, &plain, begin).await?;
    let component = Some("thermostat1");
    let parts = Form { device: controller, model: CONTROLLER, component, steps: COMPONENT_EVENTS };
    events::read(reader, hub, &parts, begin).await
}

async fn register_both(hub: &Hub, thermostat: &str, controller: &str) -> Result<()> {
    register(hub, thermostat).await?;
    register(hub, controller).await
}

async fn copy_both(hub: &Hub, thermostat: &str, controller: &str) -> Result<(String, String)> {
    Ok((copy_string(hub, thermostat).await?, copy_string(hub, controller).await?))
}

async fn forget_variables(hub: &Hub, device_string: &str) -> Result<()> {
    device_needs("pnp_thermostat", device_string).await?;
    device_needs("pnp_temperature_controller", device_string).await?;
    back_end_needs_with("pnp_service", &["twin"], hub.service()).await?;
    back_end_needs_with("pnp_digital_twin", &["get"], hub.service()).await?;
    program::run_refused("read_events", command("read_events", &[]), &[SERVICE_STRING], SOON).await
}

async fn start_both((thermostat, controller): &(String, String)) -> Result<(Program, Program)> {
    let plain = start("pnp_thermostat", "thermostat", THERMOSTAT, thermostat).await?;
    let parts = start("pnp_temperature_controller", "temperature controller", CONTROLLER, controller).await?;
    Ok((plain, parts))
}

async fn start(program: &str, title: &str, model_id: &str, device_string: &str) -> Result<Program> {
    let mut device = Program::start(program, command(program, &[(DEVICE_STRING, device_string)]))?;
    for line in [
        format!("Starting the Rust IoT Plug and Play {title} sample..."),
        format!("Connected as {model_id}"),
        "Properties reported".to_owned(),
        "Waiting for property writes and commands, press Ctrl-C to exit".to_owned(),
    ] {
        device.expect_line(&line, SOON).await?;
    }
    device.expect("telemetry", SOON, |line| line.starts_with("Sending telemetry")).await?;
    Ok(device)
}

/// One of the back end's programs, for one device.
struct BackEnd<'a> {
    hub: &'a Hub,
    program: &'static str,
    id: &'a str,
}

impl BackEnd<'_> {
    fn command(&self, step: &str) -> tokio::process::Command {
        let variables = [(SERVICE_STRING, self.hub.service()), (DEVICE_ID, self.id)];
        let mut command = command(self.program, &variables);
        command.arg(step);
        command
    }

    /// Runs the program for this step. Returns the lines that it prints.
    async fn run(&self, step: &str) -> Result<Vec<String>> {
        program::run(self.program, self.command(step), SOON).await
    }

    /// Has the program write the target. The device tells of it, and its answer is in the digital twin.
    async fn update(&self, step: &str, device: &mut Program, component: &str) -> Result<()> {
        let name = component.trim_end_matches('.');
        let printed = self.run(step).await?;
        let expected = match (self.program, name) {
            ("pnp_service", "") => ["The desired properties are:", r#"{"targetTemperature":42}"#].join("\n"),
            ("pnp_service", _) => {
                ["The desired properties are:", r#"{"thermostat1":{"__t":"c","targetTemperature":42}}"#]
                    .join("\n")
            }
            _ => {
                let path = if name.is_empty() { String::new() } else { format!("/{name}") };
                let patch = format!(r#"[{{"op":"add","path":"{path}/targetTemperature","value":42}}]"#);
                format!("The hub has the patch: {patch}")
            }
        };
        ensure!(printed.join("\n") == expected, "{} printed {printed:?}", self.program);
        expect_event(
            device,
            &format!("Property {component}targetTemperature written: 42, answered with 200"),
        )
        .await?;
        let answered = async {
            loop {
                let twin = self.digital_twin().await?;
                let part = if name.is_empty() { &twin } else { &twin[name] };
                let about = &part["$metadata"]["targetTemperature"];
                if part["targetTemperature"] == 42 && about["ackVersion"] == about["desiredVersion"] {
                    ensure!(about["ackCode"] == 200, "the device answered with {about}");
                    return Ok(());
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::time::timeout(SOON, answered)
            .await
            .context("the device's answer is not in its digital twin")?
    }

    async fn digital_twin(&self) -> Result<Value> {
        let service = ServiceClient::from_connection_string(self.hub.service())?;
        let (twin, _etag) = service.digital_twins().get(&self.id.parse()?).await?;
        Ok(Value::Object(twin.into_document()))
    }

    /// Has the program call the report and print the device's answer.
    async fn call(&self, step: &str, device: &mut Program, component: &str) -> Result<()> {
        let printed = self.run(step).await?;
        let [line] = printed.as_slice() else { bail!("{} printed {printed:?}", self.program) };
        let report: Value = serde_json::from_str(line).with_context(|| format!("{line:?} is no report"))?;
        for member in ["maxTemp", "minTemp", "avgTemp"] {
            ensure!(report[member].is_number(), "the report {report} has no {member}");
        }
        for member in ["startTime", "endTime"] {
            ensure!(report[member].is_string(), "the report {report} has no {member}");
        }
        expect_event(device, &format!("Command {component}getMaxMinReport called, answered with 200")).await
    }

    /// Has the program ask for something that it does not get: after these lines it prints the reason.
    async fn refused(&self, step: &str, before: &[&str], why: &str) -> Result<()> {
        let mut program = Program::start(self.program, self.command(step))?;
        for line in before {
            program.expect_line(line, SOON).await?;
        }
        let wanted = format!("an error with {why:?}");
        program.expect(&wanted, SOON, |line| line.starts_with("Unexpected error ")).await?;
        while program.next_line(SOON).await?.is_some() {}
        // The error takes as many lines as it needs, whose breaks and indents are blanks.
        let said = program.lines().split_off(before.len()).join(" ");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(said.contains(why), "{} should have said {why:?}, and said {said:?}", self.program);
        ensure!(!program.end(SOON).await?.success(), "{} ended well after an error", self.program);
        Ok(())
    }
}

async fn twins(plain: &BackEnd<'_>, parts: &BackEnd<'_>) -> Result<()> {
    for (back_end, model_id) in [(plain, THERMOSTAT), (parts, CONTROLLER)] {
        let printed = back_end.run("twin").await?;
        let [title, blank, twin, rest @ ..] = printed.as_slice() else { bail!("it printed {printed:?}") };
        ensure!((title.as_str(), blank.as_str()) == ("The device twin is: ", ""), "it printed {printed:?}");
        let twin: Value = serde_json::from_str(twin)?;
        ensure!(twin["deviceId"] == back_end.id && twin["modelId"] == model_id, "it is the twin {twin}");
        ensure!(rest == ["", "The Model ID for this device is:", model_id, ""], "it printed {printed:?}");
    }
    Ok(())
}

async fn digital_twins(plain: &BackEnd<'_>, parts: &BackEnd<'_>) -> Result<()> {
    for (back_end, model_id, part) in [(plain, THERMOSTAT, ""), (parts, CONTROLLER, "thermostat1")] {
        let printed = back_end.run("get").await?;
        let [twin, model] = printed.as_slice() else { bail!("it printed {printed:?}") };
        ensure!(*model == format!("Model Id: {model_id}"), "it printed {model:?}");
        let twin: Value = serde_json::from_str(twin)?;
        ensure!(twin["$dtId"] == back_end.id && twin["$metadata"]["$model"] == model_id, "it is {twin}");
        let part = if part.is_empty() { &twin } else { &twin[part] };
        let about = &part["$metadata"]["targetTemperature"];
        // As the walk through the device twin has left it.
        ensure!(part["targetTemperature"] == 42 && about["ackCode"] == 200, "its target is not 42: {twin}");
        ensure!(about["desiredValue"] == json!(42), "nothing is desired: {twin}");
        ensure!(part["maxTempSinceLastReboot"].is_number(), "no maximum is reported: {twin}");
    }
    Ok(())
}

/// The controller has the report in its components only: its own answer comes back.
async fn unknown_command(back_end: &BackEnd<'_>, device: &mut Program) -> Result<()> {
    back_end.refused("command", &[r#"{"error":"there is no such command"}"#], "the status 404").await?;
    expect_event(device, "Command getMaxMinReport called, answered with 404").await
}

async fn stop_both(plain: Program, parts: Program) -> Result<()> {
    for (mut device, title) in [(plain, "thermostat"), (parts, "temperature controller")] {
        device.interrupt()?;
        expect_event(&mut device, &format!("IoT Plug and Play {title} sample stopped")).await?;
        device.expect_line("Shutting down IoT Hub Client", SOON).await?;
        device.expect_end(SOON).await?;
        device.end_well(SOON).await?;
    }
    Ok(())
}

/// The next line that is not about telemetry, which comes when it comes.
async fn expect_event(device: &mut Program, wanted: &str) -> Result<()> {
    loop {
        match device.next_line(SOON).await.with_context(|| format!("waiting for {wanted:?}"))? {
            Some(line) if line == wanted => return Ok(()),
            Some(line) if line.starts_with("Sending telemetry") => {}
            Some(line) => return Err(device.complaint(format!("printed {line:?} where {wanted:?} belongs"))),
            None => return Err(device.complaint(format!("ended where {wanted:?} belongs"))),
        }
    }
}
