//! This file takes the names of commands apart: direct methods that belong to the root of a model or to one of its
//! components.

use std::fmt;

use super::ComponentName;
use crate::{InvalidMethodName, MethodName};

/// The character between component and command in a method's name.
const PARTED: char = '*';

/// The name of a command, of the root (`reboot`) or of a component (`thermostat1*getMaxMinReport`).
///
/// Every method name is one: without a component's name before a `*` it belongs to the root.
///
/// ```
/// # use iothub_models::{CommandName, MethodName};
///
/// let method: MethodName = "thermostat1*getMaxMinReport".parse().unwrap();
/// let command = CommandName::from(&method);
/// assert_eq!(command.component().map(|name| name.as_str()), Some("thermostat1"));
/// assert_eq!(command.command(), "getMaxMinReport");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CommandName {
    method: MethodName,
    component: Option<ComponentName>,
}

impl CommandName {
    /// A command of a component.
    ///
    /// # Errors
    /// [`InvalidMethodName`] if `command` is none.
    pub fn of_component(component: ComponentName, command: &str) -> Result<Self, InvalidMethodName> {
        let _checked: MethodName = command.parse()?;
        Ok(Self { method: format!("{component}{PARTED}{command}").parse()?, component: Some(component) })
    }

    /// The component; `None` for the root.
    #[must_use]
    pub const fn component(&self) -> Option<&ComponentName> {
        self.component.as_ref()
    }

    /// The command, without its component.
    #[must_use]
    pub fn command(&self) -> &str {
        // One character of ASCII parts the two.
        let start = self.component.as_ref().map_or(0, |component| component.as_str().len() + 1);
        &self.method.as_str()[start..]
    }

    /// The direct method that is the command.
    #[must_use]
    pub const fn method(&self) -> &MethodName {
        &self.method
    }
}

impl From<&MethodName> for CommandName {
    fn from(method: &MethodName) -> Self {
        let component = method
            .as_str()
            .split_once(PARTED)
            .filter(|(_, command)| !command.is_empty())
            .and_then(|(component, _)| component.parse().ok());
        Self { method: method.clone(), component }
    }
}

impl From<CommandName> for MethodName {
    fn from(command: CommandName) -> Self {
        command.method
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.method, f)
    }
}

impl fmt::Debug for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.method, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_name_is_a_command_and_back() {
        for (text, component, command) in [
            ("reboot", None, "reboot"),
            ("thermostat1*reboot", Some("thermostat1"), "reboot"),
            ("a*b*c", Some("a"), "b*c"),
            ("*reboot", None, "*reboot"),
            ("thermostat1*", None, "thermostat1*"),
            ("no-name*reboot", None, "no-name*reboot"),
        ] {
            let read = CommandName::from(&text.parse().unwrap());
            assert_eq!((read.component().map(AsRef::as_ref), read.command()), (component, command), "{text}");
            assert_eq!((read.to_string().as_str(), MethodName::from(read).as_str()), (text, text));
        }
    }

    #[test]
    fn is_built_of_its_parts() {
        let thermostat: ComponentName = "thermostat1".parse().unwrap();
        let built = CommandName::of_component(thermostat.clone(), "getMaxMinReport").unwrap();
        assert_eq!(built.method().as_str(), "thermostat1*getMaxMinReport");
        assert_eq!(built, CommandName::from(built.method()));
        for bad in ["", "a b", "a/b"] {
            assert!(CommandName::of_component(thermostat.clone(), bad).is_err(), "{bad}");
        }
    }
}
