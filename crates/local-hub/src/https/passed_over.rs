//! [`PassedOver`] lists the members of a request's body that the hub neither reads nor refuses, as the service
//! does, so that the hub's log names them once per request.
//!
//! The readers of JSON bodies fill it; the routes write it to the log with the name of the resource. Members
//! that only the hub may write, and that clients send back after a read, are logged at debug; members that
//! mean nothing in their place, such as `desired` at the top of a twin, at warn: their sender expects an effect.

use std::fmt;

use serde_json::{Map, Value};

/// The largest number of names that one line of the log shows.
const MOST_NAMES: usize = 8;

/// The largest number of characters of a name that one line of the log shows.
const NAME_CHARS: usize = 64;

/// The value that was read from a body, and the members that were passed over.
#[derive(Debug)]
pub(super) struct Read<T> {
    pub(super) value: T,
    pub(super) passed_over: PassedOver,
}

impl<T> Read<T> {
    /// Logs the members that were passed over in a body for `resource`, and returns the value.
    pub(super) fn logged(self, resource: &dyn fmt::Display) -> T {
        self.passed_over.log(resource);
        self.value
    }
}

/// The names of members that were passed over.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    unknown: Names,
    read_only: Names,
}

impl PassedOver {
    /// Notes the members of `object` that are neither in `known` nor `null`; those in `read_only` apart from
    /// the others. `within` is the place of the object, such as `properties.`, or empty for the whole body.
    pub(super) fn note(
        &mut self,
        object: &Map<String, Value>,
        within: &str,
        known: &[&str],
        read_only: &[&str],
    ) {
        for (name, value) in object {
            if !value.is_null() {
                self.note_name(name, within, known, read_only);
            }
        }
    }

    /// Notes one member that has a value, as [`note`](Self::note) does.
    pub(super) fn note_name(&mut self, name: &str, within: &str, known: &[&str], read_only: &[&str]) {
        let among = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if among(known) {
            return;
        }
        let names = if among(read_only) { &mut self.read_only } else { &mut self.unknown };
        names.add(within, name);
    }

    /// Writes one line to the log if anything was passed over.
    pub(super) fn log(&self, resource: &dyn fmt::Display) {
        let Self { unknown, read_only } = self;
        if unknown.count > 0 {
            tracing::warn!(
                %resource,
                members = %unknown,
                "members of a request's body mean nothing in their place, and were passed over"
            );
        } else if read_only.count > 0 {
            tracing::debug!(
                %resource,
                members = %read_only,
                "members of a request's body are the hub's to write, and were passed over"
            );
        }
    }

    /// Returns the names that mean nothing in their place, and those that only the hub writes.
    #[cfg(test)]
    pub(super) fn names(&self) -> [String; 2] {
        [self.unknown.to_string(), self.read_only.to_string()]
    }
}

/// The first names, escaped, and how many there are.
#[derive(Debug, Default)]
struct Names {
    shown: Vec<String>,
    count: usize,
}

impl Names {
    fn add(&mut self, within: &str, name: &str) {
        let escaped = || name.chars().take(NAME_CHARS).collect::<String>().escape_debug().to_string();
        if self.shown.len() < MOST_NAMES {
            let shown = format!("{within}{}", escaped());
            // The items of an array have the same members.
            if self.shown.contains(&shown) {
                return;
            }
            self.shown.push(shown);
        }
        self.count += 1;
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.shown.join(", "))?;
        match self.count - self.shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    /// The log of one test.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines that are logged about this body at info and above.
    fn logged(body: &Value) -> String {
        let mut passed_over = PassedOver::default();
        passed_over.note(body.as_object().unwrap(), "", &["tags"], &["etag"]);
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let read = Read { value: (), passed_over };
        tracing::subscriber::with_default(subscriber, || read.logged(&"d1"));
        let log = log.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(log).unwrap()
    }

    #[test]
    fn one_line_of_the_log_names_what_means_nothing_and_the_resource() {
        let text = logged(&json!({"desired": {"a": "secret"}, "x\ny": 1, "tags": {}, "etag": "e"}));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("WARN") && text.contains("members=desired, x\\ny"), "{text}");
        assert!(text.contains("resource=d1") && !text.contains("secret"), "{text}");
        assert_eq!(logged(&json!({"tags": {}, "etag": "e", "desired": null})), "");
    }

    #[test]
    fn names_are_told_apart_escaped_and_bounded() {
        let body = json!({"Known": 1, "ETag": "x", "a\nb\u{1b}": 1, "nothing": null, "long": 1});
        let mut passed_over = PassedOver::default();
        passed_over.note(body.as_object().unwrap(), "properties.", &["known"], &["etag"]);
        assert_eq!(passed_over.names(), ["properties.a\\nb\\u{1b}, properties.long", "properties.ETag"]);
        let many: Map<String, Value> = (0..1000).map(|n| (format!("{n:x<100}"), 1.into())).collect();
        let mut passed_over = PassedOver::default();
        passed_over.note(&many, "", &[], &[]);
        let [unknown, read_only] = passed_over.names();
        assert!(
            unknown.len() < MOST_NAMES * (NAME_CHARS + 2) + 20 && unknown.ends_with(" more"),
            "{unknown}"
        );
        assert_eq!(read_only, "");
    }
}
