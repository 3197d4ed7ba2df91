"""Reads the number of events that its argument says with Microsoft's Python client of Event Hubs, from
the beginning of all partitions, and prints the seconds it took, connecting included. Reads
EVENTHUB_CONNECTION_STRING.
"""

import os
import sys
import threading
import time

from azure.eventhub import EventHubConsumerClient

wanted = int(sys.argv[1])
client = EventHubConsumerClient.from_connection_string(os.environ["EVENTHUB_CONNECTION_STRING"], "$Default")
lock, done, seen = threading.Lock(), threading.Event(), 0


def count(_partition, events):
    global seen
    with lock:
        seen += len(events)
        if seen >= wanted:
            done.set()


start = time.monotonic()
options = {"starting_position": "-1", "max_batch_size": 1000, "max_wait_time": 0.1, "prefetch": 3000}
threading.Thread(target=lambda: client.receive_batch(count, **options), daemon=True).start()
done.wait()
print(time.monotonic() - start, flush=True)
os._exit(0)
