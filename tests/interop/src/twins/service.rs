//! [`Service`] is the back end's side of twins: ours, or a program of Microsoft's client, with one set of outcomes.

use anyhow::{Result, bail};
use iothub_models::{DeviceId, Identity, ModuleId, ModuleIdentity, TwinPatch, TwinReplacement};
use iothub_programs::program::Program;
use iothub_rest_service::{Error, ErrorKind, Precondition, ServiceClient};
use serde_json::{Map, Value, json};

use crate::language::Language;
use crate::site::Site;
use crate::talk::{LINE, ask, command};

/// The sections of a twin that a back end writes: tags, desired properties, or both.
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

/// The outcome of a write to a twin.
#[derive(Debug)]
pub(super) enum TwinOutcome {
    /// The whole twin after the write.
    Done(Value),
    /// The HTTP status of the refusal.
    Refused(u64),
    /// This client has no such call.
    Unsupported,
}

/// All rows of a query, the number of rows in each page, and the types that the pages named.
#[derive(Debug, PartialEq)]
pub(super) struct Rows {
    pub(super) pages: Vec<usize>,
    pub(super) types: Vec<String>,
    pub(super) rows: Vec<Value>,
}

/// A back end on any of the clients.
pub(super) enum Service {
    Ours(ServiceClient),
    Theirs(Box<Program>),
}

impl Service {
    pub(super) fn start(site: &Site, language: Language) -> Result<Self> {
        if language == Language::Rust {
            return Ok(Self::Ours(site.service().clone()));
        }
        Ok(Self::Theirs(Box::new(site.start_back_end(language, "twin_service", &[])?)))
    }

    /// Reads the twin.
    pub(super) async fn get(&mut self, identity: &Identity) -> Result<Value> {
        match self {
            Self::Ours(client) => Ok(serde_json::to_value(client.twins().get(identity.clone()).await?)?),
            Self::Theirs(program) => {
                let answer = ask(program, &command("get", identity)).await?;
                done(program, answer, "twin")
            }
        }
    }

    /// Lays a change over the twin; without `etag`, whichever version is there.
    pub(super) async fn update(
        &mut self,
        identity: &Identity,
        write: &Write,
        etag: Option<&str>,
    ) -> Result<TwinOutcome> {
        match self {
            Self::Ours(client) => {
                let mut patch = TwinPatch::new();
                patch.tags = write.tags.clone().unwrap_or_default();
                for (name, value) in write.desired.iter().flatten() {
                    patch = patch.desired(name, value.clone());
                }
                answered(client.twins().patch(identity.clone(), &patch, precondition(etag)).await)
            }
            Self::Theirs(program) => {
                let command = write_command("update", identity, write, etag);
                answered_by_them(program, command, "twin").await
            }
        }
    }

    /// Replaces sections of the twin.
    pub(super) async fn replace(&mut self, identity: &Identity, write: &Write) -> Result<TwinOutcome> {
        match self {
            Self::Ours(client) => {
                let mut replacement = TwinReplacement::new();
                if let Some(tags) = &write.tags {
                    replacement = replacement.tags(tags.clone());
                }
                if let Some(desired) = &write.desired {
                    replacement = replacement.desired(desired.clone());
                }
                answered(client.twins().replace(identity.clone(), &replacement, Precondition::Any).await)
            }
            Self::Theirs(program) => {
                let command = write_command("replace", identity, write, None);
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
                let identity = &Identity::from((device, module));
                let answer = ask(program, &command("create_module", identity)).await?;
                let made = done(program, answer, "module")?;
                if made["module_id"] != module.as_str() {
                    bail!(program.complaint("made another module".to_owned()));
                }
            }
        }
        Ok(())
    }

    /// Returns the ids of a device's modules.
    pub(super) async fn modules(&mut self, device: &DeviceId) -> Result<Vec<String>> {
        match self {
            Self::Ours(client) => {
                let modules = client.modules().list(device).await?;
                Ok(modules.into_iter().map(|module| module.module_id.as_str().to_owned()).collect())
            }
            Self::Theirs(program) => {
                let identity = &Identity::from(device);
                let answer = ask(program, &command("list_modules", identity)).await?;
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
                let identity = &Identity::from((device, module));
                let answer = ask(program, &command("delete_module", identity)).await?;
                done(program, answer, "op").map(drop)
            }
        }
    }

    /// Reads all rows of a query, page by page.
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
                let answer = ask(program, &command).await?;
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

fn write_command(op: &str, identity: &Identity, write: &Write, etag: Option<&str>) -> Value {
    let mut command = command(op, identity);
    command["patch"] = write.shown();
    if let Some(etag) = etag {
        command["etag"] = etag.into();
    }
    command
}

fn answered(result: Result<iothub_models::Twin, Error>) -> Result<TwinOutcome> {
    match result {
        Ok(twin) => Ok(TwinOutcome::Done(serde_json::to_value(twin)?)),
        Err(error) => match error.kind() {
            ErrorKind::PreconditionFailed => Ok(TwinOutcome::Refused(412)),
            ErrorKind::InvalidArgument => Ok(TwinOutcome::Refused(400)),
            _ => Err(error.into()),
        },
    }
}

/// Returns a field of an answer, which must be a result.
fn done(program: &Program, mut answer: Value, field: &str) -> Result<Value> {
    if answer["event"] != "result" {
        bail!(program.complaint(format!("should have answered with {field}")));
    }
    Ok(answer[field].take())
}

async fn answered_by_them(program: &mut Program, command: Value, field: &str) -> Result<TwinOutcome> {
    let answer = ask(program, &command).await?;
    match answer["event"].as_str() {
        Some("unsupported") => Ok(TwinOutcome::Unsupported),
        Some("error") if answer["status"].is_u64() => {
            Ok(TwinOutcome::Refused(answer["status"].as_u64().unwrap_or_default()))
        }
        _ => Ok(TwinOutcome::Done(done(program, answer, field)?)),
    }
}
