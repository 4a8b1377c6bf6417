from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
import time
import weakref
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, TypeVar, Union
from uuid import UUID

from ._call import Call, Counters
from ._errors import SidestreamError
from ._events import Event
from ._http import Client, Key
from ._queries import Name, Queries, holder, query, segment
from ._queue import Command, Queue, Settings

log = logging.getLogger("sidestream")

#: Hears of everything that fails: the error, how many calls it is about, and whether they will be tried again.
OnError = Callable[[SidestreamError, int, bool], None]
Value = TypeVar("Value")

_OPTIONS = ("except_", "ephemeral", "ttl", "coalesce", "retry", "idempotency_key")
_SAY_EVERY = 10.0


class Sender:
    """What both publishers have: calls that send. They never raise, never wait, and are carried out in their order."""

    def __init__(
        self,
        url: Optional[str] = None,
        key: Optional[Key] = None,
        *,
        conversation_topic: Callable[[Name], str] = "conversation:{}".format,
        patience: float = 1.0,
        give_up_after: float = 60.0,
        timeout: float = 5.0,
        query_timeout: float = 3.0,
        max_queue: int = 10_000,
        max_queue_bytes: int = 32 * 1024 * 1024,
        max_batch: int = 500,
        min_backoff: float = 0.1,
        max_backoff: float = 5.0,
        exit_deadline: float = 2.0,
        json_default: Optional[Callable[[Any], Any]] = None,
        on_error: Optional[OnError] = None,
        on_down: Optional[Callable[[SidestreamError], None]] = None,
        on_up: Optional[Callable[[], None]] = None,
    ) -> None:
        """All times are seconds.

        :param url: the daemon's internal listener; without it SIDESTREAM_URL, or http://127.0.0.1:8081
        :param key: one of ``internal.publish_keys``, or what gives it; without it SIDESTREAM_KEY or SIDESTREAM_PUBLISH_KEY
        :param conversation_topic: the topic of a conversation
        :param patience: how long ``call.wait()`` and ``await call`` wait
        :param give_up_after: for how long a call is tried; below the daemon's ``log.idempotency_window`` (10 min)
        :param timeout: how long a request may take
        :param query_timeout: how long a question may take
        :param max_queue: how many calls may wait
        :param max_queue_bytes: how many bytes
        :param max_batch: events in one request, at most the daemon's ``internal.max_batch``
        :param min_backoff: the first pause after a failure, which doubles with each one
        :param max_backoff: the longest one
        :param exit_deadline: how long the interpreter's end waits for what is queued
        :param json_default: what makes JSON of data that is none, such as ``str`` or ``DjangoJSONEncoder().default``
        :param on_error: hears of everything that fails; without it the logger ``sidestream`` warns once in ten seconds
        :param on_down: hears that the daemon does not answer any more
        :param on_up: hears that it does again
        """
        url = url or os.environ.get("SIDESTREAM_URL") or "http://127.0.0.1:8081"
        if key is None:
            key = os.environ.get("SIDESTREAM_KEY") or os.environ.get("SIDESTREAM_PUBLISH_KEY") or ""
        self._client = Client(url, key)
        self._conversation_topic = conversation_topic
        self._patience = patience
        self._exit_deadline = exit_deadline
        self._json_default = json_default
        self._on_error = on_error
        self._on_down = on_down
        self._on_up = on_up
        settings = Settings(max_queue, max_queue_bytes, max_batch, timeout, give_up_after, min_backoff, max_backoff)
        self._queue = Queue(self._client, settings, self._report, self._changed)
        self._questions = Queries(self._client, query_timeout)
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._idempotency = os.urandom(12).hex() + "/"
        self._lock = threading.Lock()
        self._sent = 0
        self._said_at = float("-inf")
        self._unsaid = 0
        self._finalized = False

    def _forget(self) -> None:
        """In a process just forked: connections, thread and what is queued are the parent's."""
        self._client.forget()
        self._queue.forget()
        self._begin()

    # --- sending

    def publish(self, **envelope: Any) -> Call:
        """Sends an event to the audience of the envelope, such as ``publish(topics=["a", "b"], event="n", data=1, ttl=60)``.
        ``except_`` stands for ``except``."""
        call = self._call()
        try:
            text = self._envelope(envelope)
        except Exception as error:  # a caller's own __str__ or json_default may raise anything
            return self._invalid(call, "the event is no JSON: %s" % error)
        return self._add(text, None, call)

    def send_to_user(self, user: Name, event: Union[str, Event, None], data: Any = None, **options: Any) -> Call:
        """To all streams of a user."""
        return self._to("user", user, event, data, options)

    def send_to_users(self, users: Iterable[Name], event: Union[str, Event, None], data: Any = None, **options: Any) -> Call:
        """To all streams of several users. For nobody it is done at once."""
        call = self._call()
        if isinstance(users, (str, bytes)):
            return self._invalid(call, "`users` has to be a list of users")
        try:
            names = [_name(user) for user in users]
        except Exception as error:
            return self._invalid(call, "`users` has to be a list of users: %s" % error)
        if not names:
            call._settle("done", {"id": None, "matched": 0})
            return call
        return self.publish(users=names, **_event(event, data, options))

    def send_to_session(self, session: Name, event: Union[str, Event, None], data: Any = None, **options: Any) -> Call:
        """To all streams of a session."""
        return self._to("session", session, event, data, options)

    def send_to_client(self, client: str, event: Union[str, Event, None], data: Any = None, **options: Any) -> Call:
        """To a single stream, by the ``client`` of its ``connected`` event."""
        return self._to("client", client, event, data, options)

    def send_to_topic(self, topic: Name, event: Union[str, Event, None], data: Any = None, **options: Any) -> Call:
        """To all streams that hold a topic."""
        return self._to("topic", topic, event, data, options)

    def broadcast_to_conversation(
        self, id: Name, event: Union[str, Event, None], data: Any = None, except_user: Optional[Name] = None, **options: Any
    ) -> Call:
        """To all streams of a conversation, but those of ``except_user``."""
        try:
            topic = self._conversation_topic(_name(id))
        except Exception as error:
            return self._invalid(self._call(), "the conversation: %s" % error)
        fields = _event(event, data, options)
        if except_user is not None and except_user != "":
            fields["except_"] = {**(fields.get("except_") or {}), "user": except_user}
        return self.publish(topic=topic, **fields)

    def send_to_all(self, event: Union[str, Event, None], data: Any = None, **options: Any) -> Call:
        """To every stream."""
        return self.publish(broadcast=True, **_event(event, data, options))

    # --- steering streams, in the same order as what is sent

    def disconnect_client(self, client: str, *, reconnect: Optional[bool] = None, for_: Optional[str] = None) -> Call:
        """Closes a stream. It is done as well when there is no such stream. With ``reconnect=False`` the client shall stay
        away, a user or session for ``for_`` (``"10m"``)."""
        return self._close("/connections/%s", client, reconnect, for_, True)

    def disconnect_user(self, user: Name, *, reconnect: Optional[bool] = None, for_: Optional[str] = None) -> Call:
        """Closes all streams of a user."""
        return self._close("/users/%s/connections", user, reconnect, for_)

    def disconnect_session(self, session: Name, *, reconnect: Optional[bool] = None, for_: Optional[str] = None) -> Call:
        """Closes all streams of a session."""
        return self._close("/sessions/%s/connections", session, reconnect, for_)

    def give_topics(
        self, topics: Iterable[Name], *, user: Optional[Name] = None, session: Optional[Name] = None,
        client: Optional[str] = None,
    ) -> Call:
        """Gives topics beside those that the user, session or client has: open streams follow at once."""
        return self._topics("POST", (user, session, client), {"add": topics})

    def take_topics(
        self, topics: Iterable[Name], *, user: Optional[Name] = None, session: Optional[Name] = None,
        client: Optional[str] = None,
    ) -> Call:
        """Takes topics away."""
        return self._topics("POST", (user, session, client), {"remove": topics})

    def change_topics(
        self, *, add: Iterable[Name] = (), remove: Iterable[Name] = (), user: Optional[Name] = None,
        session: Optional[Name] = None, client: Optional[str] = None,
    ) -> Call:
        """Takes some away, then adds some, in one step."""
        return self._topics("POST", (user, session, client), {"add": add, "remove": remove})

    def set_topics(
        self, topics: Iterable[Name], *, user: Optional[Name] = None, session: Optional[Name] = None,
        client: Optional[str] = None,
    ) -> Call:
        """Gives these topics and no others."""
        return self._topics("PUT", (user, session, client), {"topics": topics})

    def revoke(
        self, *, user: Optional[Name] = None, session: Optional[Name] = None, token: Optional[Name] = None,
        topic: Optional[Name] = None, for_: Optional[str] = None,
    ) -> Call:
        """Takes grants back: ends their streams and keeps them out."""
        named = {"user": user, "session": session, "token": token, "topic": topic, "for": for_}
        return self._command("POST", "/revoke", {name: value for name, value in named.items() if value is not None})

    def retract(self, topic: Name, id: Optional[str] = None) -> Call:
        """Takes back an event of a topic, from all of its recipients; without an id, all that is kept of the topic."""
        return self._about_topic("DELETE", topic, "" if id is None else "/events/" + segment(id))

    def close_topic(self, topic: Name) -> Call:
        """Ends a topic: its readers lose it, and later ones do not get it."""
        return self._about_topic("POST", topic, "/close")

    def open_topic(self, topic: Name) -> Call:
        """Lets a topic that has ended begin anew."""
        return self._about_topic("POST", topic, "/open")

    def poll_now(self, path: str) -> Call:
        """Asks the application at once for what is polled there: ``/api/status``, with a query only for those who ask with
        it."""
        if not isinstance(path, str) or not path.startswith("/"):
            return self._invalid(self._call(), "POST /poll: a path begins with a slash")
        return self._command("POST", "/poll" + path, None)

    def counters(self) -> Counters:
        return self._queue.counters()

    # --- within

    def _call(self) -> Call:
        return Call(self._patience, self._queue.is_away)

    def _envelope(self, envelope: Dict[str, Any]) -> bytes:
        with self._lock:
            self._sent += 1
            number = self._sent
        fields = {name.rstrip("_"): value for name, value in envelope.items() if value is not None}
        fields.setdefault("data", None)
        fields.setdefault("idempotency_key", "%s%d" % (self._idempotency, number))
        # Now, not when it is sent: what the caller changes later is another event.
        return self._json(fields)

    def _json(self, value: Any) -> bytes:
        def encode(ascii: bool) -> str:
            return json.dumps(
                value, ensure_ascii=ascii, allow_nan=False, separators=(",", ":"), default=self._default
            )

        try:
            return encode(False).encode()
        except UnicodeEncodeError:
            return encode(True).encode()  # half of a surrogate pair

    def _default(self, value: Any) -> Any:
        if isinstance(value, UUID):
            return str(value)
        if self._json_default:
            return self._json_default(value)
        raise TypeError("%s is no JSON" % type(value).__name__)

    def _to(
        self, kind: str, name: Name, event: Union[str, Event, None], data: Any, options: Mapping[str, Any]
    ) -> Call:
        try:
            audience = {kind: _name(name)}
        except Exception as error:
            return self._invalid(self._call(), "the %s: %s" % (kind, error))
        return self.publish(**audience, **_event(event, data, options))

    def _close(self, path: str, name: Name, reconnect: Optional[bool], for_: Optional[str], gone: bool = False) -> Call:
        try:
            full = path % segment(_name(name)) + query({"reconnect": reconnect, "for": for_})
        except Exception as error:
            return self._invalid(self._call(), "whose streams? %s" % error)
        return self._command("DELETE", full, None, gone)

    def _topics(self, method: str, whose: Any, change: Dict[str, Iterable[Name]]) -> Call:
        try:
            path = holder(*whose)
            body = {name: [_name(topic) for topic in topics] for name, topics in change.items()}
        except Exception as error:
            return self._invalid(self._call(), str(error))
        return self._command(method, path, body)

    def _about_topic(self, method: str, topic: Name, rest: str) -> Call:
        try:
            path = "/topics/" + segment(_name(topic)) + rest
        except Exception as error:
            return self._invalid(self._call(), "%s /topics/…%s: %s" % (method, rest, error))
        return self._command(method, path, None)

    def _command(self, method: str, path: str, body: Optional[Dict[str, Any]], gone: bool = False) -> Call:
        call = self._call()
        try:
            text = None if body is None else self._json(body)
        except Exception as error:
            return self._invalid(call, "%s %s: the body is no JSON: %s" % (method, path, error))
        return self._add(text, Command(method, path, gone), call)

    def _add(self, text: Optional[bytes], command: Optional[Command], call: Call) -> Call:
        self._finalize()
        self._queue.add(text, command, call)
        return call

    def _invalid(self, call: Call, message: str) -> Call:
        error = SidestreamError(message, "invalid")
        call._settle("failed", error=error)
        self._report(error, 1, False)
        return call

    def _report(self, error: SidestreamError, count: int, retrying: bool) -> None:
        if self._on_error:
            return self._hook(self._on_error, error, count, retrying)
        if time.monotonic() - self._said_at < _SAY_EVERY:
            self._unsaid += 1
            return None
        more = " (and %d more like it)" % self._unsaid if self._unsaid else ""
        self._said_at, self._unsaid = time.monotonic(), 0
        self._hook(log.warning, "%s%s%s", error, "; trying again" if retrying else "", more)
        return None

    def _changed(self, error: Optional[SidestreamError]) -> None:
        if error is not None and self._on_down:
            self._hook(self._on_down, error)
        if error is None and self._on_up:
            self._hook(self._on_up)

    def _hook(self, hook: Callable[..., Any], *arguments: Any) -> None:
        try:
            hook(*arguments)
        except Exception:
            log.exception("a hook of the publisher raised")

    def _ask(self, question: Callable[[], Value], otherwise: Value) -> Value:
        try:
            return question()
        except SidestreamError as error:
            self._report(error, 1, False)
            return otherwise
        except Exception as error:  # an answer of another shape
            self._report(SidestreamError("the answer is not sidestream's: %r" % error, "bad_answer"), 1, False)
            return otherwise

    def _flush(self, deadline: float) -> bool:
        return self._queue.flush(deadline)

    def _shut(self, deadline: float) -> bool:
        flushed = self._queue.close(deadline)
        self._client.close()
        _all.discard(self)
        return flushed

    def _finalize(self) -> None:
        """Processes of ``multiprocessing`` end without ``atexit``."""
        if self._finalized:
            return
        self._finalized = True
        util = sys.modules.get("multiprocessing.util")
        process = sys.modules.get("multiprocessing.process")
        if util and process and process.parent_process() is not None:
            util.Finalize(self, _at_exit_of, args=(weakref.ref(self),), exitpriority=10)


