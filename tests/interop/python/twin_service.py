"""Works on twins and modules, and queries, with Microsoft's Python service client, over HTTPS.

Reads IOTHUB_CONNECTION_STRING. Standard input, one JSON object per line, until it ends; where a
command has a "module_id", it is about that module's twin:
{"op":"get","device_id"}; {"op":"update","device_id","patch"} and {"op":"replace","device_id","patch"},
each with optional "etag" (absent: whatever is there), where a patch has "tags", "desired" or both;
{"op":"create_module"|"get_module"|"delete_module","device_id","module_id"};
{"op":"list_modules","device_id"}; {"op":"query","query"} with optional "page_size".
One "result" or "error" per line.
"""

import sys

from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import QuerySpecification, Twin, TwinProperties

from lines import commands, fail, say, setting, start_deadline


def shown(twin):
    """The twin, or the row of a query, under the names it has on the wire: this client makes a twin of
    every row, and keeps what is none of a twin's fields beside them."""
    return {**twin.serialize(keep_readonly=True), **twin.additional_properties}


def shown_module(module):
    keys = module.authentication.symmetric_key
    return {
        "device_id": module.device_id,
        "module_id": module.module_id,
        "etag": module.etag,
        "primary_key": keys.primary_key if keys else None,
    }


def patch_of(command):
    patch = command["patch"]
    desired = patch.get("desired")
    properties = None if desired is None else TwinProperties(desired=desired)
    return Twin(tags=patch.get("tags"), properties=properties)


def write(manager, command):
    device_id, module_id, etag = (command.get(key) for key in ("device_id", "module_id", "etag"))
    patch, replaces = patch_of(command), command["op"] == "replace"
    if module_id is None:
        method = manager.replace_twin if replaces else manager.update_twin
        return method(device_id, patch, etag)
    method = manager.replace_module_twin if replaces else manager.update_module_twin
    return method(device_id, module_id, patch, etag)


def query(manager, text, page_size):
    specification = QuerySpecification(query=text)
    pages, types, rows, token = [], [], [], None
    while True:
        page = manager.query_iot_hub(specification, token, page_size)
        pages.append(len(page.items))
        types.append(page.type)
        rows.extend(shown(item) for item in page.items)
        token = page.continuation_token
        if token is None:
            return {"pages": pages, "types": types, "rows": rows}


def run(manager, command):
    """Carries out one command; what it returns is the result's fields."""
    op, device_id, module_id = command["op"], command.get("device_id"), command.get("module_id")
    if op == "get" and module_id is None:
        return {"twin": shown(manager.get_twin(device_id))}
    if op == "get":
        return {"twin": shown(manager.get_module_twin(device_id, module_id))}
    if op in ("update", "replace"):
        return {"twin": shown(write(manager, command))}
    if op == "create_module":
        # Without keys the hub makes them.
        return {"module": shown_module(manager.create_module_with_sas(device_id, module_id, None, None, None))}
    if op == "get_module":
        return {"module": shown_module(manager.get_module(device_id, module_id))}
    if op == "list_modules":
        return {"modules": [shown_module(module) for module in manager.get_modules(device_id)]}
    if op == "delete_module":
        manager.delete_module(device_id, module_id)
        return {}
    if op == "query":
        return query(manager, command["query"], command.get("page_size"))
    raise ValueError("no such op: " + op)


def main():
    start_deadline()
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
