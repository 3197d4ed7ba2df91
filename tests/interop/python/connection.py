"""How every Python device program here connects: over which transport, as a device or as a module, and with
which proof.
"""

import os

from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, X509

from lines import setting


def login():
    """What the environment says of the connection."""
    return {
        "string": setting("IOTHUB_DEVICE_CONNECTION_STRING"),
        "transport": os.environ.get("IOTHUB_DEVICE_TRANSPORT", "mqtt"),
        "certificate": os.environ.get("IOTHUB_DEVICE_CERTIFICATE"),
        "private_key": os.environ.get("IOTHUB_DEVICE_PRIVATE_KEY"),
    }


def new_client(wanted=None):
    """A client that is not connected yet. A string with a ModuleId is that of a module; one with a
    SharedAccessSignature holds a finished token; one with x509=true is completed by `certificate` and
    `private_key`, two PEM files. This SDK takes each kind of proof in a call of its own."""
    wanted = wanted or login()
    string = wanted["string"]
    parts = dict(pair.split("=", 1) for pair in string.split(";"))
    options = {"websockets": wanted["transport"] == "mqtt-ws"}
    kind = IoTHubModuleClient if "ModuleId" in parts else IoTHubDeviceClient
    if "SharedAccessSignature" in parts:
        return kind.create_from_sastoken(parts["SharedAccessSignature"], **options)
    if "x509" in parts:
        ids = {"device_id": parts["DeviceId"]}
        if "ModuleId" in parts:
            ids["module_id"] = parts["ModuleId"]
        x509 = X509(wanted["certificate"], wanted["private_key"])
        return kind.create_from_x509_certificate(x509=x509, hostname=parts["HostName"], **ids, **options)
    return kind.create_from_connection_string(string, **options)
