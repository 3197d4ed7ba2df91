//! This file lists the options of the program once, for the command line and for the TOML file.
//!
//! `main` reads both into [`Settings`], which make the builder of a hub.
//!
//! An option that is given on the command line counts, and the file's does not, lists included:
//! `--route` once, and none of the file's routes is there.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use iothub_auth::SharedAccessKey;
use iothub_local_hub::{EventSource, LOOPBACK, LocalHub, LocalHubBuilder, Ports, Route, RouteError};
use iothub_models::DeviceId;
use serde::Deserialize;

use crate::places::RoutePlaces;

#[derive(Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// The hub's name; it also answers to NAME.localhost [default: local-hub]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Another host name that clients may use; the first one is used in connection strings; may be repeated
    #[arg(long, value_name = "NAME")]
    host_name: Vec<String>,
    /// The port of MQTT over TLS [default: 8883]
    #[arg(long, value_name = "N")]
    mqtts_port: Option<u16>,
    /// The port of AMQP over TLS [default: 5671]
    #[arg(long, value_name = "N")]
    amqps_port: Option<u16>,
    /// The port of plain AMQP, for Event Hubs clients with UseDevelopmentEmulator=true [default: 5672]
    #[arg(long, value_name = "N")]
    amqp_port: Option<u16>,
    /// The port of HTTPS [default: 443, or 8443 where 443 needs a privilege]
    #[arg(long, value_name = "N")]
    https_port: Option<u16>,
    /// Where the CA and the keys are kept [default: ./local-hub-state]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The key of the policy iothubowner [default: made by the hub and kept]
    #[arg(long, value_name = "BASE64", value_parser = key)]
    owner_key: Option<SharedAccessKey>,
    /// A device the hub knows from the start, and after every restart; may be repeated
    #[arg(long, value_name = "ID")]
    device: Vec<DeviceId>,
    /// A PEM file with a CA that issues certificates of devices; may be repeated
    #[arg(long, value_name = "FILE")]
    device_ca: Vec<PathBuf>,
    /// A consumer group that may read events, beside $Default; may be repeated
    #[arg(long, value_name = "NAME")]
    consumer_group: Vec<String>,
    /// Events that readers get beside telemetry, such as TwinChangeEvents; may be repeated
    #[arg(long, value_name = "SOURCE", value_parser = route)]
    route: Vec<RouteTable>,
    /// `false` if readers do not get telemetry that no route took.
    #[arg(skip)]
    fallback_route: Option<bool>,
    /// A JSON file with ports and connection strings, written when the hub is ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Print the connection strings of all devices and for all clients at the start
    #[arg(long)]
    show_strings: bool,
    /// How to show what happens, on standard output: a line or a JSON object each [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log: Option<LogFormat>,
    /// Show only refusals, failures and what is done to the hub itself
    #[arg(long)]
    quiet: bool,
}

/// The form in which the program shows what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// A `[[route]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteTable {
    /// The route's name; that of the source unless given.
    name: Option<String>,
    source: String,
    condition: Option<String>,
    enabled: Option<bool>,
    endpoint: Option<String>,
    /// The place of the table in the configuration file; `None` for a route of the command line.
    #[serde(skip)]
    places: Option<RoutePlaces>,
}

#[expect(clippy::unnecessary_wraps, reason = "what clap asks for; the hub checks the key itself")]
fn key(text: &str) -> Result<SharedAccessKey, std::convert::Infallible> {
    Ok(SharedAccessKey::new(text))
}

fn route(source: &str) -> anyhow::Result<RouteTable> {
    let source = source.parse::<EventSource>()?.route_source().to_owned();
    Ok(RouteTable { name: None, source, condition: None, enabled: None, endpoint: None, places: None })
}

impl Settings {
    /// Tells the routes where in the configuration file they are, in the order of the file.
    pub(crate) fn place_routes(&mut self, places: Vec<RoutePlaces>) {
        for (table, places) in self.route.iter_mut().zip(places) {
            table.places = Some(places);
        }
    }

