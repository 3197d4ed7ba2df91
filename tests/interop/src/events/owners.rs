//! [`compare`] checks owner levels: a reader with a higher one takes a partition away from the reader that has it,
//! and a reader with a lower one does not get it then.

use anyhow::{Context, Result, ensure};
use iothub_amqp_service::{ErrorKind, EventPosition, EventReader, EventSource};
use iothub_programs::program::Program;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::OWNERS;
use super::reader::{Kind, Reader};
use crate::talk::{LINE, hear, result};

/// The readers in turn: the name, the owner level, and whether the reader gets the partition. The second takes it
/// from the first.
const TRIES: [(&str, Option<i64>, bool); 4] =
    [("first", Some(1), true), ("second", Some(2), true), ("third", Some(1), false), ("fourth", None, false)];

pub(super) async fn compare(reader: &mut Reader, kind: Kind) -> Result<()> {
    let until = reader.ends().await?;
    let partitions = until.as_object().into_iter().flatten();
    let (partition, _) = partitions.max_by_key(|(_, last)| last.as_i64()).context("no events")?;
    match reader {
        Reader::Ours(source) => ours(source, partition).await,
        Reader::Theirs(program) => theirs(program, kind, partition).await,
    }
}

async fn ours(source: &EventSource, partition: &str) -> Result<()> {
    let open = |level: Option<i64>| {
        let builder = EventReader::builder(source.clone());
        let builder = builder.consumer_group(OWNERS).partitions([partition]);
        let builder = builder.from(EventPosition::Earliest);
        let builder = match level {
            Some(level) => builder.owner_level(level),
            None => builder,
        };
        async move {
            let mut reader = match builder.open().await {
                Ok(reader) => reader,
                Err(error) => return anyhow::Ok(Err(error)),
            };
            let first = timeout(LINE, reader.next()).await.context("our reader saw nothing")?;
            Ok(first.context("our reader has stopped")?.map(|_| reader))
        }
    };
    let mut holders = Vec::new();
    for (tag, level, holds) in TRIES {
        match open(level).await? {
            Ok(reader) => {
                ensure!(holds, "{tag} got the partition");
                holders.push(reader);
            }
            Err(error) => {
                ensure!(!holds && error.kind() == ErrorKind::ConsumerDisconnected, "{tag}: {error}");
            }
        }
    }
    // The first had some events more on their way.
    let first = holders.first_mut().context("nobody held it")?;
    loop {
        match timeout(LINE, first.next()).await.context("the first was told nothing")? {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let is_lost = error.kind() == ErrorKind::ConsumerDisconnected;
                ensure!(is_lost, "the first was told: {:?} {:#}", error.kind(), anyhow::Error::from(error));
                return Ok(());
            }
            None => anyhow::bail!("the first just ended"),
        }
    }
}

async fn theirs(program: &mut Program, kind: Kind, partition: &str) -> Result<()> {
    for (tag, level, holds) in TRIES {
        let mut command = json!({"cmd": "hold", "partition": partition, "tag": tag});
        if let Some(level) = level {
            command["owner_level"] = level.into();
        }
        program.type_line(&command.to_string()).await?;
        let mut told = hear(program).await?;
        if tag == "second" {
            // Whether the first is told before is open.
            let other = hear(program).await?;
            let (lost, held) = if told["event"] == "held" { (other, told) } else { (told, other) };
            disconnected(program, kind, &lost, "first")?;
            told = held;
        }
        if holds {
            let is_held = told["event"] == "held" && told["tag"] == tag;
            ensure!(is_held, program.complaint(format!("{tag} should hold the partition")));
        } else {
            disconnected(program, kind, &told, tag)?;
        }
    }
    result(program, &json!({"cmd": "release"})).await.map(drop)
}

fn disconnected(program: &Program, kind: Kind, told: &Value, tag: &str) -> Result<()> {
    let (class, code) = kind.stolen();
    let is = told["event"] == "error"
        && told["tag"] == tag
        && told["class"] == class
        && code.is_none_or(|code| told["code"] == code);
    ensure!(is, program.complaint(format!("{tag} should have met {class} {}", code.unwrap_or_default())));
    Ok(())
}
