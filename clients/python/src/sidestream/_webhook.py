from __future__ import annotations

import hashlib
import hmac
import time
from typing import Optional, Union


def verify_webhook(secret: str, header: Optional[str], body: Union[bytes, str], tolerance: float = 300) -> bool:
    """Whether ``header`` (``sidestream-signature``) signs ``body`` with ``secret``, and is not older than ``tolerance`` seconds.

    ``body`` has to be the bytes as they came, before any framework has parsed them. Compares in constant time; never raises.
    """
    parts = [part.strip().partition("=")[::2] for part in (header or "").split(",")]
    stamp = next((value for name, value in parts if name == "t"), "")
    if not secret or not (stamp.isascii() and stamp.isdigit()) or len(stamp) > 12:
        return False
    if abs(time.time() - int(stamp)) > tolerance:
        return False
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    expected = hmac.new(secret.encode(), stamp.encode() + b"." + raw, hashlib.sha256).hexdigest().encode()
    return any(name == "v1" and hmac.compare_digest(value.encode("utf-8", "replace"), expected) for name, value in parts)
