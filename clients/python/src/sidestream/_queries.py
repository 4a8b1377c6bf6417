"""What sidestream can be asked about streams, users and its log. Questions stand in no order with what is queued."""

from __future__ import annotations

import json
import time
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Union
from urllib.parse import quote
from uuid import UUID

from ._errors import SidestreamError
from ._http import Client

#: A user, session, client or topic: 1 to 256 bytes. A whole number and a UUID stand for their text.
Name = Union[str, int, UUID]

# After a question without an answer the next ones do not wait for theirs.
_DEAF_FOR = 1.0


def segment(name: Any) -> str:
    """A name as a segment of a path, or as a value of a query."""
    return quote(str(name), safe="", errors="replace")


def query(parameters: Dict[str, Any]) -> str:
    """A query of what is given, with its question mark."""
    given = ["%s=%s" % (name, segment(_text(value))) for name, value in parameters.items() if value is not None]
    return "?" + "&".join(given) if given else ""


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


class Queries:
    """Every method raises SidestreamError when there is no answer within ``query_timeout``.

    Filters of connections are ``user``, ``session``, ``topic``, ``client``, ``address`` and ``instance``.
    """

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._deaf_until = 0.0

    def count(self, **filters: Optional[Name]) -> Dict[str, Any]:
        """How many streams are open: ``total``, and ``instances`` with the streams of each."""
        return self._dict("GET", "/connections/count" + query(filters))

    def connections(self, limit: int = 1000, **filters: Optional[Name]) -> Iterator[Dict[str, Any]]:
        """All open streams, read page by page as they are asked for."""
        return self._connections({**filters, "limit": limit})

    def _connections(self, parameters: Mapping[str, Any]) -> Iterator[Dict[str, Any]]:
        return self._pages("/connections", "connections", {"limit": 1000, **parameters})

    def connection(self, client: str) -> Optional[Dict[str, Any]]:
        """One stream; None when there is none of that name."""
        try:
            return self._dict("GET", "/connections/" + segment(client))
        except SidestreamError as error:
            if error.status == 404:
                return None
            raise

    def presence(self) -> Dict[str, Any]:
        """How many users and streams there are."""
        return self._dict("GET", "/presence")

    def user(self, user: Name) -> Dict[str, Any]:
        """Whether a user is online, and where."""
        return self._dict("GET", "/presence/users/" + segment(user))

    def users(self, users: Iterable[Name]) -> Dict[str, bool]:
        """For each of up to 10,000 users whether they are online."""
        asked = [str(user) for user in users]
        online = set(self._dict("POST", "/presence/users", {"users": asked})["users"])
        return {user: user in online for user in asked}

    def online(self) -> Iterator[str]:
        """Everybody who is online, by name."""
        return self._pages("/presence/users", "users", {})

    def topic(self, topic: Name) -> Dict[str, Any]:
        """Who is on a topic."""
        return self._dict("GET", "/presence/topics/" + segment(topic))

    def given_topics(
        self, *, user: Optional[Name] = None, session: Optional[Name] = None, client: Optional[str] = None
    ) -> List[str]:
        """The topics that a user, session or client has been given."""
        topics: List[str] = self._dict("GET", holder(user, session, client))["topics"]
        return topics

    def position(self) -> str:
        """Where the log ends: take it before the snapshot that a page is rendered from."""
        return str(self._dict("GET", "/position")["position"])

    def events(
        self, topic: Name, *, since: Optional[str] = None, limit: Optional[int] = None, last: Optional[int] = None
    ) -> Dict[str, Any]:
        """What the log keeps of a topic: a page behind ``since``, or the ``last`` ones."""
        return self._dict("GET", "/topics/%s/events" % segment(topic) + query({"since": since, "limit": limit, "last": last}))

    def ticket(self, **grant: Any) -> Dict[str, Any]:
        """A one-time ticket for a stream with ``auth = "ticket"``: ``user``, ``session``, ``topics``, ``claims`` …"""
        return self._dict("POST", "/tickets", grant)

    def _pages(self, path: str, field: str, parameters: Dict[str, Any]) -> Iterator[Any]:
        cursor = None
        while True:
            page = self._dict("GET", path + query({**parameters, "cursor": cursor}))
            yield from page[field]
            cursor = page.get("next")
            if not cursor:
                return

    def _dict(self, method: str, path: str, body: Any = None) -> Dict[str, Any]:
        what = "%s %s" % (method, path.split("?")[0])
        if time.monotonic() < self._deaf_until:
            raise SidestreamError("%s: sidestream has just not answered" % what, "unreachable")
        began = time.monotonic()
        try:
            answer = self._client.send(method, path, None if body is None else json.dumps(body).encode(), self._timeout)
        except SidestreamError:
            if time.monotonic() - began >= self._timeout:
                self._deaf_until = time.monotonic() + _DEAF_FOR
            raise
        if not isinstance(answer, dict):
            raise SidestreamError("%s: the answer is not sidestream's" % what, "bad_answer")
        return answer


def holder(user: Optional[Name], session: Optional[Name], client: Optional[str]) -> str:
    """The path of the topics of one user, session or client."""
    given = [(kind, name) for kind, name in (("users", user), ("sessions", session), ("clients", client)) if name is not None]
    if len(given) != 1 or given[0][1] == "":
        raise SidestreamError("topics are those of one user, session or client", "invalid")
    return "/%s/%s/topics" % (given[0][0], segment(given[0][1]))
