"""Tries once to connect a device, and prints what Microsoft's Python client raises when the hub
refuses it, or "connected".

    device_fault.py [--clock SECONDS] [--token SECONDS]

Reads IOTHUB_DEVICE_CONNECTION_STRING: one with a wrong key, of an unknown or of a disabled device.
--clock -7200 makes the clock of this process two hours slow, so that the token it signs has expired
when the hub sees it. --token hands the client a finished token with that many seconds left; one
that has ended the client refuses itself, before it opens a connection.
"""

import base64
import hashlib
import hmac
import sys
import time
import urllib.parse

from azure.iot.device import IoTHubDeviceClient

from lines import fail, say, set_clock, setting, start_deadline


def sign_token(connection_string, seconds):
    """A device's token, made as the documentation on access control shows."""
    parts = dict(pair.split("=", 1) for pair in connection_string.split(";"))
    resource = urllib.parse.quote(parts["HostName"] + "/devices/" + parts["DeviceId"], safe="")
    expiry = str(int(time.time()) + seconds)
    signature = hmac.new(
        base64.b64decode(parts["SharedAccessKey"]),
        (resource + "\n" + expiry).encode("utf-8"),
        hashlib.sha256,
    ).digest()
    encoded = urllib.parse.quote(base64.b64encode(signature), safe="")
    return f"SharedAccessSignature sr={resource}&sig={encoded}&se={expiry}"


def main():
    start_deadline()
    connection_string = setting("IOTHUB_DEVICE_CONNECTION_STRING")
    set_clock()
    try:
        if "--token" in sys.argv:
            seconds = int(sys.argv[sys.argv.index("--token") + 1])
            client = IoTHubDeviceClient.create_from_sastoken(
                sign_token(connection_string, seconds)
            )
        else:
            client = IoTHubDeviceClient.create_from_connection_string(connection_string)
        client.connect()
    except Exception as error:
        fail("connect", error)
        return 0
    say("connected")
    client.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
