"""Invokes direct methods with Microsoft's Python service client, over HTTPS.

Reads IOTHUB_CONNECTION_STRING. Standard input, one JSON object per line, until it ends:
{"op":"invoke","device_id","name","payload"}, with optional "module_id", "response_timeout_s" and
"connect_timeout_s"; {"op":"invoke_many", ...the same, "payloads"}: a list of payloads instead of one, all
in flight at the same time. One "result" or "error" per line; a result has "status", "payload" and
"took_ms", or for many the list "results" of status and payload in the order of the payloads. This client
sends an empty text in the place of null.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod

from lines import commands, fail, say, setting, start_deadline


def invoke(manager, command, payload):
    method = CloudToDeviceMethod(
        method_name=command["name"],
        payload=payload,
        response_timeout_in_seconds=command.get("response_timeout_s"),
        connect_timeout_in_seconds=command.get("connect_timeout_s"),
    )
    if "module_id" in command:
        answer = manager.invoke_device_module_method(command["device_id"], command["module_id"], method)
    else:
        answer = manager.invoke_device_method(command["device_id"], method)
    return {"status": answer.status, "payload": answer.payload}


def run(manager, command):
    """Carries out one command; what it returns is the result's fields."""
    if command["op"] == "invoke":
        started = time.monotonic()
        answer = invoke(manager, command, command.get("payload"))
        return {**answer, "took_ms": int((time.monotonic() - started) * 1000)}
    if command["op"] == "invoke_many":
        payloads = command["payloads"]
        with ThreadPoolExecutor(max_workers=len(payloads)) as pool:
            return {"results": list(pool.map(lambda payload: invoke(manager, command, payload), payloads))}
    raise ValueError("no such op: " + command["op"])


def main():
    start_deadline()
    try:
        manager = IoTHubRegistryManager.from_connection_string(setting("IOTHUB_CONNECTION_STRING"))
    except Exception as error:
        fail("open", error)
        return 1
    for command in commands():
        started = time.monotonic()
        try:
            say("result", op=command["op"], **run(manager, command))
        except Exception as error:
            fail(command["op"], error, op=command["op"], took_ms=int((time.monotonic() - started) * 1000))
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
