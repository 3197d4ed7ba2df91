//! The back end's side of twins: ours, or a program of Microsoft's client, with one set of answers.

use anyhow::{Context, Result, bail};
use iothub_models::{DeviceId, Identity, ModuleId, ModuleIdentity, TwinPatch, TwinReplacement};
use iothub_rest_service::{Error, ErrorKind, Precondition, ServiceClient};
use serde_json::{Map, Value, json};

use crate::interop::language::Language;
use crate::interop::ours::{LINE, Site};
use crate::program::Program;

/// Whose twin it is.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) device: DeviceId,
    pub(super) module: Option<ModuleId>,
}

impl Owner {
    pub(super) fn device(id: &str) -> Result<Self> {
        Ok(Self { device: id.parse()?, module: None })
    }

    fn target(&self) -> Identity {
        Identity::new(self.device.clone(), self.module.clone())
    }

    /// As the programs are told it, with the rest of a command.
    fn command(&self, op: &str, rest: Value) -> Value {
        let mut command = json!({"op": op, "device_id": self.device.as_str()});
        if let Some(module) = &self.module {
            command["module_id"] = module.as_str().into();
        }
        for (name, value) in rest.as_object().into_iter().flatten() {
            command[name] = value.clone();
        }
        command
    }
}

/// What a back end changes: tags, desired properties, or both.
#[derive(Clone, Debug, Default)]
pub(super) struct Write {
    pub(super) tags: Option<Map<String, Value>>,
    pub(super) desired: Option<Map<String, Value>>,
}

impl Write {
    pub(super) fn desired(properties: Map<String, Value>) -> Self {
        Self { desired: Some(properties), ..Self::default() }
    }

    fn shown(&self) -> Value {
        let mut shown = Map::new();
        let sections = [("tags", &self.tags), ("desired", &self.desired)];
        for (name, section) in sections {
            if let Some(section) = section {
                shown.insert(name.to_owned(), Value::Object(section.clone()));
            }
        }
        Value::Object(shown)
    }
}

/// What became of a call.
#[derive(Debug)]
pub(super) enum Answer {
    Done(Value),
    /// The HTTP status of the refusal.
    Refused(u64),
    /// This client has no such call.
    Unsupported,
}

/// All of a query's rows, and how they came.
#[derive(Debug, PartialEq)]
pub(super) struct Rows {
    pub(super) pages: Vec<usize>,
    pub(super) types: Vec<String>,
    pub(super) rows: Vec<Value>,
}

/// A back end of whichever client.
pub(super) enum Service {
    Ours(ServiceClient),
    Theirs(Box<Program>),
}

impl Service {
    pub(super) fn start(site: &Site, language: Language) -> Result<Self> {
        if language == Language::Rust {
            return Ok(Self::Ours(site.service().clone()));
        }
        let program = language.program("twin_service");
        let mut command = site.command(&program);
        command.env("IOTHUB_CONNECTION_STRING", site.owner_string());
        Ok(Self::Theirs(Box::new(Program::start(&program, command)?)))
    }

    /// The twin.
    pub(super) async fn get(&mut self, owner: &Owner) -> Result<Value> {
        match self {
            Self::Ours(client) => Ok(serde_json::to_value(client.twins().get(owner.target()).await?)?),
            Self::Theirs(program) => {
                let answer = call(program, owner.command("get", Value::Null)).await?;
                done(program, answer, "twin")
            }
        }
    }

    /// Lays a change over the twin; the whole twin then. Without `etag` whatever is there.
    pub(super) async fn update(
        &mut self,
        owner: &Owner,
        write: &Write,
        etag: Option<&str>,
    ) -> Result<Answer> {
        match self {
            Self::Ours(client) => {
                let mut patch = TwinPatch::new();
                patch.tags = write.tags.clone().unwrap_or_default();
                for (name, value) in write.desired.iter().flatten() {
                    patch = patch.desired(name, value.clone());
                }
                answered(client.twins().patch(owner.target(), &patch, precondition(etag)).await)
            }
            Self::Theirs(program) => {
                let command = owner.command("update", with_etag(write, etag));
                answered_by_them(program, command, "twin").await
            }
        }
    }

    /// Puts sections in the place of what is there; the whole twin then.
    pub(super) async fn replace(&mut self, owner: &Owner, write: &Write) -> Result<Answer> {
        match self {
            Self::Ours(client) => {
                let mut replacement = TwinReplacement::new();
                if let Some(tags) = &write.tags {
                    replacement = replacement.tags(tags.clone());
                }
                if let Some(desired) = &write.desired {
                    replacement = replacement.desired(desired.clone());
                }
                answered(client.twins().replace(owner.target(), &replacement, Precondition::Any).await)
            }
            Self::Theirs(program) => {
                let command = owner.command("replace", with_etag(write, None));
                answered_by_them(program, command, "twin").await
            }
        }
    }

