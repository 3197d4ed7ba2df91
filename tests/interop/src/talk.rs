//! This file talks with a program on one of Microsoft's clients, one JSON object per line: a command, and the line that
//! answers it. All cases with such a program use it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use iothub_models::Identity;
use iothub_programs::program::Program;
use serde_json::{Value, json};

/// The longest wait for one line or one answer. Microsoft's clients try a refused call again before they report it.
pub(super) const LINE: Duration = Duration::from_secs(75);

/// Returns the command `op` about a device or a module.
pub(super) fn command(op: &str, identity: &Identity) -> Value {
    let mut command = json!({"op": op, "device_id": identity.device.as_str()});
    if let Some(module) = &identity.module {
        command["module_id"] = module.as_str().into();
    }
    command
}

/// Waits for the next line, which must come.
pub(super) async fn hear(program: &mut Program) -> Result<Value> {
    let Some(line) = program.next_line(LINE).await? else {
        bail!(program.complaint("ended before it answered".to_owned()));
    };
    serde_json::from_str(&line).with_context(|| format!("a line that is not JSON: {line}"))
}

/// Types a command. Returns the line that answers it.
pub(super) async fn ask(program: &mut Program, command: &Value) -> Result<Value> {
    program.type_line(&command.to_string()).await?;
    hear(program).await
}

/// Types a command, which must succeed. Returns its result.
pub(super) async fn result(program: &mut Program, command: &Value) -> Result<Value> {
    let answer = ask(program, command).await?;
    if answer["event"] != "result" {
        // Readers of events call it `cmd`.
        let op = if command["op"].is_null() { &command["cmd"] } else { &command["op"] };
        bail!(program.complaint(format!("should have done {op}")));
    }
    Ok(answer)
}

/// Waits for the next line of this kind. Lines about the connection are passed over; any other line ends the case.
pub(super) async fn expect(program: &mut Program, kind: &str) -> Result<Value> {
    loop {
        let line = hear(program).await.with_context(|| format!("waiting for {kind:?}"))?;
        match line["event"].as_str() {
            Some(name) if name == kind => return Ok(line),
            Some("connection") => {}
            _ => bail!(program.complaint(format!("printed something else than {kind:?}"))),
        }
    }
}