class Publisher(Sender):
    """Publishes to sidestream.

    No call that sends ever raises or waits; what is called first is sent first, by a thread of the publisher's own. Make one for
    the process and share it among threads. After a fork the child has an empty one with connections of its own.
    """

    @property
    def query(self) -> Queries:
        """What sidestream can be asked. These raise SidestreamError when there is no answer."""
        return self._questions

    # Asking, as the services that it replaces did: without an answer False, 0 or nobody, and ``on_error`` hears why.

    def has_connection(self, user: Name) -> bool:
        """Whether a user has an open stream on any instance."""
        return self._ask(lambda: bool(self._questions.count(user=_name(user))["total"] > 0), False)

    def is_online(self, user: Name) -> bool:
        """Whether a user is there: also for ``presence.grace`` after the last stream has ended."""
        return self._ask(lambda: bool(self._questions.user(_name(user))["online"]), False)

    def get_connection_count(self, **filters: Optional[Name]) -> int:
        """How many streams are open on all instances, all or those of the filters."""
        return self._ask(lambda: int(self._questions.count(**filters)["total"]), 0)

    def get_active_connections(self, **filters: Optional[Name]) -> List[Dict[str, Any]]:
        """All open streams of all instances, or those of the filters, however many pages they are."""
        return self._ask(lambda: list(self._questions._connections(filters)), [])

    def get_stats(self) -> Dict[str, Any]:
        """Streams by instance, and what this publisher has done."""
        nothing: Dict[str, Any] = {"total": 0, "instances": [], "complete": False}
        return {**self._ask(self._questions.count, nothing), "publisher": self.counters()._asdict()}

    def flush(self, deadline: float = 5.0) -> bool:
        """Waits until all calls so far are settled; False when that takes longer than ``deadline`` seconds."""
        return self._flush(deadline)

    def close(self, deadline: float = 5.0) -> bool:
        """Takes no more calls, sends what is queued, and gives up what is left after ``deadline`` seconds."""
        return self._shut(deadline)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _name(name: Any) -> Name:
    if isinstance(name, bool) or not isinstance(name, (str, int, UUID)) or name == "":
        raise SidestreamError("%r is no name" % (name,), "invalid")
    return str(name) if isinstance(name, UUID) else name


def _event(event: Union[str, Event, None], data: Any, options: Mapping[str, Any]) -> Dict[str, Any]:
    if isinstance(event, Event):
        return {**event.options, **options, "event": event.event, "data": event.data}
    return {**options, "event": event, "data": data}


# Every publisher that is not closed, for the end of the process and for its forks.
_all: "weakref.WeakSet[Sender]" = weakref.WeakSet()


def _at_exit() -> None:
    publishers = list(_all)
    for publisher in publishers:
        publisher._shut(publisher._exit_deadline)


def _at_exit_of(reference: "weakref.ref[Sender]") -> None:
    publisher = reference()
    if publisher is not None:
        publisher._shut(publisher._exit_deadline)


def _after_fork() -> None:
    for publisher in list(_all):
        publisher._forget()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
