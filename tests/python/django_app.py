"""A Django application with a stream that it writes by hand, without ids."""

import asyncio

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from serving import serve

opened, queues, number = 0, set(), 0


async def events(_request):
    global opened
    opened += 1
    queue = asyncio.Queue()
    queues.add(queue)

    async def stream():
        try:
            yield "retry: 500\n\n"
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)

    return StreamingHttpResponse(stream(), content_type="text/event-stream")


async def say(_request):
    global number
    number += 1
    for queue in queues:
        queue.put_nowait(f"event: tick\ndata: {number}\ndata: zwei\n\n")
    return HttpResponse("said")


async def count(_request):
    return HttpResponse(f"{opened} {len(queues)}")


urlpatterns = [path("events", events), path("say", say), path("count", count)]
middleware = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
]
settings.configure(
    ALLOWED_HOSTS=["*"],
    DEBUG=False,
    MIDDLEWARE=middleware,
    ROOT_URLCONF=__name__,
    SECRET_KEY="for a test alone, and for nothing but that",
)
django.setup()
serve(get_asgi_application())
