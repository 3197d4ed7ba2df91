//! This file defines a symmetric key as it travels: base64 text that is never printed and is wiped when dropped.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A shared access key: the key of a device, of a module or of a shared access policy.
///
/// Holds the text of the key, which IoT Hub signs with after base64 decoding and Event Hubs clients
/// sign with as it is. `Debug` never shows it, there is no `Display`, and the memory is zeroed on drop.
/// Serialization does reveal it, since identities carry their keys in JSON.
///
/// ```
/// # use iothub_models::SharedAccessKey;
/// let key = SharedAccessKey::new("c2VjcmV0");
/// assert_eq!(format!("{key:?}"), "SharedAccessKey(***)");
/// assert_eq!(key.reveal(), "c2VjcmV0");
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedAccessKey(Zeroizing<String>);

impl SharedAccessKey {
    /// Takes the text of a key. Whether it is base64 is checked where it is used.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text of the key. Handle with care: this is the secret.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SharedAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedAccessKey(***)")
    }
}
