from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, AsyncIterator, Callable, Dict, Iterable, List, Optional, TypeVar

from ._publisher import Sender, _name
from ._queries import Name, Queries, query

Value = TypeVar("Value")


class AsyncQueries:
    """The questions of Queries as coroutines, and its iterators as asynchronous ones."""

    def __init__(self, questions: Queries, run: Callable[..., Any]) -> None:
        self._questions = questions
        self._run = run

    async def count(self, **filters: Optional[Name]) -> Dict[str, Any]:
        answer: Dict[str, Any] = await self._run(self._questions.count, **filters)
        return answer

    def connections(self, limit: int = 1000, **filters: Optional[Name]) -> AsyncIterator[Dict[str, Any]]:
        return self._pages("/connections", "connections", {**filters, "limit": limit})

    async def connection(self, client: str) -> Optional[Dict[str, Any]]:
        answer: Optional[Dict[str, Any]] = await self._run(self._questions.connection, client)
        return answer

    async def presence(self) -> Dict[str, Any]:
        answer: Dict[str, Any] = await self._run(self._questions.presence)
        return answer

    async def user(self, user: Name) -> Dict[str, Any]:
        answer: Dict[str, Any] = await self._run(self._questions.user, user)
        return answer

    async def users(self, users: Iterable[Name]) -> Dict[str, bool]:
        answer: Dict[str, bool] = await self._run(self._questions.users, users)
        return answer

    def online(self) -> AsyncIterator[str]:
        return self._pages("/presence/users", "users", {})

    async def topic(self, topic: Name) -> Dict[str, Any]:
        answer: Dict[str, Any] = await self._run(self._questions.topic, topic)
        return answer

    async def given_topics(
        self, *, user: Optional[Name] = None, session: Optional[Name] = None, client: Optional[str] = None
    ) -> List[str]:
        answer: List[str] = await self._run(self._questions.given_topics, user=user, session=session, client=client)
        return answer

    async def position(self) -> str:
        answer: str = await self._run(self._questions.position)
        return answer

    async def events(
        self, topic: Name, *, since: Optional[str] = None, limit: Optional[int] = None, last: Optional[int] = None
    ) -> Dict[str, Any]:
        answer: Dict[str, Any] = await self._run(self._questions.events, topic, since=since, limit=limit, last=last)
        return answer

    async def ticket(self, **grant: Any) -> Dict[str, Any]:
        answer: Dict[str, Any] = await self._run(self._questions.ticket, **grant)
        return answer

    async def _pages(self, path: str, field: str, parameters: Dict[str, Any]) -> AsyncIterator[Any]:
        cursor = None
        while True:
            page = await self._run(self._questions._dict, "GET", path + query({**parameters, "cursor": cursor}))
            for one in page[field]:
                yield one
            cursor = page.get("next")
            if not cursor:
                return


class AsyncPublisher(Sender):
    """Publishes to sidestream from asyncio.

    A call that sends needs no ``await``: it is queued when it returns, and a thread of the publisher's own sends it, however busy
    the loop is. ``await push.send_to_user(…)`` waits for what becomes of it, for ``patience`` at most, and never raises.
    """

    def _begin(self) -> None:
        super()._begin()
        self._pool: Optional[ThreadPoolExecutor] = None

    @property
    def query(self) -> AsyncQueries:
        """What sidestream can be asked. These raise SidestreamError when there is no answer."""
        return AsyncQueries(self._questions, self._in_pool)

    # Asking, as the services that it replaces did: without an answer False, 0 or nobody, and ``on_error`` hears why.

    async def has_connection(self, user: Name) -> bool:
        """Whether a user has an open stream on any instance."""
        return await self._asked(lambda: bool(self._questions.count(user=_name(user))["total"] > 0), False)

    async def is_online(self, user: Name) -> bool:
        """Whether a user is there: also for ``presence.grace`` after the last stream has ended."""
        return await self._asked(lambda: bool(self._questions.user(_name(user))["online"]), False)

    async def get_connection_count(self, **filters: Optional[Name]) -> int:
        """How many streams are open on all instances, all or those of the filters."""
        return await self._asked(lambda: int(self._questions.count(**filters)["total"]), 0)

    async def get_active_connections(self, **filters: Optional[Name]) -> List[Dict[str, Any]]:
        """All open streams of all instances, or those of the filters, however many pages they are."""
        return await self._asked(lambda: list(self._questions._connections(filters)), [])

    async def get_stats(self) -> Dict[str, Any]:
        """Streams by instance, and what this publisher has done."""
        nothing: Dict[str, Any] = {"total": 0, "instances": [], "complete": False}
        return {**await self._asked(self._questions.count, nothing), "publisher": self.counters()._asdict()}

    async def flush(self, deadline: float = 5.0) -> bool:
        """Waits until all calls so far are settled; False when that takes longer than ``deadline`` seconds."""
        flushed: bool = await self._in_pool(self._flush, deadline)
        return flushed

    async def close(self, deadline: float = 5.0) -> bool:
        """Takes no more calls, sends what is queued, and gives up what is left after ``deadline`` seconds."""
        flushed: bool = await self._in_pool(self._shut, deadline)
        if self._pool:
            self._pool.shutdown(wait=False)
        return flushed

    async def __aenter__(self) -> AsyncPublisher:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def _asked(self, question: Callable[[], Value], otherwise: Value) -> Value:
        answer: Value = await self._in_pool(self._ask, question, otherwise)
        return answer

    async def _in_pool(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if self._pool is None:
            # Of its own: the loop's threads may all be busy with what the application does.
            self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="sidestream")
        return await asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(function, *arguments, **named))
