//! This file lists the limits of the service, by name and with their source, and those that keep this hub's
//! memory bounded where the service has more room.

use std::time::Duration;

/// The number of hexadecimal digits of a thumbprint by SHA-1, and by SHA-256. Which of the two hashes a thumbprint was made
/// with is told by its length.
/// Source: *Authenticate identities with X.509 certificates*.
pub(crate) const SHA1_DIGITS: usize = 40;
pub(crate) const SHA256_DIGITS: usize = 64;

/// The bounds beyond which the hub refuses. The defaults are the service's.
///
/// Source, where nothing else is said: *IoT Hub quotas and throttling*.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Device and module identities in the registry, together.
    pub devices: usize,
    /// Cloud-to-device messages waiting for one device, delivered and not yet completed ones included.
    /// Source: *Send cloud-to-device messages from an IoT hub*.
    pub c2d_queue_depth: usize,
    /// Size of one cloud-to-device message: body, system property values, application properties.
    pub c2d_message_bytes: usize,
    /// The time that a cloud-to-device message without an expiry time waits.
    pub c2d_default_ttl: Duration,
    /// The longest time that a cloud-to-device message waits, whatever expiry time it carries.
    pub c2d_max_ttl: Duration,
    /// The number of times that a device may abandon a cloud-to-device message before it is given up.
    /// Source: *Send cloud-to-device messages from an IoT hub*, "maxDeliveryCount".
    pub c2d_max_delivery_count: u32,
    /// Cloud-to-device messages of all devices together, in bytes. Ours: the service has no such limit.
    pub c2d_total_bytes: usize,
    /// The time that a back end may take for a batch of feedback before it is delivered again.
    /// Source: as above, "feedback.lockDurationAsIso8601".
    pub feedback_lock: Duration,
    /// The number of times that a batch of feedback is delivered before it is given up.
    /// Source: as above, "feedback.maxDeliveryCount".
    pub feedback_max_delivery_count: u32,
    /// The time that a batch of feedback waits for a back end. Source: as above, "feedback.ttlAsIso8601".
    pub feedback_ttl: Duration,
    /// Outcomes that wait for a back end, and messages that can still lead to one, together. Ours: over it
    /// no feedback is promised.
    pub feedback_records: usize,
    /// Size of one telemetry message: body, system property values, application properties.
    pub telemetry_message_bytes: usize,
    /// The time that an event is kept for reading. Source: *Read device-to-cloud messages from the built-in
    /// endpoint* ("default retention").
    pub events_kept_for: Duration,
    /// Bytes of events kept for reading, divided among the partitions. Ours: the service keeps events by
    /// age alone.
    pub events_kept_bytes: usize,
    /// Connections that each service (MQTT, AMQP, AMQP without TLS, HTTPS) keeps open at once, if the process
    /// may open enough file descriptors. Ours.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            devices: 1_000_000,
            c2d_queue_depth: 50,
            c2d_message_bytes: 64 * 1024,
            c2d_default_ttl: Duration::from_secs(60 * 60),
            c2d_max_ttl: Duration::from_secs(2 * 24 * 60 * 60),
            c2d_max_delivery_count: 10,
            c2d_total_bytes: 512 * 1024 * 1024,
            feedback_lock: Duration::from_secs(60),
            feedback_max_delivery_count: 10,
            feedback_ttl: Duration::from_secs(60 * 60),
            feedback_records: 100_000,
            telemetry_message_bytes: 256 * 1024,
            events_kept_for: Duration::from_secs(24 * 60 * 60),
            events_kept_bytes: 256 * 1024 * 1024,
            connections: 20_000,
        }
    }
}

/// The time that a device may take for a message it received, where it has no connection that holds it.
/// Source: *Send cloud-to-device messages from an IoT hub*: one minute, fixed.
pub(crate) const C2D_LOCK: Duration = Duration::from_secs(60);

/// Most records in a batch of feedback. Source: as above, "Message feedback".
pub(crate) const FEEDBACK_BATCH_RECORDS: usize = 64;

/// The time that a record waits for others to be in a batch with. Source: as above.
pub(crate) const FEEDBACK_BATCH_DELAY: Duration = Duration::from_secs(15);

/// Longest message id, in characters. Source: *Create and read IoT Hub messages*.
pub(crate) const MESSAGE_ID_LENGTH: usize = 128;

/// Longest reason of a device's status. Source: *Understand the identity registry in your IoT hub*.
pub(crate) const STATUS_REASON_LENGTH: usize = 128;

/// Longest name of who manages a module. Ours, so that identities stay small.
pub(crate) const MANAGED_BY_LENGTH: usize = 128;

/// Modules on one device, those of the IoT Edge runtime included.
/// Source: *IoT Hub quotas and throttling*.
pub(crate) const MODULES_PER_DEVICE: usize = 50;

/// Most layers of IoT Edge devices above an IoT Edge device. Source: *Understand Azure IoT Edge limits and
/// restrictions*.
pub(crate) const EDGE_LAYERS: usize = 5;

/// Most devices one list shows. Source: the service's REST reference, "Get devices".
pub(crate) const LIST_LENGTH: usize = 1000;

/// Most items on one page of a query's result. Source: the service's REST reference, "Query twins".
pub(crate) const QUERY_PAGE: usize = 1000;

/// Calls of direct methods that one device or module may have to answer at once. The service has such a
/// limit (403800) and does not say what it is.
pub(crate) const METHOD_CALLS_PER_DEVICE: usize = 256;

/// Calls of direct methods that all devices together may have to answer at once. Ours, so that memory
/// stays bounded.
pub(crate) const METHOD_CALLS: usize = 10_000;

/// Bytes in the payloads of calls that wait for their devices. Ours, as above.
pub(crate) const METHOD_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// Most properties of one message, those of the system included where they come in the same list. Ours: the
/// service bounds only their bytes, and a message of a few bytes per property costs far more than its size.
pub(crate) const PROPERTIES: usize = 1000;

/// Most messages in a batch over HTTPS.
pub(crate) const BATCH_MESSAGES: usize = 500;

/// Longest MQTT topic, which carries all properties of a cloud-to-device message. Source: MQTT 3.1.1.
pub(crate) const TOPIC_BYTES: usize = u16::MAX as usize;
