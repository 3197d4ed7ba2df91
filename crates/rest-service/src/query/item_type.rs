//! This file defines the kinds of the rows of a query.

use std::fmt;

/// The kind of the rows of a query, as the hub says beside them.
///
/// ```no_run
/// # async fn example(client: iothub_rest_service::ServiceClient) -> Result<(), iothub_rest_service::Error> {
/// use iothub_rest_service::ItemType;
///
/// let page = client.query("SELECT deviceId FROM devices").page(None).await?;
/// assert_eq!(page.item_type, Some(ItemType::Raw));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ItemType {
    /// Whole twins, of devices or modules.
    Twin,
    /// The result of a job on each device.
    DeviceJob,
    /// Jobs.
    JobResponse,
    /// The values that the query selected, and nothing else.
    Raw,
}

impl ItemType {
    const ALL: [Self; 4] = [Self::Twin, Self::DeviceJob, Self::JobResponse, Self::Raw];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Twin => "Twin",
            Self::DeviceJob => "DeviceJob",
            Self::JobResponse => "JobResponse",
            Self::Raw => "Raw",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(name.trim()))
    }
}

impl fmt::Display for ItemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        for known in ItemType::ALL {
            assert_eq!(ItemType::from_name(known.name()), Some(known));
            assert_eq!(ItemType::from_name(&known.name().to_lowercase()), Some(known));
        }
        assert_eq!(ItemType::from_name("unknown"), None);
    }
}
