//! What is said to a program, and what it answers: one JSON object per line.

use iothub_programs::program::Program;
use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::ours::LINE;

/// The next line, which must be there.
pub(super) async fn hear(program: &mut Program) -> Result<Value> {
    let Some(line) = program.next_line(LINE).await? else {
        bail!(program.complaint("ended before it answered".to_owned()));
    };
    serde_json::from_str(&line).with_context(|| format!("a line that is not JSON: {line}"))
}

/// Says a command; the line that answers it.
pub(super) async fn ask(program: &mut Program, command: &Value) -> Result<Value> {
    program.type_line(&command.to_string()).await?;
    hear(program).await
}

/// The next line of this kind; lines about the connection are passed over, anything else ends the case.
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
