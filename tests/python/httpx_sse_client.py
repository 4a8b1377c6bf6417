"""PyPI `httpx-sse`. Argument: the URL.

The library leaves reconnecting to its caller; this does it as its manual says: with the last id and the
stream's own `retry`.
"""

import json
import os
import sys
import threading
import time

import httpx
from httpx_sse import connect_sse


def say(**line):
    print(json.dumps(line), flush=True)


def end_with_the_test():
    sys.stdin.read()
    os._exit(0)


def main(url):
    last_id, pause = "", 1.0
    with httpx.Client(timeout=None) as client:
        while True:
            headers = {"last-event-id": last_id} if last_id else {}
            try:
                with connect_sse(client, "GET", url, headers=headers) as source:
                    source.response.raise_for_status()
                    say(said="opened")
                    for sse in source.iter_sse():
                        say(said="event", event=sse.event, data=sse.data, id=sse.id)
                        last_id = sse.id or last_id
                        pause = sse.retry / 1000 if sse.retry is not None else pause
            except httpx.TransportError as error:
                say(said="lost", why=str(error))
            time.sleep(pause)


threading.Thread(target=end_with_the_test, daemon=True).start()
main(sys.argv[1])
