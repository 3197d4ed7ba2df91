"""Tries to connect a device or a module, and prints what Microsoft's Python client raises when the hub
refuses it, or "connected".

    device_fault.py [--clock SECONDS] [--token SECONDS]
    device_fault.py --each

The first tries once, as connection.py says: with a wrong key, as an unknown or as a disabled device.
--clock -7200 makes the clock of this process two hours slow, so that the token it signs has expired
when the hub sees it. --token hands the client a finished token with that many seconds left; one
that has ended the client refuses itself, before it opens a connection. The second tries each login of
standard input, {"tag","string","transport","certificate"?,"private_key"?}, and prints its tag with the
outcome.
"""

import base64
import hashlib
import hmac
import sys
import time
import urllib.parse

from connection import login, new_client
from lines import commands, fail, say, set_clock, start_deadline


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


def attempt(wanted, **fields):
    try:
        client = new_client(wanted)
        client.connect()
    except Exception as error:
        fail("connect", error, **fields)
        return
    say("connected", **fields)
    client.shutdown()


def main():
    start_deadline()
    if "--each" in sys.argv:
        for command in commands():
            attempt(command, tag=command["tag"])
        say("done")
        return 0
    wanted = login()
    set_clock()
    if "--token" in sys.argv:
        seconds = int(sys.argv[sys.argv.index("--token") + 1])
        parts = wanted["string"].rsplit(";", 1)[0]
        wanted["string"] = parts + ";SharedAccessSignature=" + sign_token(wanted["string"], seconds)
    attempt(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
