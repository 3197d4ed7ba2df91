//! This file keeps the shared access policies: the five every hub has, their keys, and the permissions of
//! each.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::SharedAccessKey;
use ring::rand::{SecureRandom as _, SystemRandom};

/// A permission that a shared access policy may give.
///
/// Source: *Control access to IoT Hub using shared access signatures*, "Permissions".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Read device identities.
    RegistryRead,
    /// Change device identities.
    RegistryWrite,
    /// Use the addresses of a back end: cloud-to-device messages, twins, methods, events.
    ServiceConnect,
    /// Use the addresses of a device.
    DeviceConnect,
}

/// A shared access policy of the hub: the five that every new hub has.
///
/// Source: *Control access to IoT Hub using shared access signatures*, "the default policies".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyName {
    /// May do everything.
    IotHubOwner,
    /// May use the addresses of a back end: messages to devices, twins, methods, events.
    Service,
    /// May connect as any device.
    Device,
    /// May read the identity registry.
    RegistryRead,
    /// May read and change the identity registry.
    RegistryReadWrite,
}

impl PolicyName {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::IotHubOwner, Self::Service, Self::Device, Self::RegistryRead, Self::RegistryReadWrite];

    /// The name as connection strings and tokens carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IotHubOwner => "iothubowner",
            Self::Service => "service",
            Self::Device => "device",
            Self::RegistryRead => "registryRead",
            Self::RegistryReadWrite => "registryReadWrite",
        }
    }

    /// Returns the permissions of the policy; writing never comes without reading.
    const fn permissions(self) -> &'static [Permission] {
        use Permission::{DeviceConnect, RegistryRead, RegistryWrite, ServiceConnect};
        match self {
            Self::IotHubOwner => &[RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect],
            Self::Service => &[ServiceConnect],
            Self::Device => &[DeviceConnect],
            Self::RegistryRead => &[RegistryRead],
            Self::RegistryReadWrite => &[RegistryRead, RegistryWrite],
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One shared access policy.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) name: PolicyName,
    pub(crate) key: SharedAccessKey,
}

impl Policy {
    pub(crate) fn allows(&self, permission: Permission) -> bool {
        self.name.permissions().contains(&permission)
    }
}

/// All policies of one hub; they never change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Policies([Policy; 5]);

impl Policies {
    /// The five standard policies, each with the key that `key_of` gives for its name.
    pub(crate) fn new(mut key_of: impl FnMut(PolicyName) -> SharedAccessKey) -> Self {
        Self(PolicyName::ALL.map(|name| Policy { name, key: key_of(name) }))
    }

    /// The policy with this name; names are matched without regard to case.
    pub(crate) fn get(&self, name: &str) -> Option<&Policy> {
        self.0.iter().find(|policy| policy.name.as_str().eq_ignore_ascii_case(name))
    }

    /// The key of a policy.
    pub(crate) const fn key(&self, name: PolicyName) -> &SharedAccessKey {
        // The array is in the order of the names.
        &self.0[name as usize].key
    }
}

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes for a key")]
pub(crate) struct NoRandomness;

/// Returns whether a key, of a policy or of an identity, is base64 of 16 to 64 bytes, so that tokens can be signed
/// with it. Source: *Understand the identity registry in your IoT hub*, and the keys that the portal accepts.
pub(crate) fn is_usable(key: &SharedAccessKey) -> bool {
    let bytes = STANDARD.decode(key.reveal()).map(zeroize::Zeroizing::new);
    bytes.is_ok_and(|bytes| (16..=64).contains(&bytes.len()))
}

/// A new key: 32 random bytes, as the service makes them.
pub(crate) fn new_key() -> Result<SharedAccessKey, NoRandomness> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *bytes).map_err(|_| NoRandomness)?;
    Ok(SharedAccessKey::new(STANDARD.encode(bytes.as_slice())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_policies_allow_what_the_service_documents() {
        use Permission::{DeviceConnect, RegistryRead, RegistryWrite, ServiceConnect};
        let policies = Policies::new(|_| new_key().unwrap());
        let table = [
            ("iothubowner", [true, true, true, true]),
            ("service", [false, false, true, false]),
            ("device", [false, false, false, true]),
            ("registryRead", [true, false, false, false]),
            ("registryReadWrite", [true, true, false, false]),
        ];
        assert_eq!(PolicyName::ALL.map(PolicyName::as_str), table.map(|(name, _)| name));
        for (name, expected) in table {
            let policy = policies.get(name).unwrap();
            let allowed =
                [RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect].map(|p| policy.allows(p));
            assert_eq!(allowed, expected, "{name}");
            assert_eq!(policies.key(policy.name).reveal(), policy.key.reveal());
        }
        assert!(policies.get("RegistryREAD").is_some());
        assert!(policies.get("nobody").is_none());
    }

    #[test]
    fn keys_are_32_bytes_and_differ() {
        let (a, b) = (new_key().unwrap(), new_key().unwrap());
        assert_eq!(STANDARD.decode(a.reveal()).unwrap().len(), 32);
        assert_ne!(a.reveal(), b.reveal());
    }
}
