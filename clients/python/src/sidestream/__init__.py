"""Publishes events to sidestream: queued, ordered, retried, and never in the way of a request."""

from ._asyncio import AsyncPublisher, AsyncQueries
from ._call import Call, Counters
from ._errors import SidestreamError
from ._events import (
    Event,
    create_event,
    create_message_event,
    create_notification_event,
    create_status_event,
    create_typing_event,
    create_update_event,
)
from ._publisher import Publisher
from ._queries import Queries
from ._webhook import verify_webhook

__all__ = [
    "AsyncPublisher",
    "AsyncQueries",
    "Call",
    "Counters",
    "Event",
    "Publisher",
    "Queries",
    "SidestreamError",
    "create_event",
    "create_message_event",
    "create_notification_event",
    "create_status_event",
    "create_typing_event",
    "create_update_event",
    "verify_webhook",
]
__version__ = "0.1.0"
