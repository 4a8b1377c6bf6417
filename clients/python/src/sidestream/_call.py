"""What becomes of a call, and the counters of all of them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Callable, Generator, List, NamedTuple, Optional

from ._errors import SidestreamError


class Counters(NamedTuple):
    #: Calls that wait, with those that are on their way.
    queued: int
    queued_bytes: int
    #: Carried out: events published, and other calls done.
    done: int
    #: Refused, or tried for too long.
    failed: int
    #: Not taken, because the queue was full or the publisher closed.
    dropped: int
    #: Requests that were sent again.
    retries: int
    #: Whether the last request of the queue got an answer; ``None`` before the first one.
    reachable: Optional[bool]


class Call:
    """A call that was taken. It goes on by itself: there is no need to wait for it, and nothing to catch.

    ``status`` is ``queued`` (not yet done, still being tried), ``done``, ``failed`` (refused, or tried for too long) or
    ``dropped`` (the queue was full, or the publisher is closed).

    With asyncio, ``await call`` waits for it, for ``patience`` at most, and gives the call itself.
    """

    __slots__ = ("_condition", "_error", "_is_away", "_patience", "_status", "_then", "_value")

    def __init__(self, patience: float, is_away: Callable[[], bool]) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._patience = patience
        self._is_away = is_away
        self._status = "queued"
        self._value: Any = None
        self._error: Optional[SidestreamError] = None
        self._then: List[Callable[[], None]] = []

    @property
    def status(self) -> str:
        return self._status

    @property
    def ok(self) -> bool:
        """Whether it is done."""
        return self._status == "done"

    @property
    def value(self) -> Any:
        """The daemon's answer, once it is done: of an event a dict with ``id`` and ``matched``."""
        return self._value

    @property
    def error(self) -> Optional[SidestreamError]:
        """Why it failed, or was dropped."""
        return self._error

    def wait(self, timeout: Optional[float] = None) -> Call:
        """Waits until it is settled, for ``timeout`` seconds at most. Without one, for the publisher's ``patience``, and not
        at all while the daemon is known to be away."""
        if timeout is None:
            timeout = 0 if self._is_away() else self._patience
        with self._condition:
            self._condition.wait_for(lambda: self._status != "queued", timeout)
        return self

    def result(self, timeout: Optional[float] = None) -> Any:
        """The daemon's answer. Waits until there is one, or until the publisher has given up; raises SidestreamError when it
        is not done."""
        with self._condition:
            self._condition.wait_for(lambda: self._status != "queued", timeout)
        if self._status == "done":
            return self._value
        raise self._error or SidestreamError("not yet: sidestream has not answered", "unreachable", unknown=True)

    def __await__(self) -> Generator[Any, None, Call]:
        return self._until(0 if self._is_away() else self._patience).__await__()

    async def _until(self, timeout: Optional[float]) -> Call:
        loop = asyncio.get_running_loop()
        settled = asyncio.Event()

        def then() -> None:
            try:
                loop.call_soon_threadsafe(settled.set)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

        with self._condition:
            if self._status != "queued":
                return self
            self._then.append(then)
        try:
            await asyncio.wait_for(settled.wait(), timeout)
        except asyncio.TimeoutError:
            pass
        finally:
            with self._condition:
                if then in self._then:
                    self._then.remove(then)
        return self

    def __repr__(self) -> str:
        return "<Call %s%s>" % (self._status, ": %s" % self._error if self._error else "")

    def _forget(self) -> None:
        """In a process just forked, where another one has what becomes of it."""
        self._condition = threading.Condition(threading.Lock())
        self._then = []
        self._status = "dropped"
        self._error = SidestreamError("the process that this one was forked from sends it", "closed", unknown=True)

    def _settle(self, status: str, value: Any = None, error: Optional[SidestreamError] = None) -> None:
        with self._condition:
            if self._status != "queued":
                return
            self._status, self._value, self._error = status, value, error
            then, self._then = self._then, []
            self._condition.notify_all()
        for each in then:
            each()
