"""Reads events with Microsoft's Python client of Event Hubs.

Reads EVENTHUB_CONNECTION_STRING and, if set, EVENTHUB_CONSUMER_GROUP; without UseDevelopmentEmulator=true
in the string it trusts the CA in SSL_CERT_FILE, and IOTHUB_TRANSPORT=websocket reads over WebSocket. Standard input, one JSON object per line, until it ends:
{"cmd":"hub"} and {"cmd":"partition","partition"}: properties; {"cmd":"read","from","until"}: reads every
partition of "until" from its position in "from" until the event of the sequence number in "until" or a
later one came, with optional "owner_level" and "track"; {"cmd":"hold","partition","tag"} with optional
"owner_level": stays on a partition and prints "held" when its first event came, and an error when the
partition is lost; {"cmd":"release"}: ends all that hold. A position is "earliest", "latest", "latest_inclusive", or an object
with "offset", "sequence_number" or "enqueued_ms", and "inclusive". One "result" or "error" per command
but hold; while reading, lines "events" of one partition each.
"""

import datetime
import os
import sys
import threading

from azure.eventhub import EventHubConsumerClient, TransportType

from lines import commands, fail, say, setting, start_deadline

# What system_properties has that the other clients show elsewhere.
_ELSEWHERE = {
    "x-opt-sequence-number", "x-opt-offset", "x-opt-enqueued-time", "message-id", "user-id", "to",
    "correlation-id", "content-type", "content-encoding", "absolute-expiry-time", "creation-time",
}


def new_client():
    string = setting("EVENTHUB_CONNECTION_STRING")
    options = {} if "UseDevelopmentEmulator=true" in string else {
        "connection_verify": setting("SSL_CERT_FILE")
    }
    if os.environ.get("IOTHUB_TRANSPORT") == "websocket":
        options["transport_type"] = TransportType.AmqpOverWebsocket
    group = os.environ.get("EVENTHUB_CONSUMER_GROUP", "$Default")
    return EventHubConsumerClient.from_connection_string(string, group, **options)


def text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else value


def millis(time):
    return None if time is None else round(time.timestamp() * 1000)


def shown(event):
    system = {text(key): text(value) for key, value in event.system_properties.items()}
    message = event.raw_amqp_message.properties
    return {
        "sequence_number": event.sequence_number,
        "offset": event.offset,
        "enqueued_ms": millis(event.enqueued_time),
        "body_hex": b"".join(event.body).hex(),
        "message_id": event.message_id,
        "correlation_id": event.correlation_id,
        "user_id": text(message.user_id) if message else None,
        "content_type": event.content_type,
        "content_encoding": text(message.content_encoding) if message else None,
        "has_properties": message is not None,
        "properties": {text(key): text(value) for key, value in (event.properties or {}).items()},
        "system": {key: value for key, value in system.items() if key not in _ELSEWHERE},
    }


def position(wish):
    """The position as this client takes it, and whether the event there counts."""
    if wish == "earliest":
        return "-1", False
    if wish == "latest":
        return "@latest", False
    if wish == "latest_inclusive":
        return "@latest", True
    inclusive = wish.get("inclusive", False)
    if "offset" in wish:
        return wish["offset"], inclusive
    if "sequence_number" in wish:
        return wish["sequence_number"], inclusive
    return datetime.datetime.fromtimestamp(wish["enqueued_ms"] / 1000, datetime.timezone.utc), inclusive


def last_enqueued(context):
    last = context.last_enqueued_event_properties
    return last and {
        "sequence_number": last["sequence_number"],
        "offset": text(last["offset"]),
        "enqueued_ms": millis(last["enqueued_time"]),
    }


def read(command):
    """Reads each partition on a thread of its own, as this client's users do for an owner level."""
    until = command["until"]
    left, lock, done, errors = set(until), threading.Lock(), threading.Event(), []
    client = new_client()

    def on_events(context, events):
        if not events:
            return
        pid = context.partition_id
        say("events", partition=pid, events=[shown(event) for event in events],
            last_enqueued=last_enqueued(context) if command.get("track") else None)
        with lock:
            if events[-1].sequence_number >= until[pid]:
                left.discard(pid)
            if not left:
                done.set()

    def on_error(_context, error):
        errors.append(error)
        done.set()

    def receive(pid):
        start, inclusive = position(command["from"][pid])
        try:
            client.receive_batch(
                on_events, partition_id=pid, starting_position=start,
                starting_position_inclusive=inclusive, owner_level=command.get("owner_level"),
                track_last_enqueued_event_properties=command.get("track", False), on_error=on_error,
            )
        except Exception as error:
            on_error(None, error)

    threads = [threading.Thread(target=receive, args=(pid,), daemon=True) for pid in until]
    for thread in threads:
        thread.start()
    done.wait()
    client.close()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return {}


_holds = []


def hold(command):
    client, told = new_client(), threading.Event()

    def on_events(_context, events):
        if events and not told.is_set():
            told.set()
            say("held", tag=command["tag"])

    def on_error(_context, error):
        fail("hold", error, tag=command["tag"])
        # From its own callback it cannot wait for its own end.
        threading.Thread(target=client.close, daemon=True).start()

    def receive():
        client.receive_batch(
            on_events, partition_id=command["partition"], starting_position="-1",
            owner_level=command.get("owner_level"), on_error=on_error,
        )

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    _holds.append((client, thread))


def run(command):
    """Carries out one command; what it returns is the result's fields."""
    cmd = command["cmd"]
    if cmd == "hub":
        with new_client() as client:
            hub = client.get_eventhub_properties()
        return {"name": hub["eventhub_name"], "partition_ids": hub["partition_ids"],
                "created_ms": millis(hub["created_at"])}
    if cmd == "partition":
        with new_client() as client:
            found = client.get_partition_properties(command["partition"])
        return {
            "id": found["id"],
            "beginning_sequence_number": found["beginning_sequence_number"],
            "last_enqueued_sequence_number": found["last_enqueued_sequence_number"],
            "last_enqueued_offset": found["last_enqueued_offset"],
            "last_enqueued_ms": millis(found["last_enqueued_time_utc"]),
            "is_empty": found["is_empty"],
        }
    if cmd == "read":
        return read(command)
    if cmd == "hold":
        return hold(command)
    if cmd == "release":
        for client, thread in _holds:
            client.close()
            thread.join()
        _holds.clear()
        return {}
    raise ValueError("no such cmd: " + cmd)


def main():
    start_deadline()
    for command in commands():
        try:
            result = run(command)
            if result is not None:
                say("result", cmd=command["cmd"], **result)
        except Exception as error:
            fail(command["cmd"], error, cmd=command["cmd"])
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
