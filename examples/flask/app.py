"""A board of messages, as any Flask app might be. It has no stream of its own: `/events` never gets here."""

from datetime import datetime, timezone
from itertools import count
from threading import Lock

from flask import Flask, jsonify, request
from sidestream import Publisher

app = Flask(__name__, static_url_path="")
push = Publisher()  # SIDESTREAM_URL and SIDESTREAM_KEY of the environment

KEPT = 200  # messages of each room
rooms: dict[str, list[dict]] = {}
ids = count(1)
lock = Lock()


@app.get("/")
def page():
    return app.send_static_file("index.html")


@app.get("/api/messages")
def history():
    return jsonify(rooms.get(request.args.get("room", ""), []))


@app.post("/api/messages")
def write():
    body = request.get_json()
    room, author, text = (str(body.get(field, "")).strip() for field in ("room", "author", "text"))
    if not (0 < len(room) <= 40 and 0 < len(author) <= 40 and 0 < len(text) <= 2000):
        return {"error": "A message needs a room, an author and 1 to 2000 characters."}, 400

    with lock:
        message = {"id": next(ids), "author": author, "text": text, "at": datetime.now(timezone.utc).isoformat()}
        rooms[room] = [*rooms.get(room, []), message][-KEPT:]
        push.send_to_topic(f"room:{room}", "message:new", message)
    return message, 201
