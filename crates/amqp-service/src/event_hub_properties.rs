//! This file defines the properties of an event hub and of its partitions.

use jiff::Timestamp;

/// The properties of an event hub, as it gives them.
///
/// ```no_run
/// # async fn example(events: iothub_amqp_service::EventReader) -> Result<(), iothub_amqp_service::Error> {
/// let event_hub = events.event_hub_properties().await?;
/// println!("{} has {} partitions", event_hub.name, event_hub.partition_ids.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventHubProperties {
    /// Its name.
    pub name: String,
    /// The time when it was made, if it says so.
    pub created_at: Option<Timestamp>,
    /// The ids of its partitions.
    pub partition_ids: Vec<String>,
}

/// The properties of a partition, as its event hub gives them.
///
/// ```no_run
/// # async fn example(events: iothub_amqp_service::EventReader) -> Result<(), iothub_amqp_service::Error> {
/// let partition = events.partition_properties("0").await?;
/// println!("the newest event has the number {}", partition.last_enqueued_sequence_number);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionProperties {
    /// The partition.
    pub id: String,
    /// True if it holds no event.
    pub is_empty: bool,
    /// The sequence number of the oldest event that is kept.
    pub beginning_sequence_number: i64,
    /// The sequence number of the newest event; less than the oldest's if there has been none.
    pub last_enqueued_sequence_number: i64,
    /// The offset of the newest event; `-1` if there has been none.
    pub last_enqueued_offset: String,
    /// The time when the newest event was put into the partition, if there has been one.
    pub last_enqueued_time: Option<Timestamp>,
}
