"""One request within a time limit, over connections that are kept. Knows nothing of queues or events."""

from __future__ import annotations

import email.utils
import http.client
import io
import json
import socket
import ssl
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, Optional, Tuple, Union
from urllib.parse import urlsplit
from weakref import WeakSet

from ._errors import SidestreamError

Key = Union[str, Callable[[], str]]

_ANSWER_MAX = 16 * 1024 * 1024
# Less than the daemon's own 75 s, so that a request seldom meets a connection which is being closed.
_IDLE_MAX = 30.0
_KEPT_MAX = 8


class _Reader(io.RawIOBase):
    """What comes from a socket before a deadline. A socket's own time-out would begin anew with each byte."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv_into(buffer)


class _Line:
    """A connection as http.client wants it: reads and writes with one deadline for all of a request."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.deadline = 0.0

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_left(self.deadline))
        self._sock.sendall(data)

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self.deadline))

    def close(self) -> None:
        """Nothing: http.client calls it before an answer is read that is the last one."""

    def end(self) -> None:
        self._sock.close()


class _Connection:
    def __init__(self, line: _Line, http1: http.client.HTTPConnection) -> None:
        self.line = line
        self.http1 = http1
        self.used = time.monotonic()


class Client:
    """Sends requests from any thread."""

    def __init__(self, url: str, key: Key) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("sidestream: the address must be http://… or https://…, not %r" % url)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname
        self._port = parts.port or (443 if self._tls else 80)
        self._base = parts.path.rstrip("/")
        self._key = key
        self.forget()

    def forget(self) -> None:
        """Begins anew, as in a process just forked: closes its copies of the sockets, and sends nothing on them."""
        for line in list(getattr(self, "_lines", ())):
            line.end()
        self._lines: "WeakSet[_Line]" = WeakSet()
        self._kept: Deque[_Connection] = deque()

    def close(self) -> None:
        """Ends the connections that are kept."""
        while self._kept:
            self._kept.pop().line.end()

    def send(self, method: str, path: str, body: Optional[bytes], timeout: float) -> Any:
        """The answer's JSON. Raises SidestreamError, and never later than ``timeout``."""
        what = "%s %s" % (method, path.split("?")[0])
        deadline = time.monotonic() + timeout
        headers = {"Accept": "application/json"}
        try:
            key = self._key() if callable(self._key) else self._key
        except Exception as error:
            raise SidestreamError("there is no key: %s" % error, "unreachable") from error
        if key:
            headers["Authorization"] = "Bearer " + key
        if body is not None:
            headers["Content-Type"] = "application/json"
        status, retry_after, text = self._exchange(what, method, path, body, headers, deadline, timeout)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if 200 <= status < 300:
            if answer is None:
                raise SidestreamError("%s: the answer is no JSON" % what, "bad_answer", status=status)
            return answer
        problem = answer if isinstance(answer, dict) and isinstance(answer.get("error"), str) else None
        said = problem["error"] if problem else http.client.responses.get(status, "")
        temporary = status in (408, 425, 429) or status >= 500
        raise SidestreamError(
            ("%s: %d %s" % (what, status, said)).rstrip(),
            "unavailable" if temporary else "refused",
            status=status,
            problem=problem,
            retry_after=_retry_after(retry_after),
            unknown=temporary and (problem or {}).get("published") != "nothing",
        )

    def _exchange(
        self, what: str, method: str, path: str, body: Optional[bytes], headers: Dict[str, str], deadline: float,
        timeout: float,
    ) -> Tuple[int, Optional[str], bytes]:
        is_out = False
        try:
            kept = self._take()
            if kept is not None:
                is_out = True
                try:
                    return self._ask(kept, method, path, body, headers, deadline)
                except (ConnectionError, http.client.BadStatusLine):
                    # The daemon closed a kept connection just when it was taken. Every request may be sent twice.
                    pass
            made = self._connect(deadline)
            is_out = True
            return self._ask(made, method, path, body, headers, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = isinstance(error, (socket.timeout, TimeoutError)) or time.monotonic() >= deadline
            why = "no answer within %g s" % timeout if late else str(error) or type(error).__name__
            raise SidestreamError("%s: %s" % (what, why), "unreachable", unknown=is_out) from error

    def _ask(
        self, connection: _Connection, method: str, path: str, body: Optional[bytes], headers: Dict[str, str],
        deadline: float,
    ) -> Tuple[int, Optional[str], bytes]:
        is_kept = False
        try:
            connection.line.deadline = deadline
            connection.http1.request(method, self._base + path, body=body, headers=headers)
            response = connection.http1.getresponse()
            text = response.read(_ANSWER_MAX + 1)
            if len(text) > _ANSWER_MAX:
                raise ValueError("the answer is larger than %d bytes" % _ANSWER_MAX)
            if response.length:
                raise http.client.IncompleteRead(text, response.length)
            if not response.will_close and len(self._kept) < _KEPT_MAX:
                response.close()
                connection.used = time.monotonic()
                self._kept.append(connection)
                is_kept = True
            return response.status, response.headers.get("Retry-After"), text
        finally:
            # Whatever ended it, an exception of a signal too: half of an answer is nobody's.
            if not is_kept:
                connection.line.end()

    def _take(self) -> Optional[_Connection]:
        while True:
            try:
                connection = self._kept.pop()
            except IndexError:
                return None
            if time.monotonic() - connection.used < _IDLE_MAX:
                return connection
            connection.line.end()

    def _connect(self, deadline: float) -> _Connection:
        sock = socket.create_connection((self._host, self._port), _left(deadline))
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_hostname=self._host)
        except BaseException:
            sock.close()
            raise
        line = _Line(sock)
        self._lines.add(line)
        http1 = http.client.HTTPConnection(self._host, self._port)
        http1.auto_open = 0
        http1.sock = line
        return _Connection(line, http1)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout("timed out")
    return left


def _retry_after(value: Optional[str]) -> Optional[float]:
    if value is None:
        return None
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
