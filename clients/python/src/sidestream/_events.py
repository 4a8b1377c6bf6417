from __future__ import annotations

from typing import Any, NamedTuple, Mapping


class Event(NamedTuple):
    """An event without its audience: every ``send_to_…`` takes it instead of a name and data."""

    event: str
    data: Any = None
    options: Mapping[str, Any] = {}


def create_event(event: str, data: Any = None, **options: Any) -> Event:
    """An event by its name: ``push.send_to_user(id, create_event("invited", {"to": "tea"}, ttl=60))``."""
    return Event(event, data, options)


def create_notification_event(data: Any = None, **options: Any) -> Event:
    """An event called ``notification``."""
    return Event("notification", data, options)


def create_message_event(data: Any = None, **options: Any) -> Event:
    """An event called ``message``."""
    return Event("message", data, options)


def create_update_event(data: Any = None, **options: Any) -> Event:
    """An event called ``update``."""
    return Event("update", data, options)


def create_status_event(data: Any = None, **options: Any) -> Event:
    """An event called ``status``."""
    return Event("status", data, options)


def create_typing_event(data: Any = None, **options: Any) -> Event:
    """An event called ``typing``, which nobody needs later: it is delivered live and never replayed."""
    return Event("typing", data, {"ephemeral": True, **options})
