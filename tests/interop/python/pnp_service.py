"""Works on digital twins with Microsoft's Python service client, over HTTPS.

Reads IOTHUB_CONNECTION_STRING. Standard input, one JSON object per line, until it ends:
{"op":"get","device_id"}; {"op":"update","device_id","patch"} with optional "etag";
{"op":"command","device_id","name","payload"} with optional "component", "response_timeout_s" and
"connect_timeout_s". One "result" or "error" per line: a get's has "twin", a command's "payload" and
"status", which is null here: this client keeps the command's own status to itself.
"""

import sys

from azure.iot.hub import DigitalTwinClient

from lines import commands, fail, say, setting, start_deadline


def run(client, command):
    """Carries out one command; what it returns is the result's fields."""
    op, device_id = command["op"], command["device_id"]
    if op == "get":
        return {"twin": client.get_digital_twin(device_id)}
    if op == "update":
        client.update_digital_twin(device_id, command["patch"], command.get("etag"))
        return {}
    if op == "command":
        timeouts = command.get("connect_timeout_s"), command.get("response_timeout_s")
        name, payload = command["name"], command["payload"]
        if "component" in command:
            answer = client.invoke_component_command(
                device_id, command["component"], name, payload, *timeouts
            )
        else:
            answer = client.invoke_command(device_id, name, payload, *timeouts)
        return {"payload": answer, "status": None}
    raise ValueError("no such op: " + op)


def main():
    start_deadline()
    try:
        client = DigitalTwinClient.from_connection_string(setting("IOTHUB_CONNECTION_STRING"))
    except Exception as error:
        fail("open", error)
        return 1
    for command in commands():
        try:
            say("result", op=command["op"], **run(client, command))
        except Exception as error:
            fail(command["op"], error, op=command["op"])
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
