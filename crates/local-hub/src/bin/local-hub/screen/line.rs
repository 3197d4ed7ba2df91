//! This file writes the text of one line: `TIME SIGN DEVICE[/MODULE] WHAT DETAILS`.

use std::fmt::Write as _;

use iothub_local_hub::{Activity, ActivityKind, ActivityResult};
use jiff::Timestamp;

/// The device's column is at least this wide.
const DEVICE_WIDTH: usize = 12;

/// The kind of a line; its sign says without a colour what the colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Came,
    Went,
    FromDevice,
    ToDevice,
    Done,
    Trouble,
    Special,
    Summary,
}

impl Sign {
    /// Returns the sign of a record's line.
    pub(super) const fn of(record: &Activity) -> Self {
        use ActivityKind as Kind;
        match (record.result, record.kind) {
            (ActivityResult::Refused | ActivityResult::Failed, _) => Self::Trouble,
            (_, Kind::Connected) => Self::Came,
            (_, Kind::Disconnected) => Self::Went,
            (_, Kind::Telemetry | Kind::Reported) => Self::FromDevice,
            (_, Kind::Desired | Kind::C2dDelivered | Kind::Method) => Self::ToDevice,
            (_, Kind::Reset) => Self::Special,
            _ => Self::Done,
        }
    }

    /// Returns whether `--quiet` lets it through.
    pub(super) const fn is_loud(self) -> bool {
        matches!(self, Self::Trouble | Self::Special)
    }

    /// Returns whether many of them become a summary.
    pub(super) const fn is_summed(self) -> bool {
        matches!(self, Self::FromDevice | Self::ToDevice | Self::Done)
    }

    const fn character(self) -> char {
        match self {
            Self::Came => '+',
            Self::Went => '-',
            Self::FromDevice => '>',
            Self::ToDevice => '<',
            Self::Done => '=',
            Self::Trouble => '!',
            Self::Special => '*',
            Self::Summary => '~',
        }
    }

    /// Returns the number of the ANSI colour; `None` for the colour that the terminal has.
    const fn color(self) -> Option<u8> {
        match self {
            Self::Came => Some(32),
            Self::Went | Self::Summary => Some(90),
            Self::FromDevice | Self::ToDevice => None,
            Self::Done => Some(36),
            Self::Trouble => Some(31),
            Self::Special => Some(35),
        }
    }
}

/// A line of the screen. Its texts are fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) time: Timestamp,
    pub(super) sign: Sign,
    pub(super) text: String,
}

impl Line {
    /// Returns the line of a record.
    pub(super) fn of(record: &Activity) -> Self {
        let identity = record.identity().unwrap_or_else(|| "-".to_owned());
        let text = format!("{identity:<DEVICE_WIDTH$}  {}", what(record));
        Self { time: record.time, sign: Sign::of(record), text: Activity::escaped(&text).into_owned() }
    }

    /// Appends the line to `page`.
    pub(super) fn render(&self, colors: bool, page: &mut String) {
        let time = self.time.strftime("%H:%M:%S%.3f");
        let (sign, text) = (self.sign.character(), &self.text);
        // Writing to a string does not fail.
        let _ = match self.sign.color().filter(|_| colors) {
            Some(color) => writeln!(page, "\u{1b}[90m{time}\u{1b}[0m \u{1b}[{color}m{sign} {text}\u{1b}[0m"),
            None if colors => writeln!(page, "\u{1b}[90m{time}\u{1b}[0m {sign} {text}"),
            None => writeln!(page, "{time} {sign} {text}"),
        };
    }
}

/// Returns the name of the thing that happened, and its details.
fn what(record: &Activity) -> String {
    let operation = record.operation.as_deref().unwrap_or_default();
    let reason = record.reason.as_deref().unwrap_or_default();
    let bytes = record.bytes.map(size).unwrap_or_default();
    let count = record.count.unwrap_or_default();
    let took = record.milliseconds.map(duration).unwrap_or_default();
    let id = record.message_id.as_ref().map(|id| format!(" id {id}")).unwrap_or_default();
    let version = record.version.map(|version| format!(" (v{version})")).unwrap_or_default();
    match record.kind {
        ActivityKind::Connected => {
            let model = record.model.as_ref().map(|model| format!(" {model}")).unwrap_or_default();
            format!("connected{}{model}", connection(record))
        }
        ActivityKind::Disconnected => format!("disconnected after {took}: {reason}"),
        ActivityKind::Telemetry => match record.count {
            Some(count) => format!("telemetry {} {bytes}", plural(count, "message")),
            None => format!("telemetry {bytes}{id}"),
        },
        ActivityKind::Reported => format!("reported {}{version}", properties(count)),
        ActivityKind::Desired => format!("desired {}{version}", properties(count)),
        ActivityKind::Tags => format!("tags {}", properties(count)),
        ActivityKind::C2dSent => format!("c2d {bytes}{id} sent"),
        ActivityKind::C2dDelivered => format!("c2d {bytes}{id} delivered"),
        ActivityKind::C2dOutcome => format!("c2d {bytes}{id} {operation} after {took}"),
        ActivityKind::Method => {
            format!("method {operation} {} in {took}", record.code.unwrap_or_default())
        }
        ActivityKind::Query => format!("query {} {took}", plural(count, "row")),
        ActivityKind::ReaderAttached => format!("reader of {operation} attached{}", connection(record)),
        ActivityKind::ReaderDetached => format!("reader of {operation} detached{}", connection(record)),
        ActivityKind::Registry if record.module.is_some() => format!("module {operation}"),
        ActivityKind::Registry => format!("device {operation}"),
        ActivityKind::Refused => {
            let code = record.code.map(|code| format!(" {code}")).unwrap_or_default();
            let of = if record.device.is_none() { connection(record) } else { String::new() };
            format!("refused {operation}{code}{of}: {reason}")
        }
        ActivityKind::Failed => format!("failed {operation} ({}): {reason}", grouped(count)),
        ActivityKind::Reset => "the hub was reset".to_owned(),
        kind => kind.to_string(),
    }
}

/// Returns the protocol and the peer, each behind a blank.
fn connection(record: &Activity) -> String {
    let transport = record.transport.map(|transport| format!(" {}", transport.as_str()));
    let peer = record.peer.map(|peer| format!(" {peer}"));
    format!("{}{}", transport.unwrap_or_default(), peer.unwrap_or_default())
}

fn properties(count: u64) -> String {
    if count == 1 { "1 property".to_owned() } else { format!("{} properties", grouped(count)) }
}

pub(super) fn plural(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{} {one}s", grouped(count)) }
}

/// Returns a number with commas between its thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number of bytes in a unit that keeps it short.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn duration(milliseconds: u64) -> String {
    let minutes = milliseconds / 60_000;
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{:.1} s", milliseconds as f64 / 1e3),
        60_000..3_600_000 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}
