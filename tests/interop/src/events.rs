//! Runs the cases that read the event stream with Microsoft's clients of Event Hubs and with ours: all of 10,000
//! messages that devices of every client sent, every kind of starting position, owner levels, reading on after the hub
//! cut its connections, and an event without AMQP properties.

mod bare;
mod check;
mod ours;
mod owners;
mod reader;
mod sending;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::reader::{Events, Kind, Reader, Span};
use self::sending::{Sent, Source};
use super::cases::Case;
use super::site::Site;

/// The consumer group of those that take partitions from each other; the rest read in the default one.
pub(super) const OWNERS: &str = "owners";
const DEFAULT: &str = "$Default";

pub(super) fn cases() -> Vec<Case> {
    let sent = Sent::default();
    let needs = |kind: Kind| Sent::needs().into_iter().chain([kind.language()]).collect::<Vec<_>>();
    let mut cases = Vec::new();
    for kind in Kind::ALL {
        let all = sent.clone();
        let name = format!("events -> {}", kind.name());
        cases.push(Case::new(name, &needs(kind), move |site| everything(site, kind, all)).embedded());
    }
    for kind in Kind::CLIENTS {
        let all = sent.clone();
        let name = format!("event positions -> {}", kind.name());
        cases.push(Case::new(name, &needs(kind), move |site| positions(site, kind, all)).embedded());
        let all = sent.clone();
        let name = format!("event owners -> {}", kind.name());
        cases.push(Case::new(name, &needs(kind), move |site| owners(site, kind, all)).embedded().alone());
        let all = sent.clone();
        let name = format!("event resumed -> {}", kind.name());
        cases.push(Case::new(name, &needs(kind), move |site| resumed(site, kind, all)).embedded().alone());
    }
    let bare = Kind::Python;
    let name = format!("event without properties -> {}", bare.name());
    cases.push(Case::new(name, &[bare.language()], move |site| bare::read(site, bare)).embedded().alone());
    cases
}

/// Reads every event of every partition from the first on, and all of them again while connections are cut.
async fn everything(site: Arc<Site>, kind: Kind, sent: Sent) -> Result<()> {
    let sources = sent.all(&site).await?;
    let mut reader = Reader::start(&site, kind, DEFAULT)?;
    let span = everything_until_now(&mut reader).await?;
    let (events, tracked) = reader.read(&span, kind.tracks(), || {}).await?;
    complete(events, &span, sources)?;
    if kind.tracks() {
        ensure!(!tracked.is_empty(), "nothing was tracked");
    }
    for last in tracked.iter().filter(|_| kind.tracks()) {
        let number = last["sequence_number"].as_i64();
        ensure!(number.is_some_and(|number| number > 0), "the last event was told as {last}");
        ensure!(last["offset"].is_string() && last["enqueued_ms"].is_i64(), "told as {last}");
    }
    reader.end().await
}

/// Reads on from a kept offset after the connections were cut, and reads through a cut.
async fn resumed(site: Arc<Site>, kind: Kind, sent: Sent) -> Result<()> {
    let sources = sent.all(&site).await?;
    let mut reader = Reader::start(&site, kind, DEFAULT)?;
    let (partition, event, last) = middle(&mut reader).await?;
    site.drop_amqp_connections()?;
    let from = json!({"offset": event["offset"], "inclusive": false});
    let next = event["sequence_number"].as_i64().unwrap_or_default() + 1;
    let rest = read_one(&mut reader, &partition, &from, last).await?;
    check::in_sequence(&[(partition, rest)].into(), &json!(next)).context("after the cut")?;
    if kind.reads_through_cuts() {
        let span = everything_until_now(&mut reader).await?;
        let cut = || drop(site.drop_amqp_connections());
        let (events, _) = reader.read(&span, false, cut).await.context("through the cut")?;
        complete(events, &span, sources).context("through the cut")?;
    }
    reader.end().await
}

