//! [`Device`] is the device's side of direct methods: ours, or a program of Microsoft's client.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use anyhow::{Context, Result};
use iothub_auth::DeviceConnectionString;
use iothub_mqtt_device::{DirectMethodCall, DirectMethodResponse, DirectMethods, ModuleClient};
use iothub_programs::program::Program;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::language::Language;
use crate::login::Login;
use crate::site::Site;
use crate::talk::{LINE, expect, hear};

/// A device or module on any of the clients, connected, which answers as `python/method_device.py` says.
pub(super) enum Device {
    Ours {
        client: ModuleClient,
        calls: mpsc::UnboundedReceiver<Value>,
    },
    /// A program, with the calls that came while it was still connecting.
    Theirs {
        program: Box<Program>,
        early: VecDeque<Value>,
    },
}

impl Device {
    pub(super) async fn start(
        site: &Site,
        language: Language,
        credential: &DeviceConnectionString,
        methods: &[String],
    ) -> Result<Self> {
        if language == Language::Rust {
            let client = ModuleClient::connect(credential).await?;
            let incoming = client.direct_methods().await?;
            let (told, calls) = mpsc::unbounded_channel();
            tokio::spawn(serve(incoming, methods.iter().cloned().collect(), told));
            return Ok(Self::Ours { client, calls });
        }
        let methods: Vec<&str> = methods.iter().map(String::as_str).collect();
        Self::with_login(site, language, credential.into(), &methods).await
    }

    /// Starts a device or module on one of Microsoft's clients, which connects as its login says.
    pub(super) async fn with_login(
        site: &Site,
        language: Language,
        login: Login,
        methods: &[&str],
    ) -> Result<Self> {
        let mut program = site.start_device(language, "method_device", methods, login)?;
        let mut early = VecDeque::new();
        loop {
            let line = hear(&mut program).await?;
            match line["event"].as_str() {
                Some("connected") => break,
                Some("call") => early.push_back(line),
                Some("connection") => {}
                _ => return Err(program.complaint("could not connect".to_owned())),
            }
        }
        Ok(Self::Theirs { program: Box::new(program), early })
    }

    /// The next call it saw: its `name` and its `payload`.
    pub(super) async fn call(&mut self) -> Result<Value> {
        match self {
            Self::Ours { calls, .. } => {
                let call = timeout(LINE, calls.recv()).await.context("our device saw no further call")?;
                call.context("our device has stopped")
            }
            Self::Theirs { program, early } => match early.pop_front() {
                Some(call) => Ok(call),
                None => expect(program, "call").await,
            },
        }
    }

    /// Disconnects the device.
    pub(super) async fn stop(self) -> Result<()> {
        match self {
            Self::Ours { client, .. } => Ok(client.shutdown().await?),
            Self::Theirs { mut program, .. } => program.end_well(LINE).await,
        }
    }
}

/// Tells of every call and answers it as its payload says.
async fn serve(mut calls: DirectMethods, known: HashSet<String>, told: mpsc::UnboundedSender<Value>) {
    let mut held: Vec<(DirectMethodCall, DirectMethodResponse)> = Vec::new();
    // Unanswered on purpose: dropping one would answer it.
    let mut kept = Vec::new();
    while let Some(call) = calls.next().await {
        let payload = call.payload().clone();
        // Whoever listens has gone: there is still an answer.
        drop(told.send(json!({"name": call.method().as_str(), "payload": payload})));
        if !known.contains(call.method().as_str()) {
            drop(call.respond(DirectMethodResponse::new(404, "unknown method")));
            continue;
        }
        let Some(wish) = payload.get("answer") else {
            drop(call.respond(DirectMethodResponse::new(200, payload)));
            continue;
        };
        let status = wish["status"].as_i64().and_then(|status| i32::try_from(status).ok()).unwrap_or(200);
        let response = DirectMethodResponse::new(status, wish["payload"].clone());
        if wish["never"] == true {
            kept.push(call);
        } else if let Some(all) = wish["hold"].as_u64().and_then(|all| usize::try_from(all).ok()) {
            held.push((call, response));
            if held.len() >= all {
                held.drain(..).for_each(|(call, response)| drop(call.respond(response)));
            }
        } else if let Some(seconds) = wish["after_s"].as_u64() {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                drop(call.respond(response));
            });
        } else {
            drop(call.respond(response));
        }
    }
}
