//! Shared access policies: the five every hub has, their keys, and what each may do.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::SharedAccessKey;
use ring::rand::{SecureRandom as _, SystemRandom};

/// What a shared access policy may allow.
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

/// The policies every new hub has, and what each allows; `RegistryWrite` never comes without
/// `RegistryRead`. Source: as above, "the default policies".
const STANDARD_POLICIES: [(&str, &[Permission]); 5] = [
    (
        "iothubowner",
        &[
            Permission::RegistryRead,
            Permission::RegistryWrite,
            Permission::ServiceConnect,
            Permission::DeviceConnect,
        ],
    ),
    ("service", &[Permission::ServiceConnect]),
    ("device", &[Permission::DeviceConnect]),
    ("registryRead", &[Permission::RegistryRead]),
    ("registryReadWrite", &[Permission::RegistryRead, Permission::RegistryWrite]),
];

/// The policy that may do everything.
pub(crate) const OWNER: &str = "iothubowner";

/// One shared access policy.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) name: Arc<str>,
    pub(crate) key: SharedAccessKey,
    permissions: &'static [Permission],
}

impl Policy {
    pub(crate) fn allows(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }
}

/// All policies of one hub; they never change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Policies(Vec<Policy>);

impl Policies {
    /// The five standard policies, each with the key that `key_of` gives for its name.
    pub(crate) fn standard<E>(
        mut key_of: impl FnMut(&'static str) -> Result<SharedAccessKey, E>,
    ) -> Result<Self, E> {
        STANDARD_POLICIES
            .iter()
            .map(|(name, permissions)| Ok(Policy { name: (*name).into(), key: key_of(name)?, permissions }))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The policy with this name; names are matched without regard to case.
    pub(crate) fn get(&self, name: &str) -> Option<&Policy> {
        self.0.iter().find(|policy| policy.name.eq_ignore_ascii_case(name))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.0.iter()
    }
}

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes for a key")]
pub(crate) struct NoRandomness;

/// A new key: 32 random bytes, as the service makes them.
pub(crate) fn new_key() -> Result<SharedAccessKey, NoRandomness> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *bytes).map_err(|_| NoRandomness)?;
    Ok(SharedAccessKey::new(STANDARD.encode(&*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_policies_allow_what_the_service_documents() {
        use Permission::{DeviceConnect, RegistryRead, RegistryWrite, ServiceConnect};
        let policies = Policies::standard(|_| new_key()).unwrap();
        let table = [
            ("iothubowner", [true, true, true, true]),
            ("service", [false, false, true, false]),
            ("device", [false, false, false, true]),
            ("registryRead", [true, false, false, false]),
            ("registryReadWrite", [true, true, false, false]),
        ];
        assert_eq!(policies.iter().count(), table.len());
        for (name, expected) in table {
            let policy = policies.get(name).unwrap();
            let allowed =
                [RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect].map(|p| policy.allows(p));
            assert_eq!(allowed, expected, "{name}");
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
