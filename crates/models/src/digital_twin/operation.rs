//! This file defines one operation of a JSON Patch, of those that digital twins know.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An operation of a JSON Patch (RFC 6902): written by back ends, told in notifications.
///
/// ```
/// # use iothub_models::PatchOperation;
///
/// let operation = PatchOperation::Add { path: "/targetTemperature".into(), value: 42.into() };
/// assert_eq!(
///     serde_json::to_string(&operation).unwrap(),
///     r#"{"op":"add","path":"/targetTemperature","value":42}"#
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum PatchOperation {
    /// Sets what was not there, or what was.
    Add {
        /// A JSON Pointer (RFC 6901).
        path: String,
        /// The value that is there from now on.
        value: Value,
    },
    /// Sets what was there.
    Replace {
        /// A JSON Pointer (RFC 6901).
        path: String,
        /// The value that is there from now on.
        value: Value,
    },
    /// Takes away what was there.
    Remove {
        /// A JSON Pointer (RFC 6901).
        path: String,
    },
}

impl PatchOperation {
    /// Returns the path that it is about.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Add { path, .. } | Self::Replace { path, .. } | Self::Remove { path } => path,
        }
    }

    /// Returns the value that it sets.
    #[must_use]
    pub const fn value(&self) -> Option<&Value> {
        match self {
            Self::Add { value, .. } | Self::Replace { value, .. } => Some(value),
            Self::Remove { .. } => None,
        }
    }
}
