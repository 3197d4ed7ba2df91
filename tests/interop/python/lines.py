"""What every Python program here shares: one JSON object per line on standard output, nothing
else; commands as JSON lines on standard input; and a deadline, so that none of them can hang.
"""

import json
import os
import signal
import sys
import threading
import time

_lock = threading.Lock()


def say(event, **fields):
    """Prints one event. Handlers run on threads of the SDK, so lines are kept whole by a lock."""
    line = json.dumps({"event": event, **fields})
    with _lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def fail(step, error, **fields):
    """Prints an error as an SDK user meets it: its class, its text, and what it was raised from."""
    causes = []
    cause = error.__cause__
    while cause is not None and len(causes) < 8:
        causes.append({"class": type(cause).__name__, "message": str(cause)})
        cause = cause.__cause__
    response = getattr(error, "response", None)
    say(
        "error",
        step=step,
        **{"class": type(error).__name__, "module": type(error).__module__},
        message=str(error),
        status=getattr(response, "status_code", None),
        body=getattr(response, "text", None),
        causes=causes,
        **fields,
    )


def start_deadline():
    """Ends the process with code 3 after INTEROP_DEADLINE_S seconds, 60 unless set."""
    seconds = int(os.environ.get("INTEROP_DEADLINE_S", "60"))

    def give_up():
        say("deadline", after_s=seconds)
        os._exit(3)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    # Should native code hold the interpreter, the timer's thread never runs; the signal does.
    signal.alarm(seconds + 5)


def setting(name):
    """An environment variable; without it the program ends with code 2."""
    value = os.environ.get(name)
    if not value:
        say("usage", message="set " + name)
        sys.exit(2)
    return value


def commands():
    """JSON objects from standard input, one per line, until it ends."""
    for line in sys.stdin:
        if line.strip():
            yield json.loads(line)


def body_of(message):
    """A message's body: `body_hex`, or `body_text`, or `body_size` bytes of a repeated alphabet."""
    if "body_hex" in message:
        return bytes.fromhex(message["body_hex"])
    if "body_size" in message:
        size = message["body_size"]
        return (b"abcdefghijklmnopqrstuvwxyz" * (size // 26 + 1))[:size]
    return message.get("body_text", "").encode("utf-8")


def set_clock():
    """Shifts this process's clock by the seconds after --clock, if given. These SDKs offer no way to
    sign an expired token, but a machine whose clock is two hours slow does exactly that."""
    if "--clock" in sys.argv:
        real, shift = time.time, int(sys.argv[sys.argv.index("--clock") + 1])
        time.time = lambda: real() + shift
