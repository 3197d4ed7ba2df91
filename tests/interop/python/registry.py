"""Works on device identities with Microsoft's Python service client, over HTTPS.

Reads IOTHUB_CONNECTION_STRING. Standard input, one JSON object per line, until it ends:
{"op":"create","device_id"} with optional "primary_key", "secondary_key", "status", "iot_edge",
"device_scope", "parent_scopes";
{"op":"get","device_id"}; {"op":"list","max"}; {"op":"update","device_id","status"} with optional
"etag" (absent: whatever is there); {"op":"delete","device_id"} with optional "etag";
{"op":"registry_statistics"}; {"op":"service_statistics"}. One "result" or "error" per line.
--clock -7200 makes the clock of this process two hours slow: every token it signs has expired.
"""

import sys

from azure.iot.hub import IoTHubRegistryManager

from lines import commands, fail, say, set_clock, setting, start_deadline


def shown(device):
    keys = device.authentication.symmetric_key
    return {
        "device_id": device.device_id,
        "status": device.status,
        "etag": device.etag,
        "generation_id": device.generation_id,
        "connection_state": device.connection_state,
        "authentication": device.authentication.type,
        "primary_key": keys.primary_key if keys else None,
        "secondary_key": keys.secondary_key if keys else None,
        "cloud_to_device_message_count": device.cloud_to_device_message_count,
        "device_scope": device.device_scope,
        "parent_scopes": device.parent_scopes,
    }


def run(manager, command):
    """Carries out one command; what it returns is the result's fields."""
    op = command["op"]
    device_id = command.get("device_id")
    if op == "create":
        # Without keys the hub makes them.
        device = manager.create_device_with_sas(
            device_id,
            command.get("primary_key"),
            command.get("secondary_key"),
            command.get("status", "enabled"),
            iot_edge=command.get("iot_edge", False),
            device_scope=command.get("device_scope"),
            parent_scopes=command.get("parent_scopes"),
        )
        return {"device": shown(device)}
    if op == "get":
        return {"device": shown(manager.get_device(device_id))}
    if op == "list":
        return {"devices": [shown(device) for device in manager.get_devices(command.get("max"))]}
    if op == "update":
        # An update replaces the identity, so its keys are read first and sent back.
        keys = manager.get_device(device_id).authentication.symmetric_key
        device = manager.update_device_with_sas(
            device_id,
            command.get("etag"),
            keys.primary_key,
            keys.secondary_key,
            command["status"],
        )
        return {"device": shown(device)}
    if op == "delete":
        manager.delete_device(device_id, command.get("etag"))
        return {}
    if op == "registry_statistics":
        counts = manager.get_device_registry_statistics()
        return {
            "total": counts.total_device_count,
            "enabled": counts.enabled_device_count,
            "disabled": counts.disabled_device_count,
        }
    if op == "service_statistics":
        return {"connected": manager.get_service_statistics().connected_device_count}
    raise ValueError("no such op: " + op)


def main():
    start_deadline()
    set_clock()
    try:
        manager = IoTHubRegistryManager.from_connection_string(setting("IOTHUB_CONNECTION_STRING"))
    except Exception as error:
        fail("open", error)
        return 1
    for command in commands():
        try:
            say("result", op=command["op"], **run(manager, command))
        except Exception as error:
            fail(command["op"], error, op=command["op"])
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
