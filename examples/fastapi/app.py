"""A board of messages, as any FastAPI app might be. It has no stream of its own: `/events` never gets here."""

from collections import defaultdict, deque
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from itertools import count
from typing import Annotated

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, StringConstraints
from sidestream import AsyncPublisher

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class Draft(BaseModel):
    room: Name
    author: Name
    text: Text


class Message(BaseModel):
    id: int
    author: str
    text: str
    at: datetime


rooms: dict[str, deque[Message]] = defaultdict(lambda: deque(maxlen=200))
ids = count(1)
push = AsyncPublisher()  # SIDESTREAM_URL and SIDESTREAM_KEY of the environment


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with push:  # sends what is queued when the app stops
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/api/messages")
async def history(room: Name) -> list[Message]:
    return list(rooms.get(room, []))


@app.post("/api/messages", status_code=201)
async def write(draft: Draft) -> Message:
    message = Message(id=next(ids), author=draft.author, text=draft.text, at=datetime.now(timezone.utc))
    rooms[draft.room].append(message)
    push.send_to_topic(f"room:{draft.room}", "message:new", message.model_dump(mode="json"))
    return message


app.mount("/", StaticFiles(directory="static", html=True, follow_symlink=True))
