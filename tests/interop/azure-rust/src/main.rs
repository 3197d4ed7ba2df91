//! Reads events with Microsoft's Rust client of Event Hubs. Commands, lines and variables are those of
//! `../python/read_events.py`, but for `track`, which this client has not; it tells the AMQP type of every
//! system property beside its value, and it reads at the address in `EVENTHUB_CUSTOM_ENDPOINT`.

use std::collections::HashMap;
use std::io::BufRead as _;
use std::process::exit;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use azure_core_amqp::message::AmqpMessageId;
use azure_messaging_eventhubs::models::{AmqpSimpleValue, AmqpValue, ReceivedEventData};
use azure_messaging_eventhubs::{
    ConsumerClient, EventHubsError, OpenReceiverOptions, StartLocation, StartPosition,
};
use futures_util::{StreamExt as _, future};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

/// How many events a line holds at most.
const LINE: usize = 300;

type Failure = Box<dyn std::error::Error>;

fn say(line: &Value) {
    println!("{line}");
}

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        say(&json!({"event": "usage", "message": format!("set {name}")}));
        exit(2)
    })
}

/// An error as a user meets it: its kind, its text, and what it came from.
fn fail(step: &str, error: &(dyn std::error::Error + 'static), fields: &Value) {
    let class = match error.downcast_ref::<EventHubsError>() {
        Some(error) => variant(&format!("{:?}", error.kind)),
        None => "Error".to_owned(),
    };
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(json!({"class": variant(&format!("{error:?}")), "message": error.to_string()}));
        cause = error.source();
    }
    let mut line = json!({"event": "error", "step": step, "class": class, "message": error.to_string(),
        "status": null, "causes": causes});
    for (name, value) in fields.as_object().into_iter().flatten() {
        line[name] = value.clone();
    }
    say(&line);
}

/// The name a `Debug` text begins with.
fn variant(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric()).collect()
}

async fn open() -> Result<ConsumerClient, Failure> {
    let group = std::env::var("EVENTHUB_CONSUMER_GROUP").unwrap_or_else(|_| "$Default".to_owned());
    let client = ConsumerClient::builder()
        .with_consumer_group(group)
        .with_custom_endpoint(setting("EVENTHUB_CUSTOM_ENDPOINT"))
        .open_with_connection_string(&setting("EVENTHUB_CONNECTION_STRING"), None)
        .await?;
    Ok(client)
}

fn position(from: &Value) -> StartPosition {
    let inclusive = from["inclusive"].as_bool().unwrap_or(false);
    let location = if from == "earliest" {
        StartLocation::Earliest
    } else if let Some(offset) = from["offset"].as_str() {
        StartLocation::Offset(offset.to_owned())
    } else if let Some(number) = from["sequence_number"].as_i64() {
        StartLocation::SequenceNumber(number)
    } else if let Some(ms) = from["enqueued_ms"].as_u64() {
        StartLocation::EnqueuedTime(UNIX_EPOCH + Duration::from_millis(ms))
    } else {
        StartLocation::Latest
    };
    StartPosition { location, inclusive }
}

fn options(command: &Value, from: &Value) -> OpenReceiverOptions {
    OpenReceiverOptions {
        owner_level: command["owner_level"].as_i64(),
        start_position: Some(position(from)),
        ..OpenReceiverOptions::default()
    }
}

fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(-1)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn id(id: &Option<AmqpMessageId>) -> Value {
    match id {
        None => Value::Null,
        Some(AmqpMessageId::String(text)) => text.clone().into(),
        Some(other) => format!("{other:?}").into(),
    }
}

/// A value and the name of its AMQP type.
fn typed(value: &AmqpValue) -> (Value, String) {
    let shown = match value {
        AmqpValue::String(text) => text.clone().into(),
        AmqpValue::Long(number) => (*number).into(),
        AmqpValue::TimeStamp(time) => time.0.map(millis).into(),
        other => format!("{other:?}").into(),
    };
    (shown, variant(&format!("{value:?}")))
}

fn shown(event: &ReceivedEventData) -> Value {
    let data = event.event_data();
    let properties: Map<String, Value> = data
        .properties()
        .into_iter()
        .flatten()
        .map(|(name, value)| match value {
            AmqpSimpleValue::String(text) => (name.clone(), text.clone().into()),
            other => (name.clone(), format!("{other:?}").into()),
        })
        .collect();
    let mut system = Map::new();
    let mut types = Map::new();
    for (name, value) in event.system_properties() {
        let (value, kind) = typed(value);
        system.insert(name.clone(), value);
        types.insert(name.clone(), kind.into());
    }
    let message = event.raw_amqp_message().properties.clone().unwrap_or_default();
    json!({
        "sequence_number": event.sequence_number(),
        "offset": event.offset(),
        "enqueued_ms": event.enqueued_time().map(millis),
        "body_hex": data.body().map(hex),
        "message_id": id(&message.message_id),
        "correlation_id": id(&message.correlation_id),
        "user_id": message.user_id.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        "content_type": message.content_type.map(|symbol| symbol.0),
        "content_encoding": message.content_encoding.map(|symbol| symbol.0),
        "properties": properties,
        "system": system,
        "types": types,
    })
}

