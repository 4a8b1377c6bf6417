"""An application whose streams are made by sse-starlette, with ids that a client resumes by. Takes a port, and a file in
which it keeps what it has said."""

import asyncio
import json
import sys
from pathlib import Path

from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from serving import serve

kept = Path(sys.argv[2])
opened, queues = 0, set()
said = json.loads(kept.read_text()) if kept.exists() else []


async def events(request):
    global opened
    opened += 1
    last = int(request.headers.get("last-event-id", "0"))
    queue = asyncio.Queue()
    queues.add(queue)

    async def stream():
        try:
            for event in [event for event in said if last and int(event["id"]) > last]:
                yield event
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)

    return EventSourceResponse(stream())


async def say(_request):
    number = len(said) + 1
    said.append({"id": str(number), "event": "tick", "data": f"{number}\nzwei"})
    kept.write_text(json.dumps(said))
    for queue in queues:
        queue.put_nowait(said[-1])
    return PlainTextResponse("said")


async def count(_request):
    return PlainTextResponse(f"{opened} {len(queues)}")


serve(Starlette(routes=[Route("/events", events), Route("/say", say), Route("/count", count)]))
