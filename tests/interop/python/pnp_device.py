"""A Plug and Play device on Microsoft's Python client, over MQTT: a thermostat, or a controller of two.

    pnp_device.py thermostat|controller

Reads IOTHUB_DEVICE_CONNECTION_STRING. As the conventions say, it announces its model, reports its
properties, acknowledges the target temperature (203 with version 0 for its own choice), answers
getMaxMinReport and the controller's reboot, and 404 to any other command. It prints "desired" with the
"component" (null for the root), "property" and "value" it was told, "acknowledged" once the hub took its
acknowledgement, and "command" with "name" and "payload". Standard input: {"cmd":"telemetry"} sends
the temperature of every thermostat, and {"cmd":"quit"}; the end of input counts as quit.
"""

import datetime
import json
import queue
import sys
import threading

from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse

from lines import commands, fail, say, setting, start_deadline

MODELS = {
    "thermostat": "dtmi:com:example:Thermostat;1",
    "controller": "dtmi:com:example:TemperatureController;1",
}
INFORMATION = {"manufacturer": "Example", "model": "T-1000", "swVersion": "1.0.0", "totalMemory": 1024}


class Thermostat:
    """The root of a thermostat, or a component of a controller."""

    def __init__(self, component):
        self.component = component
        self.started = datetime.datetime.now(datetime.timezone.utc)
        self.temperatures = [21.5]
        self.target = 20.5

    def wrapped(self, properties):
        if self.component is None:
            return properties
        return {self.component: {"__t": "c", **properties}}

    def method(self, command):
        return command if self.component is None else self.component + "*" + command

    def report(self, since):
        return {
            "maxTemp": max(self.temperatures),
            "minTemp": min(self.temperatures),
            "avgTemp": sum(self.temperatures) / len(self.temperatures),
            "startTime": since or self.started.isoformat(),
            "endTime": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        }


class Device:
    def __init__(self, client, kind):
        self.client = client
        names = [None] if kind == "thermostat" else ["thermostat1", "thermostat2"]
        self.thermostats = [Thermostat(name) for name in names]
        self.is_controller = kind == "controller"

    def start(self):
        """What is there is reported, and what was desired meanwhile is acknowledged."""
        twin = self.client.get_twin()
        if self.is_controller:
            self.client.patch_twin_reported_properties({"serialNumber": "SR-123456"})
            self.client.patch_twin_reported_properties({"deviceInformation": {"__t": "c", **INFORMATION}})
        for thermostat in self.thermostats:
            warmest = {"maxTempSinceLastReboot": max(thermostat.temperatures)}
            self.client.patch_twin_reported_properties(thermostat.wrapped(warmest))
            own = self.section(twin["reported"], thermostat).get("targetTemperature")
            wanted = self.section(twin["desired"], thermostat).get("targetTemperature")
            if wanted is None and own is None:
                self.acknowledge(thermostat, thermostat.target, 203, 0, "default")
        self.desired(twin["desired"])

    @staticmethod
    def section(properties, thermostat):
        found = properties if thermostat.component is None else properties.get(thermostat.component, {})
        return found if isinstance(found, dict) else {}

    def acknowledge(self, thermostat, value, code, version, text):
        answer = {"value": value, "ac": code, "av": version, "ad": text}
        self.client.patch_twin_reported_properties(thermostat.wrapped({"targetTemperature": answer}))

    def desired(self, patch):
        known = {thermostat.component: thermostat for thermostat in self.thermostats}
        for name, value in patch.items():
            if name == "$version":
                continue
            in_component = isinstance(value, dict) and value.get("__t") == "c"
            component = name if in_component else None
            members = {key: one for key, one in value.items() if key != "__t"} if in_component else {name: value}
            for key, one in members.items():
                say("desired", component=component, property=key, value=one)
                thermostat = known.get(component)
                if thermostat is None or key != "targetTemperature" or one is None:
                    continue
                thermostat.target = one
                self.acknowledge(thermostat, one, 200, patch["$version"], "now the target")
                say("acknowledged", component=component, property=key, value=one)

    def command(self, request):
        say("command", name=request.name, payload=request.payload)
        status, answer = 404, {"message": "no such command"}
        for thermostat in self.thermostats:
            if request.name == thermostat.method("getMaxMinReport"):
                status, answer = 200, thermostat.report(request.payload)
        if self.is_controller and request.name == "reboot":
            status, answer = 200, None
        self.client.send_method_response(MethodResponse.create_from_method_request(request, status, answer))

    def telemetry(self):
        for thermostat in self.thermostats:
            message = Message(json.dumps({"temperature": thermostat.temperatures[-1]}))
            message.content_type, message.content_encoding = "application/json", "utf-8"
            if thermostat.component is not None:
                message.custom_properties["$.sub"] = thermostat.component
            self.client.send_message(message)


def main():
    start_deadline()
    kind = sys.argv[1]
    patches = queue.Queue()
    try:
        client = IoTHubDeviceClient.create_from_connection_string(
            setting("IOTHUB_DEVICE_CONNECTION_STRING"), product_info=MODELS[kind]
        )
        client.on_background_exception = lambda error: fail("background", error)
        client.connect()
        device = Device(client, kind)
        client.on_method_request_received = device.command
        device.start()
        # This handler is given whole sections too, and is called on several threads: one takes them in turn.
        client.on_twin_desired_properties_patch_received = patches.put
    except Exception as error:
        fail("connect", error)
        return 1
    say("connected")

    def follow():
        seen = 0
        while True:
            patch = patches.get()
            if patch["$version"] <= seen:
                continue
            seen = patch["$version"]
            try:
                device.desired(patch)
            except Exception as error:
                fail("desired", error)

    threading.Thread(target=follow, daemon=True).start()
    for command in commands():
        if command["cmd"] == "quit":
            break
        try:
            device.telemetry()
            say("sent")
        except Exception as error:
            fail("telemetry", error)

    try:
        client.shutdown()
    except Exception as error:
        fail("shutdown", error)
        return 1
    say("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
