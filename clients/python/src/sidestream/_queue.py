"""What is to be carried out, in the order of the calls: bounded, one request at a time, tried again until it is done, refused,
or too old. Events that stand behind each other go out as one request. A thread of its own does it."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, List, NamedTuple, Optional

from ._call import Call, Counters
from ._errors import SidestreamError
from ._http import Client

_BATCH_BYTES = 256 * 1024
# Bookkeeping of a call, so that a bound in bytes holds for many small ones too.
_OVERHEAD = 256


class Settings(NamedTuple):
    max_queue: int
    max_queue_bytes: int
    max_batch: int
    timeout: float
    give_up_after: float
    min_backoff: float
    max_backoff: float


class Command(NamedTuple):
    """A request that is no event."""

    method: str
    path: str
    #: Whether a 404 says that it is done.
    gone: bool = False


class _Item:
    __slots__ = ("at", "call", "command", "place", "size", "text")

    def __init__(self, text: Optional[bytes], command: Optional[Command], call: Call) -> None:
        #: Its place in the order of the calls.
        self.place = 0
        self.text = text
        self.command = command
        self.call = call
        self.size = len(text or b"") + _OVERHEAD
        self.at = time.monotonic()


class Queue:
    def __init__(
        self, client: Client, settings: Settings, failed: Callable[[SidestreamError, int, bool], None],
        changed: Callable[[Optional[SidestreamError]], None],
    ) -> None:
        self._client = client
        self._settings = settings
        # (error, how many calls, whether they are tried again)
        self._failed_hook = failed
        # The daemon does not answer any more (the error), or does again (None).
        self._changed_hook = changed
        self.forget()

    def forget(self) -> None:
        """Begins anew, as in a process just forked: the parent has the thread, and sends what it had queued."""
        for item in getattr(self, "_items", ()):
            item.call._forget()
        self._lock = threading.Condition(threading.Lock())
        self._items: Deque[_Item] = deque()
        self._bytes = 0
        self._places = 0
        self._thread: Optional[threading.Thread] = None
        self._closed = False
        # Ends a pause before its time.
        self._hurry = False
        self._deadline = float("inf")
        self._attempts = 0
        self._most = self._settings.max_batch
        # How many of the next events go out one by one, because together they were refused.
        self._alone = 0
        self._done = self._failed = self._dropped = self._retries = 0
        self._reachable: Optional[bool] = None

    def is_away(self) -> bool:
        return self._attempts > 0

    def add(self, text: Optional[bytes], command: Optional[Command], call: Call) -> None:
        item = _Item(text, command, call)
        with self._lock:
            full = len(self._items) >= self._settings.max_queue or self._bytes + item.size > self._settings.max_queue_bytes
            if not self._closed and not full:
                self._places += 1
                item.place = self._places
                self._items.append(item)
                self._bytes += item.size
                self._start()
                self._lock.notify_all()
                return
            self._dropped += 1
            if self._closed:
                error = SidestreamError("the publisher is closed", "closed")
            else:
                bounds = (len(self._items), self._bytes)
                error = SidestreamError("the queue is full (%d calls, %d bytes)" % bounds, "dropped")
        call._settle("dropped", error=error)
        self._failed_hook(error, 1, False)

    def flush(self, deadline: float) -> bool:
        """Waits until all that has been taken so far is settled; False when that takes longer."""
        with self._lock:
            if not self._items:
                return True
            last = self._items[-1]
            self._hurry = True
            self._start()
            self._lock.notify_all()
            if self._thread is not None:
                # A first one of several can outlast the last one: the daemon may take the others and not it.
                return self._lock.wait_for(lambda: not self._items or self._items[0].place > last.place, deadline)
        # Threads cannot be started when the interpreter is about to end: here, then.
        self._deadline = time.monotonic() + deadline
        self._run()
        return not self._items

    def close(self, deadline: float) -> bool:
        """Takes nothing more, flushes, and gives up what is left."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        flushed = self.flush(deadline)
        with self._lock:
            left = list(self._items)
            self._items.clear()
            self._bytes = 0
            self._dropped += len(left)
            self._lock.notify_all()
        if left:
            error = SidestreamError("the publisher was closed before it could be sent", "closed", unknown=True)
            for item in left:
                item.call._settle("dropped", error=error)
            self._failed_hook(error, len(left), False)
        return flushed

    def counters(self) -> Counters:
        with self._lock:
            return Counters(
                len(self._items), self._bytes, self._done, self._failed, self._dropped, self._retries, self._reachable
            )

    def _start(self) -> None:
        """Starts the thread. Called with the lock held."""
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name="sidestream", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return
        self._thread = thread

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._deadline == float("inf"):
                    self._lock.wait_for(lambda: bool(self._items) or self._closed)
                if not self._items or time.monotonic() >= self._deadline:
                    return
                head = self._head()
            try:
                answer = self._send(head)
            except SidestreamError as error:
                self._reject(head, error)
            except Exception as error:  # whatever it is, the thread goes on
                self._reject(head, SidestreamError(repr(error), "unreachable", unknown=True))
            else:
                self._answered()
                self._attempts = 0
                self._accept(head, answer)

    def _head(self) -> List[_Item]:
        """What goes into the next request: one command, or the events up to the next one."""
        head: List[_Item] = []
        most = 1 if self._alone else self._most
        size = 0
        for item in self._items:
            size += item.size
            if head and (item.command or len(head) >= most or size > _BATCH_BYTES):
                break
            head.append(item)
            if item.command:
                break
        return head

    def _send(self, head: List[_Item]) -> Any:
        timeout = min(self._settings.timeout, self._deadline - time.monotonic())
        command = head[0].command
        if command:
            return self._client.send(command.method, command.path, head[0].text, timeout)
        body = b"[" + b",".join(item.text or b"" for item in head) + b"]"
        return self._client.send("POST", "/publish?partial=true", body, timeout)

    def _accept(self, head: List[_Item], answer: Any) -> None:
        if head[0].command:
            self._take(head[0], answer)
            return
        results = answer.get("events") if isinstance(answer, dict) else None
        if not isinstance(results, list) or len(results) != len(head):
            self._fail(head, SidestreamError("POST /publish: the answer is not sidestream's", "bad_answer"))
            return
        # Those that the daemon could not take just then stay where they are, and are tried again.
        again = None
        for item, result in zip(head, results):
            error = _refusal(result)
            if error is None:
                self._take(item, result)
            elif error.is_temporary:
                again = error
            else:
                self._fail([item], error)
        if again:
            self._pause(again)

    def _reject(self, head: List[_Item], error: SidestreamError) -> None:
        first = head[0]
        with self._lock:
            if first not in self._items:
                return  # closed meanwhile
        if error.status is not None:
            self._answered()
        if not error.is_temporary:
            self._attempts = 0
        if error.status == 404 and first.command and first.command.gone:
            # What was to be closed is gone, perhaps by the request whose answer was lost.
            self._take(first, {"closed": 0, "instances": [], "complete": True})
        elif error.status == 413 and len(head) > 1:
            self._most = len(head) // 2
        elif error.status == 400 and len(head) > 1:
            self._alone = len(head)
        elif error.is_temporary:
            self._pause(error)
        else:
            self._fail(head, error)

    def _pause(self, error: SidestreamError) -> None:
        """Waits before the next attempt; gives up what has become too old."""
        self._attempts += 1
        if error.status is None:
            was, self._reachable = self._reachable, False
            if was is not False:
                self._changed_hook(error)
        give_up_after = self._settings.give_up_after
        with self._lock:
            old = [item for item in self._items if item.at <= time.monotonic() - give_up_after]
        if old:
            message = "given up after %g s: %s" % (give_up_after, error)
            self._fail(
                old,
                SidestreamError(message, "given_up", status=error.status, problem=error.problem, unknown=error.unknown),
            )
        with self._lock:
            count = len(self._items)
        if not count:
            return
        self._retries += 1
        self._failed_hook(error, count, True)
        most = min(self._settings.max_backoff, self._settings.min_backoff * 2 ** min(self._attempts - 1, 30))
        asked = min(error.retry_after or 0, max(self._settings.max_backoff, 30))
        pause = min(asked + most * random.uniform(0.5, 1), self._deadline - time.monotonic())
        with self._lock:
            self._lock.wait_for(lambda: self._hurry or not self._items, max(0, pause))
            self._hurry = False

    def _answered(self) -> None:
        was, self._reachable = self._reachable, True
        if was is False:
            self._changed_hook(None)

    def _take(self, item: _Item, value: Any) -> None:
        if self._remove([item]):
            with self._lock:
                self._done += 1
        item.call._settle("done", value)

    def _fail(self, items: List[_Item], error: SidestreamError) -> None:
        count = self._remove(items)
        with self._lock:
            self._failed += count
        for item in items:
            item.call._settle("failed", error=error)
        if count:
            self._failed_hook(error, count, False)

    def _remove(self, items: List[_Item]) -> int:
        """How many of them were still there: none when the queue was closed meanwhile."""
        count = 0
        with self._lock:
            for item in items:
                if self._items and self._items[0] is item:
                    self._items.popleft()
                elif item in self._items:
                    self._items.remove(item)
                else:
                    continue
                self._bytes -= item.size
                count += 1
            self._alone = max(0, self._alone - count)
            self._lock.notify_all()
        return count


def _refusal(result: Any) -> Optional[SidestreamError]:
    """What the daemon says against one event of several; None when it is published."""
    if not isinstance(result, dict):
        return SidestreamError("POST /publish: the answer is not sidestream's", "bad_answer")
    if "error" not in result:
        return None
    status = result.get("status") or 0
    # The sentence counts the events of a request that the caller has never seen.
    head, found, tail = str(result["error"]).partition(" (counted from 0): ")
    said = tail if found and head.startswith("item ") else str(result["error"])
    return SidestreamError(
        "POST /publish: %d %s" % (status, said),
        "unavailable" if status >= 500 or status == 429 else "refused",
        status=status,
        problem={**result, "error": said},
        unknown=result.get("published") == "unknown",
    )
