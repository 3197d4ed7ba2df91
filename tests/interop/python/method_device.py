"""A device, or a module, on Microsoft's Python client, over MQTT or WebSocket, that answers direct methods.

    method_device.py METHOD...

Reads IOTHUB_DEVICE_CONNECTION_STRING; one with a ModuleId is that of a module. Every call is printed.
What its payload says under "answer" is the answer; any other payload comes back as it is, with status
200, and a method that is not named on the command line is answered with 404. An "answer" has any of
"status" (200 unless given), "payload", "after_s" (seconds to wait), "never" (true: none), and "hold" (a
number: no call is answered before that many are held). Standard input: {"cmd":"quit"}, which the end of
input counts as too.
"""

import sys
import threading

from azure.iot.device import MethodResponse

from connection import new_client
from lines import commands, fail, say, start_deadline

_held, _held_lock = [], threading.Lock()


def reply(client, request, status, payload):
    try:
        client.send_method_response(MethodResponse.create_from_method_request(request, status, payload))
    except Exception as error:
        fail("answer", error)


def answer(client, request, known):
    """The answer to a call, now, later, together with others, or never."""
    payload = request.payload
    say("call", name=request.name, payload=payload)
    if request.name not in known:
        return reply(client, request, 404, "unknown method")
    wish = payload.get("answer") if isinstance(payload, dict) else None
    if wish is None:
        return reply(client, request, 200, payload)
    if wish.get("never"):
        return None
    now = (client, request, wish.get("status", 200), wish.get("payload"))
    if "hold" in wish:
        with _held_lock:
            _held.append(now)
            together = list(_held) if len(_held) >= wish["hold"] else []
            if together:
                _held.clear()
        for one in together:
            reply(*one)
    elif "after_s" in wish:
        timer = threading.Timer(wish["after_s"], reply, now)
        timer.daemon = True
        timer.start()
    else:
        reply(*now)


def main():
    start_deadline()
    known = set(sys.argv[1:])
    try:
        client = new_client()
        client.on_connection_state_change = lambda: say("connection", connected=client.connected)
        client.on_background_exception = lambda error: fail("background", error)
        client.connect()
        # Setting the handler subscribes, and returns once the hub has confirmed it.
        client.on_method_request_received = lambda request: answer(client, request, known)
    except Exception as error:
        fail("connect", error)
        return 1
    say("connected")

    for command in commands():
        if command["cmd"] == "quit":
            break

    try:
        client.shutdown()
    except Exception as error:
        fail("shutdown", error)
        return 1
    say("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
