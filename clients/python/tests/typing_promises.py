"""What the types promise: checked by mypy, never run."""

from typing import Optional

from sidestream import AsyncPublisher, Call, Counters, Publisher, SidestreamError, create_event, verify_webhook


def hears(error: SidestreamError, count: int, retrying: bool) -> None:
    kind: str = error.kind
    status: Optional[int] = error.status
    print(kind, status, count, retrying)


def sync() -> None:
    with Publisher("http://127.0.0.1:8081", lambda: "key", on_error=hears) as push:
        call: Call = push.send_to_user(7, "n", {"any": "thing"}, ttl=60)
        call = push.broadcast_to_conversation("42", create_event("n", 1), except_user="u").wait()
        online: bool = push.is_online("u")
        counters: Counters = push.counters()
        for connection in push.query.connections(user="u"):
            connection["client"]
        push.send_to_user(1.5, "n")  # type: ignore[arg-type]
        print(call.ok, online, counters.queued, verify_webhook("secret", None, b""))


async def asynchronous() -> None:
    async with AsyncPublisher() as push:
        call: Call = await push.send_to_all("n")
        count: int = await push.get_connection_count(topic="t")
        async for user in push.query.online():
            print(user.upper(), call, count)