async fn everything_until_now(reader: &mut Reader) -> Result<Span> {
    let until = reader.ends().await?;
    let partitions = until.as_object().into_iter().flatten();
    let from = partitions.map(|(partition, _)| (partition.clone(), json!("earliest"))).collect();
    Ok(Span { from, until })
}

fn complete(mut events: Events, span: &Span, sources: &[Source]) -> Result<()> {
    // Another case may have sent more meanwhile.
    for (partition, events) in &mut events {
        let last = span.until[partition].as_i64();
        events.retain(|event| event["sequence_number"].as_i64() <= last);
    }
    check::in_sequence(&events, &json!(0))?;
    sources.iter().try_for_each(|source| check::complete(&events, source))
}

/// The fullest partition, an event from the middle of what it has, and the number of its last.
async fn middle(reader: &mut Reader) -> Result<(String, Value, i64)> {
    let until = reader.ends().await?;
    let partitions = until.as_object().into_iter().flatten();
    let fullest = partitions.max_by_key(|(_, last)| last.as_i64()).context("no partition has events")?;
    let (partition, last) = (fullest.0.clone(), fullest.1.as_i64().unwrap_or_default());
    let middle = last / 2;
    let from = json!({"sequence_number": middle, "inclusive": true});
    let events = read_one(reader, &partition, &from, middle).await.context("by sequence number")?;
    let event = events.first().cloned().context("nothing read")?;
    ensure!(event["sequence_number"] == middle, "began at {}", event["sequence_number"]);
    Ok((partition, event, last))
}

async fn read_one(reader: &mut Reader, partition: &str, from: &Value, until: i64) -> Result<Vec<Value>> {
    let span = Span { from: json!({partition: from}), until: json!({partition: until}) };
    let (mut events, _) = reader.read(&span, false, || {}).await.with_context(|| format!("from {from}"))?;
    events.remove(partition).context("nothing read")
}

/// Checks that reading from each kind of position begins with the right event.
async fn positions(site: Arc<Site>, kind: Kind, sent: Sent) -> Result<()> {
    sent.all(&site).await?;
    let mut reader = Reader::start(&site, kind, DEFAULT)?;
    let (partition, event, _) = middle(&mut reader).await?;
    let number = event["sequence_number"].as_i64().unwrap_or_default();
    let (offset, time) = (event["offset"].clone(), event["enqueued_ms"].clone());
    let mut table = vec![
        (json!({"sequence_number": number, "inclusive": false}), number + 1),
        (json!({"offset": offset, "inclusive": false}), number + 1),
        // Before the oldest event, the oldest.
        (json!({"sequence_number": -1, "inclusive": false}), 0),
        (json!({"enqueued_ms": 1_000, "inclusive": false}), 0),
        (json!("earliest"), 0),
    ];
    if kind.has_inclusive_offsets() {
        table.push((json!({"offset": offset, "inclusive": true}), number));
    }
    for (position, begins) in table {
        let events = read_one(&mut reader, &partition, &position, begins).await?;
        let found = events.first().and_then(|event| event["sequence_number"].as_i64());
        ensure!(found == Some(begins), "from {position} it began at {found:?}, not {begins}");
    }
    // The first that is later than that time, and not the one before.
    let position = json!({"enqueued_ms": time, "inclusive": false});
    let events = read_one(&mut reader, &partition, &position, number + 1).await?;
    let event = events.first().context("nothing after a time")?;
    ensure!(event["enqueued_ms"].as_i64() > time.as_i64(), "began at {}", event["enqueued_ms"]);
    let before = event["sequence_number"].as_i64().unwrap_or_default() - 1;
    let position = json!({"sequence_number": before, "inclusive": true});
    let last = read_one(&mut reader, &partition, &position, before).await?;
    ensure!(last[0]["enqueued_ms"].as_i64() <= time.as_i64(), "an event after {time} was left out");
    reader.end().await
}

async fn owners(site: Arc<Site>, kind: Kind, sent: Sent) -> Result<()> {
    sent.all(&site).await?;
    let mut reader = Reader::start(&site, kind, OWNERS)?;
    owners::compare(&mut reader, kind).await?;
    reader.end().await
}