    /// Registers a module.
    pub(super) async fn create_module(&mut self, device: &DeviceId, module: &ModuleId) -> Result<()> {
        match self {
            Self::Ours(client) => {
                client.modules().create(ModuleIdentity::new(device.clone(), module.clone())).await?;
            }
            Self::Theirs(program) => {
                let owner = Owner { device: device.clone(), module: Some(module.clone()) };
                let answer = call(program, owner.command("create_module", Value::Null)).await?;
                let made = done(program, answer, "module")?;
                if made["module_id"] != module.as_str() {
                    bail!(program.complaint("made another module".to_owned()));
                }
            }
        }
        Ok(())
    }

    /// The ids of a device's modules.
    pub(super) async fn modules(&mut self, device: &DeviceId) -> Result<Vec<String>> {
        match self {
            Self::Ours(client) => {
                let modules = client.modules().list(device).await?;
                Ok(modules.into_iter().map(|module| module.module_id.as_str().to_owned()).collect())
            }
            Self::Theirs(program) => {
                let owner = Owner { device: device.clone(), module: None };
                let answer = call(program, owner.command("list_modules", Value::Null)).await?;
                let modules = done(program, answer, "modules")?;
                let ids = modules.as_array().into_iter().flatten().map(|module| &module["module_id"]);
                Ok(ids.filter_map(Value::as_str).map(str::to_owned).collect())
            }
        }
    }

    /// Removes a module.
    pub(super) async fn delete_module(&mut self, device: &DeviceId, module: &ModuleId) -> Result<()> {
        match self {
            Self::Ours(client) => Ok(client.modules().delete(device, module, Precondition::Any).await?),
            Self::Theirs(program) => {
                let owner = Owner { device: device.clone(), module: Some(module.clone()) };
                let answer = call(program, owner.command("delete_module", Value::Null)).await?;
                done(program, answer, "op").map(drop)
            }
        }
    }

    /// All rows of a query, page by page.
    pub(super) async fn query(&mut self, text: &str, page_size: Option<u16>) -> Result<Rows> {
        match self {
            Self::Ours(client) => {
                let mut query = client.query(text);
                if let Some(rows) = page_size {
                    query = query.page_size(rows);
                }
                let mut all = Rows { pages: Vec::new(), types: Vec::new(), rows: Vec::new() };
                let mut continuation = None;
                loop {
                    let page = query.page(continuation.as_deref()).await?;
                    all.pages.push(page.rows.len());
                    all.types.extend(page.item_type.map(|kind| kind.name().to_owned()));
                    all.rows.extend(page.rows);
                    continuation = page.continuation;
                    if continuation.is_none() {
                        return Ok(all);
                    }
                }
            }
            Self::Theirs(program) => {
                let command = json!({"op": "query", "query": text, "page_size": page_size});
                let answer = call(program, command).await?;
                let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
                done(program, answer.clone(), "rows")?;
                let count = |count: &Value| count.as_u64().and_then(|count| usize::try_from(count).ok());
                Ok(Rows {
                    pages: list("pages").iter().filter_map(count).collect(),
                    types: list("types").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                    rows: list("rows"),
                })
            }
        }
    }

    pub(super) async fn end(self) -> Result<()> {
        match self {
            Self::Ours(_) => Ok(()),
            Self::Theirs(mut program) => program.end_well(LINE).await,
        }
    }
}

fn precondition(etag: Option<&str>) -> Precondition {
    etag.map_or(Precondition::Any, |etag| Precondition::IfMatch(etag.to_owned()))
}

fn with_etag(write: &Write, etag: Option<&str>) -> Value {
    let mut rest = json!({"patch": write.shown()});
    if let Some(etag) = etag {
        rest["etag"] = etag.into();
    }
    rest
}

fn answered(result: Result<iothub_models::Twin, Error>) -> Result<Answer> {
    match result {
        Ok(twin) => Ok(Answer::Done(serde_json::to_value(twin)?)),
        Err(error) => match error.kind() {
            ErrorKind::PreconditionFailed => Ok(Answer::Refused(412)),
            ErrorKind::InvalidArgument => Ok(Answer::Refused(400)),
            _ => Err(error.into()),
        },
    }
}

/// Says a command to a program; the line it answers.
async fn call(program: &mut Program, command: Value) -> Result<Value> {
    program.type_line(&command.to_string()).await?;
    let Some(line) = program.next_line(LINE).await? else {
        bail!(program.complaint("ended before it answered".to_owned()));
    };
    serde_json::from_str(&line).context("the program printed no JSON")
}

/// The field of an answer that must be a result.
fn done(program: &Program, mut answer: Value, field: &str) -> Result<Value> {
    if answer["event"] != "result" {
        bail!(program.complaint(format!("should have answered with {field}")));
    }
    Ok(answer[field].take())
}

async fn answered_by_them(program: &mut Program, command: Value, field: &str) -> Result<Answer> {
    let answer = call(program, command).await?;
    match answer["event"].as_str() {
        Some("unsupported") => Ok(Answer::Unsupported),
        Some("error") if answer["status"].is_u64() => {
            Ok(Answer::Refused(answer["status"].as_u64().unwrap_or_default()))
        }
        _ => Ok(Answer::Done(done(program, answer, field)?)),
    }
}
