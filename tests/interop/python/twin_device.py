"""A device, or a module, on Microsoft's Python client, over MQTT or WebSocket: prints every change of its desired
properties, and reads its twin and reports properties when told to.

Reads IOTHUB_DEVICE_CONNECTION_STRING; one with a ModuleId is that of a module. Standard input:
{"cmd":"get_twin"}, {"cmd":"report","patch"} and {"cmd":"quit"}; the end of input counts as quit.
"""

import sys

from connection import new_client
from lines import commands, fail, say, start_deadline


def main():
    start_deadline()
    try:
        client = new_client()
        client.on_connection_state_change = lambda: say("connection", connected=client.connected)
        client.on_background_exception = lambda error: fail("background", error)
        client.connect()
        # Setting the handler subscribes, and returns once the hub has confirmed it.
        client.on_twin_desired_properties_patch_received = lambda patch: say("desired", patch=patch)
    except Exception as error:
        fail("connect", error)
        return 1
    say("connected")

    for command in commands():
        cmd = command["cmd"]
        if cmd == "quit":
            break
        try:
            if cmd == "get_twin":
                say("twin", twin=client.get_twin())
            elif cmd == "report":
                client.patch_twin_reported_properties(command["patch"])
                say("reported")
            else:
                raise ValueError("no such cmd: " + cmd)
        except Exception as error:
            fail(cmd, error)

    try:
        client.shutdown()
    except Exception as error:
        fail("shutdown", error)
        return 1
    say("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
