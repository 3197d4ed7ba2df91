//! This file runs the cases of refusals: `tests/interop/faults.json` says which error each of Microsoft's clients
//! must raise, and the run compares. Each fault has a control beside it, which is the same program without the fault.

mod setup;

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use iothub_programs::program::Program;
use serde_json::{Map, Value};

use self::setup::{MODULE, Setup, setup};
use super::cases::Case;
use super::language::{Language, folder};
use super::site::{PLAIN_ENDPOINT, Site};
use super::talk::LINE;

/// Another key than any device or policy has.
const WRONG_KEY: &str = "d3Jvbmd3cm9uZ3dyb25nd3Jvbmd3cm9uZ3dyb25nd3I=";

pub(super) fn cases() -> Result<Vec<Case>> {
    let path = folder().join("faults.json");
    let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let file: Value = serde_json::from_str(&text).context("faults.json is not JSON")?;
    let rows = |name: &str| {
        let rows = file[name].as_array().cloned();
        rows.with_context(|| format!("faults.json has no {name}"))
    };
    let mut cases = Vec::new();
    for row in rows("rows")? {
        let (program, language) = program_of(&row)?;
        let fault = row["fault"].as_str().context("a row names no fault")?;
        let name = format!("fault {fault}: {}", row["client"].as_str().unwrap_or_default());
        let id = format!("fault-{}", cases.len());
        let needs = needs(&row, language);
        let reads = program.contains("read_events");
        let case = Case::new(name, &needs, move |site| refused(site, row, program, id));
        cases.push(if reads { case.embedded() } else { case });
    }
    for control in rows("controls")? {
        let (program, language) = program_of(&control)?;
        let arguments = arguments(&control, "").join(" ");
        let name = format!("control {program} {arguments}");
        let id = format!("control-{}", cases.len());
        let needs = needs(&control, language);
        let reads = program.contains("read_events");
        let case = Case::new(name.trim_end(), &needs, move |site| accepted(site, control, program, id));
        cases.push(if reads { case.embedded() } else { case });
    }
    Ok(cases)
}

fn program_of(row: &Value) -> Result<(String, Language)> {
    let program = row["program"].as_str().context("a row names no program")?;
    let language = Language::of_program(program).with_context(|| format!("{program}: of which language?"))?;
    Ok((program.to_owned(), language))
}

/// The client's language, and that of the device beside it.
fn needs(row: &Value, language: Language) -> Vec<Language> {
    let beside = row["beside"][0].as_str().and_then(Language::of_program);
    [Some(language), beside].into_iter().flatten().collect()
}

/// Returns the arguments of a row's program, with the device's id in its place.
fn arguments(row: &Value, id: &str) -> Vec<String> {
    let texts = row["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(|text| if text == "DEVICE" { id.to_owned() } else { text.to_owned() }).collect()
}

/// Starts the program of a row, says to it what there is to say, and returns all its lines.
async fn lines(
    site: &Site,
    row: &Value,
    program: &str,
    id: &str,
    setup: &Setup,
) -> Result<(Program, Vec<Value>)> {
    let identity = site.create_device(id).await?;
    if setup.module_exists {
        site.create_module(id, MODULE).await?;
    }
    let mut device_string = site.device_string(&identity)?;
    let mut owner_string = site.owner_string();
    // Only readers know it, and only the embedded hub tells it here.
    let mut event_hubs_string = site.event_hubs_string(false).unwrap_or_default();
    if setup.disabled {
        site.disable_device(&identity).await?;
    }
    if !setup.device_exists {
        site.delete_device(id).await?;
    }
    if setup.wrong_key {
        device_string = with_key(&device_string, WRONG_KEY);
        owner_string = with_key(&owner_string, WRONG_KEY);
        event_hubs_string = with_key(&event_hubs_string, WRONG_KEY);
    }
    let beside = match row["beside"].as_array() {
        Some(words) => Some(start_beside(site, words, &device_string).await?),
        None => None,
    };
    let mut command = site.command(program);
    command.args(arguments(row, id));
    command.env("IOTHUB_DEVICE_CONNECTION_STRING", device_string);
    command.env("IOTHUB_CONNECTION_STRING", owner_string);
    command
        .env("EVENTHUB_CONNECTION_STRING", event_hubs_string)
        .env("EVENTHUB_CUSTOM_ENDPOINT", PLAIN_ENDPOINT);
    command.env("EVENTHUB_CONSUMER_GROUP", setup.consumer_group);
    let mut running = Program::start(program, command)?;
    for line in &setup.input {
        running.type_line(&line.to_string()).await?;
    }
    running.close_input();
    let mut lines = Vec::new();
    while let Some(line) = running.next_line(LINE).await? {
        let line = serde_json::from_str(&line);
        lines.push(line.map_err(|_| running.complaint("printed a line that is not JSON".to_owned()))?);
    }
    if let Some(mut beside) = beside {
        beside.end_well(LINE).await?;
    }
    Ok((running, lines))
}

/// Starts the program that is the device, and waits until it is connected.
async fn start_beside(site: &Site, words: &[Value], device_string: &str) -> Result<Program> {
    let mut words = words.iter().filter_map(Value::as_str);
    let name = words.next().context("no program is named to run beside")?;
    let mut command = site.command(name);
    command.args(words).env("IOTHUB_DEVICE_CONNECTION_STRING", device_string);
    let mut program = Program::start(name, command)?;
    loop {
        let Some(line) = program.next_line(LINE).await? else {
            bail!(program.complaint("ended before it was connected".to_owned()));
        };
        if serde_json::from_str::<Value>(&line).is_ok_and(|line| line["event"] == "connected") {
            return Ok(program);
        }
    }
}

/// Returns the connection string with another key.
fn with_key(string: &str, key: &str) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some(("SharedAccessKey", _)) => format!("SharedAccessKey={key}"),
        _ => pair.to_owned(),
    };
    string.split(';').map(pair).collect::<Vec<_>>().join(";")
}

