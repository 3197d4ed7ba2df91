//! This file defines the commands and their arguments. It checks ids, so that all other files get valid ids.

mod method_call;

use clap::{Args, Parser, Subcommand, ValueEnum};
use iothub_amqp_service::EventPosition;
use iothub_models::{DeviceId, MethodPayload, ModuleId, NotJson};

pub(crate) use self::method_call::MethodCall;

/// Looks after the devices of an Azure IoT hub, in Azure or local, and shows what they send.
///
/// Which hub: the environment variable IOTHUB_CONNECTION_STRING holds the connection string of one
/// of its shared access policies. `cargo xtask hub` prints that of a local hub; the portal shows
/// those of a hub in Azure under "Shared access policies" (registryReadWrite or iothubowner).
#[derive(Debug, Parser)]
#[command(name = "iothub", version)]
pub(crate) struct Cli {
    /// The hub's connection string, if IOTHUB_CONNECTION_STRING is not to be used.
    ///
    /// Prefer the variable: arguments show in process lists and in the shell's history.
    #[arg(long, value_name = "STRING", global = true)]
    pub(crate) connection_string: Option<Secret>,
    #[command(subcommand)]
    pub(crate) resource: Resource,
}

/// Text that is not shown by `Debug`.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Resource {
    /// Device identities: who may connect.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Direct methods: what a device does when it is asked.
    #[command(subcommand)]
    Method(MethodCommand),
    /// Twins: what device and back end agree on.
    #[command(subcommand)]
    Twin(TwinCommand),
    /// Show what devices send, and what the hub's routes tell of them, until Ctrl-C.
    ///
    /// One line of JSON for each event: `iothub monitor-events | jq .event.payload`
    ///
    /// The policy of the connection string needs "service connect".
    MonitorEvents(MonitorEvents),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MethodCommand {
    /// Call a method of a device, and show its answer as JSON.
    ///
    /// A Plug and Play command of a component is the method COMPONENT*COMMAND.
    ///
    /// The exit code is 1 if the device could not be called, and also if it answered with a status of 400 or
    /// more, which says that it did not do what was asked. Its answer is shown in that case too.
    Invoke {
        #[command(flatten)]
        call: MethodCall,
        /// A module of the device, if the method is the module's.
        #[arg(long, value_name = "MODULE")]
        module: Option<ModuleId>,
        /// The payload that the device gets.
        #[arg(long, value_name = "JSON", default_value = "null", value_parser = json)]
        payload: MethodPayload,
        /// How long the device may take to answer, from 5 to 300.
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=300))]
        response_timeout: u64,
        /// How long to wait for a device that is not connected, from 0 to 300.
        #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=300))]
        connect_timeout: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TwinCommand {
    /// Show the twin of a device or a module as JSON.
    Show {
        #[command(flatten)]
        device: DeviceArgument,
        /// A module of the device, if it is the module's twin.
        #[arg(long, value_name = "MODULE")]
        module: Option<ModuleId>,
    },
}

fn json(text: &str) -> Result<MethodPayload, String> {
    MethodPayload::parse(text).map_err(|error| {
        format!("it {}; a text needs quotes of its own: '\"text\"'", NotJson::of(text.as_bytes(), &error))
    })
}

