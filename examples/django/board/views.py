import json

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import JsonResponse
from django.views.decorators.http import require_http_methods

from .models import Message
from .push import push

KEPT = 200  # messages of a room that its page gets


@require_http_methods(["GET", "POST"])
def messages(request):
    return write(request) if request.method == "POST" else history(request)


def history(request):
    newest = Message.objects.filter(room=request.GET.get("room", "")).order_by("-id")[:KEPT]
    return JsonResponse([message.as_json() for message in reversed(newest)], safe=False)


@transaction.atomic
def write(request):
    try:
        body = json.loads(request.body)
        message = Message(**{field: str(body[field]).strip() for field in ("room", "author", "text")})
        message.full_clean()
    except (ValueError, TypeError, KeyError, ValidationError):
        return JsonResponse({"error": "A message needs a room, an author and 1 to 2000 characters."}, status=400)
    message.save()
    # Pages hear of it when it is saved for good, and of nothing that is rolled back.
    transaction.on_commit(lambda: push.send_to_topic(f"room:{message.room}", "message:new", message.as_json()))
    return JsonResponse(message.as_json(), status=201)
