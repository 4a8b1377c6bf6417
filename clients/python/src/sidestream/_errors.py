from __future__ import annotations

from typing import Any, Dict, Optional


class SidestreamError(Exception):
    """Why something did not happen.

    ``kind`` is one of

    - ``unreachable``: no connection, no answer in time, or the answer broke off
    - ``unavailable``: the daemon is there and cannot do it now (408, 429, 5xx)
    - ``refused``: the daemon refused it, and would again (400, 401, 403, 404, 409, 413)
    - ``bad_answer``: what answers is not sidestream
    - ``invalid``: the call itself cannot be carried out: no name, data that is no JSON
    - ``dropped``: the queue was full
    - ``given_up``: it was tried for ``give_up_after`` without success
    - ``closed``: the publisher was closed before it could be sent
    """

    def __init__(
        self,
        message: str,
        kind: str,
        *,
        status: Optional[int] = None,
        problem: Optional[Dict[str, Any]] = None,
        retry_after: Optional[float] = None,
        unknown: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        #: The JSON of the daemon's answer.
        self.problem = problem
        #: Seconds that the daemon asks to wait for.
        self.retry_after = retry_after
        #: Whether it may have happened all the same: it was sent, and no answer came.
        self.unknown = unknown

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.kind in ("unreachable", "unavailable")
