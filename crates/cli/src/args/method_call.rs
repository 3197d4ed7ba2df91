//! This file reads which method of which device `iothub method invoke` calls: `DEVICE NAME`, or `-d DEVICE NAME` as
//! users of other tools type it.
//!
//! clap cannot declare an optional word in front of a required one without mistaking one for the other as soon as
//! an option stands between them. So it is told of one or two words, and this file says which word is which.

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use iothub_models::{DeviceId, MethodName};

/// The device and the method, both checked.
#[derive(Clone, Debug)]
pub(crate) struct MethodCall {
    pub(crate) device: DeviceId,
    pub(crate) name: MethodName,
}

/// The words and options that clap reads.
#[derive(Args)]
struct Words {
    /// The id of the device, unless --device-id has it, and the name of the method.
    #[arg(value_names = ["DEVICE", "NAME"], num_args = 1.., required = true)]
    words: Vec<String>,
    /// The id of the device, by name.
    #[arg(long, short, visible_alias = "device", value_name = "ID")]
    device_id: Option<DeviceId>,
}

impl MethodCall {
    fn of(words: Words) -> Result<Self, clap::Error> {
        let wrong = |kind, what: String| clap::Error::raw(kind, format!("{what}\n"));
        let (device, name) = match (words.device_id, words.words.as_slice()) {
            (Some(device), [name]) => (device, name),
            (None, [device, name]) => {
                let device = device.parse().map_err(|error| {
                    wrong(
                        ErrorKind::ValueValidation,
                        format!("invalid value '{device}' for 'DEVICE': {error}"),
                    )
                })?;
                (device, name)
            }
            (None, [_]) => {
                let what = "say which device and which method: DEVICE NAME, or --device-id ID NAME";
                return Err(wrong(ErrorKind::MissingRequiredArgument, what.to_owned()));
            }
            (device, _) => {
                let takes = if device.is_some() { "--device-id ID and NAME" } else { "DEVICE and NAME" };
                let what = format!("there are too many words; after {takes} only options may follow");
                return Err(wrong(ErrorKind::TooManyValues, what));
            }
        };
        let name = name.parse().map_err(|error| {
            wrong(ErrorKind::ValueValidation, format!("invalid value '{name}' for 'NAME': {error}"))
        })?;
        Ok(Self { device, name })
    }
}

impl FromArgMatches for MethodCall {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Self::of(Words::from_arg_matches(matches)?)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for MethodCall {
    fn augment_args(command: Command) -> Command {
        Words::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Words::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::{Cli, MethodCommand, Resource};

    fn call(words: &str) -> Result<(String, String, Option<String>), clap::error::ErrorKind> {
        let cli = Cli::try_parse_from(["iothub", "method", "invoke"].into_iter().chain(words.split(' ')));
        let Resource::Method(MethodCommand::Invoke { call, module, .. }) =
            cli.map_err(|error| error.kind())?.resource
        else {
            panic!("{words}")
        };
        Ok((call.device.to_string(), call.name.to_string(), module.map(|module| module.to_string())))
    }

    #[test]
    fn options_stand_anywhere() {
        let expected = Ok(("d1".to_owned(), "reboot".to_owned(), Some("cam".to_owned())));
        for words in [
            "d1 reboot --module cam",
            "d1 --module cam reboot",
            "--module cam d1 reboot",
            "-d d1 reboot --module cam",
            "-d d1 --module cam reboot",
            "reboot -d d1 --module cam",
            "reboot --module cam --device-id d1",
        ] {
            assert_eq!(call(words), expected, "{words}");
        }
    }

    #[test]
    fn what_is_missing_too_much_or_no_id_is_refused() {
        use clap::error::ErrorKind;
        assert_eq!(call("reboot"), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(call("-d d1"), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(call("d1 reboot now"), Err(ErrorKind::TooManyValues));
        assert_eq!(call("d1 reboot -d d2"), Err(ErrorKind::TooManyValues));
        assert_eq!(call("a/b reboot"), Err(ErrorKind::ValueValidation));
        assert_eq!(call("-d d1 re/boot"), Err(ErrorKind::ValueValidation));
    }
}