fn flush(partition: &str, batch: &mut Vec<Value>) {
    if !batch.is_empty() {
        say(&json!({"event": "events", "partition": partition, "events": std::mem::take(batch)}));
    }
}

/// One partition, until the event of this sequence number or a later one.
async fn read_partition(
    client: &ConsumerClient,
    command: &Value,
    partition: &str,
    until: i64,
) -> Result<(), Failure> {
    let options = options(command, &command["from"][partition]);
    let receiver = client.open_receiver_on_partition(partition.to_owned(), Some(options)).await?;
    let mut events = receiver.stream_events();
    let mut batch = Vec::new();
    loop {
        // What has arrived goes out together; before a wait there is nothing left to say.
        let event = match future::poll_immediate(events.next()).await {
            Some(event) => event,
            None => {
                flush(partition, &mut batch);
                events.next().await
            }
        };
        let event = event.ok_or("the stream of events ended")??;
        batch.push(shown(&event));
        let last = event.sequence_number().is_some_and(|number| number >= until);
        if last || batch.len() == LINE {
            flush(partition, &mut batch);
        }
        if last {
            return Ok(());
        }
    }
}

async fn read(command: &Value) -> Result<Value, Failure> {
    let client = open().await?;
    let until = command["until"].as_object().into_iter().flatten();
    let partitions = until.map(|(partition, until)| {
        read_partition(&client, command, partition, until.as_i64().unwrap_or_default())
    });
    for outcome in future::join_all(partitions).await {
        outcome?;
    }
    client.close().await?;
    Ok(json!({}))
}

/// Stays on a partition until it is lost.
async fn hold(client: Arc<ConsumerClient>, command: Value) {
    let tag = json!({"tag": command["tag"]});
    let partition = command["partition"].as_str().unwrap_or_default().to_owned();
    let options = options(&command, &json!("earliest"));
    let receiver = match client.open_receiver_on_partition(partition, Some(options)).await {
        Ok(receiver) => receiver,
        Err(error) => return fail("hold", &error, &tag),
    };
    let mut events = receiver.stream_events();
    let mut held = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(_) if held => {}
            Ok(_) => {
                held = true;
                say(&json!({"event": "held", "tag": command["tag"]}));
            }
            Err(error) => return fail("hold", &error, &tag),
        }
    }
}

#[derive(Default)]
struct Holds(HashMap<String, (JoinHandle<()>, Arc<ConsumerClient>)>);

impl Holds {
    async fn add(&mut self, command: &Value) -> Result<(), Failure> {
        let client = Arc::new(open().await?);
        let task = tokio::spawn(hold(client.clone(), command.clone()));
        self.0.insert(command["tag"].to_string(), (task, client));
        Ok(())
    }

    async fn release(&mut self) {
        for (_, (task, client)) in self.0.drain() {
            task.abort();
            drop(task.await);
            if let Some(client) = Arc::into_inner(client) {
                drop(client.close().await);
            }
        }
    }
}

async fn run(command: &Value, holds: &mut Holds) -> Result<Option<Value>, Failure> {
    match command["cmd"].as_str().unwrap_or_default() {
        "hub" => {
            let client = open().await?;
            let properties = client.get_eventhub_properties().await?;
            client.close().await?;
            Ok(Some(json!({"name": properties.name, "partition_ids": properties.partition_ids,
                "created_ms": properties.created_on.map(millis)})))
        }
        "partition" => {
            let client = open().await?;
            let id = command["partition"].as_str().unwrap_or_default();
            let properties = client.get_partition_properties(id).await?;
            client.close().await?;
            Ok(Some(json!({
                "id": properties.id,
                "beginning_sequence_number": properties.beginning_sequence_number,
                "last_enqueued_sequence_number": properties.last_enqueued_sequence_number,
                "last_enqueued_offset": properties.last_enqueued_offset,
                "last_enqueued_ms": properties.last_enqueued_time_utc.map(millis),
                "is_empty": properties.is_empty,
            })))
        }
        "read" => Ok(Some(read(command).await?)),
        "hold" => {
            holds.add(command).await?;
            Ok(None)
        }
        "release" => {
            holds.release().await;
            Ok(Some(json!({})))
        }
        other => Err(format!("no such cmd: {other}").into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let seconds = std::env::var("INTEROP_DEADLINE_S").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        say(&json!({"event": "deadline", "after_s": seconds}));
        exit(3);
    });
    let (lines, mut commands) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if !line.trim().is_empty() && lines.send(line).is_err() {
                return;
            }
        }
    });
    let mut holds = Holds::default();
    while let Some(line) = commands.recv().await {
        let Ok(command) = serde_json::from_str::<Value>(&line) else {
            say(&json!({"event": "usage", "message": "a command is a JSON object"}));
            exit(2);
        };
        let cmd = command["cmd"].as_str().unwrap_or_default().to_owned();
        match run(&command, &mut holds).await {
            Ok(Some(mut result)) => {
                result["event"] = "result".into();
                result["cmd"] = cmd.into();
                say(&result);
            }
            Ok(None) => {}
            Err(error) => fail(&cmd, error.as_ref(), &json!({"cmd": cmd})),
        }
    }
    holds.release().await;
    say(&json!({"event": "done"}));
}