    /// Returns these settings, with those of `other` where these say nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            name: self.name.or(other.name),
            host_name: listed(self.host_name, other.host_name),
            mqtts_port: self.mqtts_port.or(other.mqtts_port),
            amqps_port: self.amqps_port.or(other.amqps_port),
            amqp_port: self.amqp_port.or(other.amqp_port),
            https_port: self.https_port.or(other.https_port),
            state_dir: self.state_dir.or(other.state_dir),
            owner_key: self.owner_key.or(other.owner_key),
            device: listed(self.device, other.device),
            device_ca: listed(self.device_ca, other.device_ca),
            consumer_group: listed(self.consumer_group, other.consumer_group),
            route: listed(self.route, other.route),
            fallback_route: self.fallback_route.or(other.fallback_route),
            ready_file: self.ready_file.or(other.ready_file),
            show_strings: self.show_strings || other.show_strings,
            log: self.log.or(other.log),
            quiet: self.quiet || other.quiet,
        }
    }

    pub(crate) fn ready_file(&self) -> Option<&Path> {
        self.ready_file.as_deref()
    }

    /// Returns whether all strings are to be printed.
    pub(crate) const fn show_strings(&self) -> bool {
        self.show_strings
    }

    /// Returns whether both logs are to be JSON.
    pub(crate) fn logs_json(&self) -> bool {
        self.log == Some(LogFormat::Json)
    }

    /// Returns whether only trouble is to be shown.
    pub(crate) const fn quiet(&self) -> bool {
        self.quiet
    }

    /// Returns whether HTTPS was left to the default port, which may need a privilege.
    pub(crate) const fn wants_standard_https(&self) -> bool {
        self.https_port.is_none()
    }

    /// Returns the builder of the hub that these settings describe.
    pub(crate) fn builder(&self) -> anyhow::Result<LocalHubBuilder> {
        let usual = Ports::STANDARD;
        let ports = Ports {
            mqtts: self.mqtts_port.unwrap_or(usual.mqtts),
            amqps: self.amqps_port.unwrap_or(usual.amqps),
            amqp: self.amqp_port.unwrap_or(usual.amqp),
            https: self.https_port.unwrap_or(usual.https),
        };
        let state_dir = self.state_dir.as_deref().unwrap_or(Path::new("./local-hub-state"));
        let mut builder = LocalHub::builder().addresses(LOOPBACK).ports(ports).state_dir(state_dir);
        if let Some(name) = &self.name {
            builder = builder.name(name);
        }
        if self.wants_standard_https() {
            builder = builder.https_fallback();
        }
        if let Some(key) = &self.owner_key {
            builder = builder.owner_key(key.clone());
        }
        for table in &self.route {
            builder = builder.route(table.route()?);
            // Names are compared with those before, so that the table at fault is known.
            builder.check_routes().map_err(|error| table.wrong(&error))?;
        }
        builder = builder.fallback_route(self.fallback_route.unwrap_or(true));
        builder = self.consumer_group.iter().fold(builder, LocalHubBuilder::consumer_group);
        builder = self.device_ca.iter().fold(builder, LocalHubBuilder::device_ca_file);
        builder = self.host_name.iter().fold(builder, LocalHubBuilder::host_name);
        Ok(self.device.iter().cloned().fold(builder, LocalHubBuilder::device))
    }
}

impl RouteTable {
    fn route(&self) -> anyhow::Result<Route> {
        let source: EventSource = self.source.parse().map_err(|error| self.wrong(&error))?;
        let name = self.name.as_deref().unwrap_or(source.route_source());
        if let Some(endpoint) = self.endpoint.as_deref().filter(|endpoint| *endpoint != "events") {
            let text =
                format!("the route {name:?} leads to {endpoint:?}: the only endpoint here is \"events\"");
            return Err(self.at(|places| places.endpoint, &text));
        }
        let route = Route::new(name, source).enabled(self.enabled.unwrap_or(true));
        match &self.condition {
            Some(condition) => route.condition(condition).map_err(|error| self.wrong(&error)),
            None => Ok(route),
        }
    }

    /// Returns the error with the place of the member that it is about.
    fn wrong(&self, error: &RouteError) -> anyhow::Error {
        let line = |places: &RoutePlaces| match error {
            RouteError::UnknownSource(_) => places.source,
            RouteError::Name(_) | RouteError::SameName(_) => places.name,
            RouteError::Condition { .. } => places.condition,
            _ => None,
        };
        self.at(line, &error.to_string())
    }

    fn at(&self, line: impl Fn(&RoutePlaces) -> Option<usize>, text: &str) -> anyhow::Error {
        match &self.places {
            None => anyhow!("{text}"),
            Some(places) => {
                let line = line(places).unwrap_or(places.table);
                anyhow!("the configuration file {:?}, line {line}: {text}", places.file)
            }
        }
    }
}

fn listed<T>(own: Vec<T>, other: Vec<T>) -> Vec<T> {
    if own.is_empty() { other } else { own }
}
