from django.contrib.staticfiles.views import serve
from django.urls import path

from .views import messages

urlpatterns = [
    path("api/messages", messages),
    path("", serve, {"path": "index.html"}),
    path("style.css", serve, {"path": "style.css"}),
]
