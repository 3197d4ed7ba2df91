//! The names of the environment variables that samples and `iothub` read, for the commands that start them as a reader
//! of the pages does. A program is given those that it needs and none of the user's own.

pub(crate) const DEVICE_STRING: &str = "IOTHUB_DEVICE_CONNECTION_STRING";
pub(crate) const SERVICE_STRING: &str = "IOTHUB_CONNECTION_STRING";
pub(crate) const DEVICE_ID: &str = "IOTHUB_DEVICE_ID";

/// Variables that would change what a program does if they were the user's.
const OF_THE_USER: &[&str] =
    &[DEVICE_STRING, SERVICE_STRING, DEVICE_ID, "EVENTHUB_CONNECTION_STRING", "RUST_LOG", "RUST_BACKTRACE"];

/// Gives a program these variables, and none of the user's that would change what it does.
pub(crate) fn set(command: &mut tokio::process::Command, variables: &[(&str, &str)]) {
    for variable in OF_THE_USER {
        command.env_remove(variable);
    }
    command.envs(variables.iter().copied());
}