async fn refused(site: Arc<Site>, row: Value, program: String, id: String) -> Result<()> {
    let setup = setup(row["fault"].as_str().unwrap_or_default(), &program, &id);
    let (program, lines) = lines(&site, &row, &program, &id, &setup).await?;
    let Some(error) = lines.iter().find(|line| line["event"] == "error") else {
        bail!(program.complaint("raised no error".to_owned()));
    };
    let expected = row["expect"].as_object().context("a row expects nothing")?;
    if let Some(difference) = difference(expected, error) {
        bail!(program.complaint(difference));
    }
    if let Some(index) = setup.fails_at {
        let at = error["index"].as_u64().and_then(|at| usize::try_from(at).ok());
        ensure!(at == Some(index), "message {at:?} failed where {index} should have been the first");
    }
    Ok(())
}

async fn accepted(site: Arc<Site>, control: Value, program: String, id: String) -> Result<()> {
    let setup = setup("", &program, &id);
    let (program, lines) = lines(&site, &control, &program, &id, &setup).await?;
    if !lines.iter().any(|line| line["event"] == control["event"]) {
        bail!(program.complaint(format!("should have printed {}", control["event"])));
    }
    Ok(())
}

/// Returns the first expectation that the error does not meet.
fn difference(expected: &Map<String, Value>, error: &Value) -> Option<String> {
    let causes = || error["causes"].as_array().into_iter().flatten();
    let unmet = expected.iter().find(|(name, wanted)| {
        let met = match name.as_str() {
            "text" => {
                let wanted = wanted.as_str().unwrap_or_default();
                let contains = |message: &Value| message.as_str().is_some_and(|text| text.contains(wanted));
                contains(&error["message"]) || causes().any(|cause| contains(&cause["message"]))
            }
            "body" => {
                error["body"].as_str().is_some_and(|body| body.contains(wanted.as_str().unwrap_or("?")))
            }
            "cause_class" => causes().any(|cause| cause["class"] == **wanted),
            "condition" => causes().any(|cause| cause["condition"] == **wanted),
            // `step`, `class`, `status`, where a list means any of it; a name this does not know is a
            // mistake of the table.
            name => match wanted.as_array() {
                Some(any) => any.contains(&error[name]),
                None => error[name] == **wanted,
            },
        };
        !met
    });
    unmet.map(|(name, wanted)| format!("should have raised an error with {name} {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_must_meet_every_expectation() {
        let error = json!({"event": "error", "step": "send", "class": "E", "status": 401, "message": "no: 401",
            "body": "{404103}",
            "causes": [{"class": "C", "message": "because", "condition": "amqp:not-found"}]});
        let expects = |json: Value| difference(json.as_object().unwrap(), &error);
        assert_eq!(expects(json!({"step": "send", "class": "E", "text": "401", "cause_class": "C"})), None);
        assert_eq!(expects(json!({"text": "because", "condition": "amqp:not-found", "status": 401})), None);
        assert_eq!(expects(json!({"class": ["D", "E"], "body": "404103"})), None);
        for wrong in [
            json!({"class": ["C", "D"]}),
            json!({"step": "open"}),
            json!({"class": "C"}),
            json!({"text": "403"}),
            json!({"cause_class": "E"}),
            json!({"condition": "amqp:internal-error"}),
            json!({"status": "401"}),
            json!({"body": "404001"}),
            json!({"no_such_name": 1}),
        ] {
            assert!(expects(wrong.clone()).is_some(), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_key_changes_nothing_else() {
        assert_eq!(
            with_key("Endpoint=sb://h/;SharedAccessKeyName=p;SharedAccessKey=a=;EntityPath=e", "b="),
            "Endpoint=sb://h/;SharedAccessKeyName=p;SharedAccessKey=b=;EntityPath=e"
        );
    }

    #[test]
    fn every_row_of_the_table_is_a_case() {
        assert!(cases().unwrap().len() > 55);
    }
}
