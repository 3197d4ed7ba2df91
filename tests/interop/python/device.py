"""A device, or a module, on Microsoft's Python client, over MQTT or WebSocket: prints every cloud-to-device
message, which modules do not get, and sends telemetry when told to.

Connects as connection.py says. Standard input: {"cmd":"telemetry", ...a message},
{"cmd":"telemetry_many","count"}, which sends that many numbered messages, {"cmd":"renew","token"}, which
connects anew with that token, and {"cmd":"quit"}; the end of input counts as quit.
"""

import json
import sys
import threading

from azure.iot.device import IoTHubDeviceClient, Message

from connection import new_client
from lines import body_of, commands, fail, say, start_deadline


# The hub sends at once what a former connection left unacknowledged; it is told of after "connected".
_connected = threading.Event()


def on_message(message):
    _connected.wait()
    body = message.data
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    say(
        "c2d",
        body_hex=body.hex(),
        body_text=text,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        user_id=message.user_id,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        expiry=message.expiry_time_utc,
        ack=message.ack,
        properties=message.custom_properties,
    )


def telemetry(command):
    message = Message(body_of(command))
    message.message_id = command.get("message_id")
    message.correlation_id = command.get("correlation_id")
    message.user_id = command.get("user_id")
    message.content_type = command.get("content_type")
    message.content_encoding = command.get("content_encoding")
    message.custom_properties.update(command.get("properties", {}))
    return message


def numbered(n):
    """One of many messages."""
    return {
        "body_text": json.dumps({"n": n}, separators=(",", ":")),
        "message_id": "m-%d" % n,
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "properties": {"n": str(n)},
    }


def run(client, command):
    """Carries out one command; what it returns is the line."""
    cmd = command["cmd"]
    if cmd == "telemetry":
        client.send_message(telemetry(command))
    elif cmd == "telemetry_many":
        for n in range(command["count"]):
            client.send_message(telemetry(numbered(n)))
    elif cmd == "renew":
        client.update_sastoken(command["token"])
        return "renewed"
    else:
        raise ValueError("no such cmd: " + cmd)
    return "sent"


def main():
    start_deadline()
    try:
        client = new_client()
        client.on_connection_state_change = lambda: say("connection", connected=client.connected)
        client.on_background_exception = lambda error: fail("background", error)
        # Setting the handler connects and subscribes, and returns once the hub has confirmed it. What the hub sends
        # before there is a handler, this client acknowledges and drops.
        if isinstance(client, IoTHubDeviceClient):
            client.on_message_received = on_message
        client.connect()
    except Exception as error:
        fail("connect", error)
        return 1
    say("connected")
    _connected.set()

    for command in commands():
        if command["cmd"] == "quit":
            break
        try:
            say(run(client, command), tag=command.get("tag"))
        except Exception as error:
            step = "telemetry" if command["cmd"].startswith("telemetry") else command["cmd"]
            fail(step, error, tag=command.get("tag"))

    try:
        client.shutdown()
    except Exception as error:
        fail("shutdown", error)
        return 1
    say("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
