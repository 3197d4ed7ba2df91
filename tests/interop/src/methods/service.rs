//! [`Service`] is the back end's side of direct methods: ours, or a program of Microsoft's client.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future;
use iothub_models::Identity;
use iothub_programs::program::Program;
use iothub_rest_service::{DirectMethodRequest, ErrorKind, ServiceClient};
use serde_json::Value;

use crate::language::Language;
use crate::site::Site;
use crate::talk::{self, LINE, ask};

/// A call without its payload.
#[derive(Clone)]
pub(super) struct Call {
    /// The device or module that is called.
    pub(super) identity: Identity,
    pub(super) name: String,
    pub(super) response_timeout_s: Option<u64>,
    pub(super) connect_timeout_s: Option<u64>,
    /// True if a program is told the timeouts as text.
    pub(super) timeouts_as_text: bool,
}

impl Call {
    pub(super) fn new(device: &str, module: Option<&str>, name: &str) -> Result<Self> {
        Ok(Self {
            identity: Identity::new(device.parse()?, module.map(str::parse).transpose()?),
            name: name.to_owned(),
            response_timeout_s: None,
            connect_timeout_s: None,
            timeouts_as_text: false,
        })
    }

    /// Returns the call with timeouts, in seconds.
    pub(super) fn within(self, connect: u64, response: u64) -> Self {
        Self { connect_timeout_s: Some(connect), response_timeout_s: Some(response), ..self }
    }

    fn request(&self, payload: &Value) -> Result<DirectMethodRequest> {
        let mut request = DirectMethodRequest::new(self.name.parse()?).with_payload(payload.clone());
        if let Some(seconds) = self.response_timeout_s {
            request = request.with_response_timeout(Duration::from_secs(seconds))?;
        }
        if let Some(seconds) = self.connect_timeout_s {
            request = request.with_connect_timeout(Duration::from_secs(seconds))?;
        }
        Ok(request)
    }

    fn command(&self, op: &str) -> Value {
        let mut command = talk::command(op, &self.identity);
        command["name"] = self.name.as_str().into();
        for (name, seconds) in
            [("response_timeout_s", self.response_timeout_s), ("connect_timeout_s", self.connect_timeout_s)]
        {
            if let Some(seconds) = seconds {
                command[name] =
                    if self.timeouts_as_text { seconds.to_string().into() } else { seconds.into() };
            }
        }
        command
    }
}

/// The outcome of a call, and the time that it took.
#[derive(Debug)]
pub(super) enum MethodOutcome {
    Done {
        status: i64,
        payload: Value,
    },
    /// The HTTP status of the refusal.
    Refused {
        status: u64,
        took: Duration,
    },
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
        Ok(Self::Theirs(Box::new(site.start_back_end(language, "method_service", &[])?)))
    }

    pub(super) async fn invoke(&mut self, call: &Call, payload: &Value) -> Result<MethodOutcome> {
        match self {
            Self::Ours(client) => {
                let request = call.request(payload)?;
                let started = Instant::now();
                match client.invoke_method(call.identity.clone(), &request).await {
                    Ok(answer) => {
                        Ok(MethodOutcome::Done { status: answer.status.into(), payload: answer.payload })
                    }
                    Err(error) => {
                        let took = started.elapsed();
                        // What it does not even send has no status of the hub's.
                        let status = match error.kind() {
                            ErrorKind::TooLarge => 413,
                            _ => error.http_status().context(error)?.into(),
                        };
                        Ok(MethodOutcome::Refused { status, took })
                    }
                }
            }
            Self::Theirs(program) => {
                let mut command = call.command("invoke");
                command["payload"] = payload.clone();
                let mut answer = ask(program, &command).await?;
                let took = Duration::from_millis(answer["took_ms"].as_u64().unwrap_or_default());
                match answer["event"].as_str() {
                    Some("result") => {
                        let status = answer["status"].as_i64().context("an answer without status")?;
                        Ok(MethodOutcome::Done { status, payload: answer["payload"].take() })
                    }
                    Some("error") if answer["status"].is_u64() => Ok(MethodOutcome::Refused {
                        status: answer["status"].as_u64().unwrap_or_default(),
                        took,
                    }),
                    _ => bail!(program.complaint("neither did nor was refused it".to_owned())),
                }
            }
        }
    }

    /// Sends all payloads at once. Returns the payloads of the answers, in the same order; all must have the status
    /// 200.
    pub(super) async fn invoke_together(&mut self, call: &Call, payloads: &[Value]) -> Result<Vec<Value>> {
        match self {
            Self::Ours(client) => {
                let answers = payloads.iter().map(|payload| async {
                    let answer = client.invoke_method(call.identity.clone(), &call.request(payload)?).await?;
                    ensure!(answer.status == 200, "status {}", answer.status);
                    Ok(answer.payload)
                });
                future::try_join_all(answers).await
            }
            Self::Theirs(program) => {
                let mut command = call.command("invoke_many");
                command["payloads"] = payloads.into();
                let mut answer = ask(program, &command).await?;
                let Value::Array(results) = answer["results"].take() else {
                    bail!(program.complaint("did not do all".to_owned()));
                };
                ensure!(results.iter().all(|result| result["status"] == 200), "not all have status 200");
                Ok(results.into_iter().map(|mut result| result["payload"].take()).collect())
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