/// What to show of the events of a hub.
#[derive(Debug, Args)]
pub(crate) struct MonitorEvents {
    /// Only the events of this device.
    #[arg(long = "device-id", short, visible_alias = "device", value_name = "ID")]
    pub(crate) device: Option<DeviceId>,
    /// Where to begin: latest (what comes from now on), earliest (all that the hub still keeps), or a
    /// time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "WHERE", default_value = "latest", value_parser = position)]
    pub(crate) from: EventPosition,
    /// The consumer group.
    #[arg(long, short, value_name = "NAME", default_value = "$Default")]
    pub(crate) consumer_group: String,
    /// Show application and system properties too.
    #[arg(long, short)]
    pub(crate) properties: bool,
    /// Stop after so many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

fn position(text: &str) -> Result<EventPosition, String> {
    match text {
        "latest" => Ok(EventPosition::Latest),
        "earliest" => Ok(EventPosition::Earliest),
        time => match time.parse() {
            Ok(time) => Ok(EventPosition::EnqueuedTime(time)),
            Err(_) => Err("say latest, earliest, or a time such as 2026-01-31T12:00:00Z".to_owned()),
        },
    }
}

/// How a new device proves itself, if not with a key.
#[derive(Debug, Args)]
pub(crate) struct ProofArguments {
    /// The SHA-256 or SHA-1 thumbprint of the device's certificate; twice for a primary and a secondary one.
    #[arg(long, value_name = "HEX", conflicts_with = "x509_ca")]
    pub(crate) x509_thumbprint: Vec<String>,
    /// The device has a certificate that one of the hub's CAs issued, whose common name is its id.
    #[arg(long)]
    pub(crate) x509_ca: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Register a device; the hub makes its keys, unless it proves itself with a certificate.
    Create {
        #[command(flatten)]
        device: DeviceArgument,
        #[command(flatten)]
        proof: ProofArguments,
        #[command(flatten)]
        output: Output,
    },
    /// List devices, in no particular order.
    List {
        /// How many at most, from 1 to 1000; the service lists no more.
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1000))]
        top: u16,
        #[command(flatten)]
        output: Output,
    },
    /// Show a device.
    Show {
        #[command(flatten)]
        device: DeviceArgument,
        /// Show its keys as well.
        #[arg(long)]
        show_keys: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Remove a device, with its twin and the messages waiting for it.
    Delete {
        #[command(flatten)]
        device: DeviceArgument,
        /// Only if its ETag is still this one.
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
    },
    /// Remove the messages that wait for a device. Their senders hear of it if they asked for feedback.
    Purge {
        #[command(flatten)]
        device: DeviceArgument,
    },
    /// What a device connects with.
    #[command(subcommand)]
    ConnectionString(ConnectionStringCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionStringCommand {
    /// Show the connection string of a device. It is a secret.
    ///
    /// The line alone, unless --output says otherwise, so that a shell can take it:
    ///
    /// export IOTHUB_DEVICE_CONNECTION_STRING="$(iothub device connection-string show ID)"
    Show {
        #[command(flatten)]
        device: DeviceArgument,
        /// Which of the two keys of the device it holds.
        #[arg(long, value_name = "KEY", default_value = "primary")]
        key_type: KeyType,
        /// How the result looks [default: tsv].
        #[arg(long, short, value_name = "FORMAT")]
        output: Option<Format>,
    },
}

/// The device of a command, given as `ID`, or as `--device-id ID` for users who know other tools.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct DeviceArgument {
    /// The id of the device.
    #[arg(value_name = "ID")]
    id: Option<DeviceId>,
    /// The same, by name.
    #[arg(long, short, visible_alias = "device", value_name = "ID")]
    device_id: Option<DeviceId>,
}

impl DeviceArgument {
    /// Returns the id of the device. It is there, because clap requires it.
    pub(crate) fn id(self) -> anyhow::Result<DeviceId> {
        self.id.or(self.device_id).ok_or_else(|| anyhow::anyhow!("say which device: its id is missing"))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Output {
    /// How the result looks.
    #[arg(long = "output", short = 'o', value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For shells: values only, separated by tabs.
    Tsv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyType {
    /// The first key.
    Primary,
    /// The second key.
    Secondary,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_device_is_named_in_one_of_two_ways() {
        for arguments in [["show", "d1", ""], ["show", "--device-id", "d1"], ["show", "-d", "d1"]] {
            let arguments = arguments.into_iter().filter(|argument| !argument.is_empty());
            let cli = Cli::try_parse_from(["iothub", "device"].into_iter().chain(arguments)).unwrap();
            let Resource::Device(DeviceCommand::Show { device, .. }) = cli.resource else {
                panic!("{cli:?}")
            };
            assert_eq!(device.id().unwrap().as_str(), "d1");
        }
        assert!(Cli::try_parse_from(["iothub", "device", "show", "d1", "-d", "d2"]).is_err());
        assert!(Cli::try_parse_from(["iothub", "device", "show"]).is_err());
    }

    #[test]
    fn every_command_that_takes_a_device_takes_it_by_name_too() {
        let commands = [
            "device create",
            "device show",
            "device delete",
            "device purge",
            "device connection-string show",
            "method invoke",
            "twin show",
        ];
        for command in commands {
            let words = || std::iter::once("iothub").chain(command.split(' '));
            // Only `method invoke` needs more than a device.
            let rest = || (command == "method invoke").then_some("reboot").into_iter();
            let by_position = Cli::try_parse_from(words().chain(["d1"]).chain(rest())).unwrap();
            for name in ["-d", "--device-id", "--device"] {
                let by_name = Cli::try_parse_from(words().chain([name, "d1"]).chain(rest()));
                let by_name = format!("{:?}", by_name.unwrap_or_else(|error| panic!("{command}: {error}")));
                assert!(by_name.contains("\"d1\""), "{command}: {by_name}");
                let both = Cli::try_parse_from(words().chain(["d1", name, "d2"]).chain(rest()));
                assert!(both.is_err(), "{command}");
            }
            assert!(format!("{by_position:?}").contains("\"d1\""), "{command}: {by_position:?}");
        }
        let monitor = Cli::try_parse_from(["iothub", "monitor-events", "--device-id", "d1"]).unwrap();
        assert!(format!("{monitor:?}").contains("\"d1\""), "{monitor:?}");
    }

    #[test]
    fn events_are_shown_from_a_place_in_the_stream() {
        let from = |place| {
            let cli = Cli::try_parse_from(["iothub", "monitor-events", "--from", place]).ok()?;
            let Resource::MonitorEvents(monitor) = cli.resource else { return None };
            Some(monitor.from)
        };
        assert_eq!(from("earliest"), Some(EventPosition::Earliest));
        let time = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(from("2026-01-31T12:00:00Z"), Some(EventPosition::EnqueuedTime(time)));
        assert_eq!(from("yesterday"), None);
    }

    #[test]
    fn debug_hides_the_connection_string() {
        let cli = Cli::try_parse_from(["iothub", "--connection-string", "s3cret", "device", "list"]).unwrap();
        assert!(!format!("{cli:?}").contains("s3cret"));
    }
}
