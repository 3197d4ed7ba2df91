"""Sends cloud-to-device messages with Microsoft's Python service client, over AMQP.

    send_c2d.py DEVICE_ID [--clock SECONDS] < messages.json

Reads IOTHUB_CONNECTION_STRING; IOTHUB_TRANSPORT=websocket sends over AMQP over WebSocket. Standard input is
one JSON list of messages. One line per message:
"sent" or "error", each with the message's index; then "done". --clock -7200 makes the clock of this
process two hours slow, so that the token it signs has expired already.
"""

import json
import os
import sys
import time

from azure.iot.hub import IoTHubRegistryManager
from uamqp import TransportType

from lines import body_of, fail, say, set_clock, setting, start_deadline


def properties_of(message, expiry_ms):
    """The one dictionary send_c2d_message takes: five names of it are system properties, the rest
    become application properties, the acknowledgement among them. A user id cannot be set."""
    properties = dict(message.get("properties", {}))
    named = {
        "messageId": message.get("message_id"),
        "correlationId": message.get("correlation_id"),
        "contentType": message.get("content_type"),
        "contentEncoding": message.get("content_encoding"),
        "iothub-ack": message.get("ack"),
        "expiryTimeUtc": expiry_ms,
    }
    properties.update({name: value for name, value in named.items() if value is not None})
    return properties


def main():
    start_deadline()
    if len(sys.argv) < 2:
        say("usage", message="send_c2d.py DEVICE_ID [--clock SECONDS] < messages.json")
        return 2
    device_id = sys.argv[1]
    messages = json.load(sys.stdin)
    now_ms = int(time.time() * 1000)
    set_clock()

    try:
        over_websocket = os.environ.get("IOTHUB_TRANSPORT") == "websocket"
        manager = IoTHubRegistryManager.from_connection_string(
            setting("IOTHUB_CONNECTION_STRING"),
            TransportType.AmqpOverWebsocket if over_websocket else TransportType.Amqp,
        )
    except Exception as error:
        fail("open", error)
        return 1

    failed = 0
    for index, message in enumerate(messages):
        expiry_s = message.get("expiry_in_s")
        expiry_ms = None if expiry_s is None else now_ms + expiry_s * 1000
        try:
            manager.send_c2d_message(
                device_id, body_of(message), properties_of(message, expiry_ms)
            )
            say("sent", index=index, name=message.get("name"), expiry_ms=expiry_ms)
        except Exception as error:
            failed += 1
            fail("send", error, index=index, name=message.get("name"))
    say("done", sent=len(messages) - failed, failed=failed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
