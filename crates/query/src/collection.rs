//! What a query can read from, and the properties that the documents of each have at their root.

use std::fmt;

/// What stands after `FROM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Collection {
    /// `devices`: the device twins.
    Devices,
    /// `devices.modules`: the module twins.
    Modules,
    /// `devices.jobs`: what each job did on each device.
    Jobs,
}

/// Properties at the root of a twin. In a query they may be written in any case; results carry this one.
/// Source: *Azure IoT Hub query language*, and twins as the official clients read them.
const TWIN: &[&str] = &[
    "deviceId",
    "moduleId",
    "etag",
    "deviceEtag",
    "status",
    "statusReason",
    "statusUpdateTime",
    "connectionState",
    "connectionStateUpdatedTime",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
    "authenticationType",
    "x509Thumbprint",
    "modelId",
    "version",
    "tags",
    "properties",
    "capabilities",
    "configurations",
    "deviceScope",
    "parentScopes",
];

/// Properties at the root of a device job.
const JOB: &[&str] = &[
    "deviceId",
    "moduleId",
    "jobId",
    "jobType",
    "status",
    "startTimeUtc",
    "endTimeUtc",
    "createdDateTimeUtc",
    "lastUpdatedDateTimeUtc",
    "outcome",
    "error",
];

/// Other names that official tools use for a twin's property: the .NET sample asks for `id`, Azure IoT
/// Explorer for the name the time has in an identity.
const TWIN_SYNONYMS: &[(&str, &str)] = &[("id", "deviceId"), ("statusUpdatedTime", "statusUpdateTime")];

/// Older pages of the documentation filter jobs on `createdTimeUtc`.
const JOB_SYNONYMS: &[(&str, &str)] = &[("id", "deviceId"), ("createdTimeUtc", "createdDateTimeUtc")];

/// A name at the root of a document.
pub(crate) struct RootName {
    /// In the case that results carry.
    pub(crate) spelling: &'static str,
    /// The property it stands for: itself, unless it is a synonym.
    pub(crate) property: &'static str,
}

impl Collection {
    /// The name without `devices.`.
    pub(crate) const fn part(self) -> Option<&'static str> {
        match self {
            Self::Devices => None,
            Self::Modules => Some("modules"),
            Self::Jobs => Some("jobs"),
        }
    }

    /// The property of the documents with this name, in any case.
    pub(crate) fn root_name(self, name: &str) -> Option<RootName> {
        let (properties, synonyms) = match self {
            Self::Devices | Self::Modules => (TWIN, TWIN_SYNONYMS),
            Self::Jobs => (JOB, JOB_SYNONYMS),
        };
        let property = properties.iter().find(|known| known.eq_ignore_ascii_case(name));
        let property = property.map(|known| RootName { spelling: known, property: known });
        property.or_else(|| {
            let synonym = synonyms.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            synonym.map(|(spelling, property)| RootName { spelling, property })
        })
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Devices => "devices",
            Self::Modules => "devices.modules",
            Self::Jobs => "devices.jobs",
        })
    }
}
