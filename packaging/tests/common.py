"""What `make dist` has made, and programs started from it."""

import json
import os
import queue
import re
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
VERSION = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
# So that nothing of the machine's own configuration plays along, and no fixed port is taken.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("SIDESTREAM_", "npm_"))},
    "SIDESTREAM_PUBLIC_LISTEN": "127.0.0.1:0",
    "SIDESTREAM_INTERNAL_LISTEN": "127.0.0.1:0",
    "SIDESTREAM_DRAIN_WINDOW": "100ms",
}
PATIENCE = 60


def made(pattern: str) -> Path:
    """The one file of the release with such a name."""
    found = list(DIST.glob(pattern))
    assert len(found) == 1, f"{pattern}: {[path.name for path in found]}; `make dist` first"
    return found[0]


def call(*command, **options) -> str:
    """What a command prints that succeeds."""
    done = subprocess.run([str(word) for word in command], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, **options)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


class Running:
    """A program at work, and the lines that it prints."""

    def __init__(self, *command, **options) -> None:
        options = {"env": ENVIRONMENT, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **options}
        self.process = subprocess.Popen([str(word) for word in command], stderr=subprocess.STDOUT, text=True, **options)
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.said: list[str] = []
        if self.process.stdout:
            # The pipe is closed by the thread that reads it, once nobody writes to it any more.
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self.process.stdout as stdout:
            for line in stdout:
                self.lines.put(line)
        self.lines.put(None)

    def until(self, pattern: str) -> re.Match:
        """The first line from now on in which this is found."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                line = self.lines.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, f"{pattern} was not said:\n{''.join(self.said)}"
            self.said.append(line)
            if found := re.search(pattern, re.sub(r"\x1b\[[0-9;]*m", "", line)):
                return found

    def end(self) -> int:
        """The code with which it ends, negative for a signal."""
        code = self.process.wait(PATIENCE)
        while (line := self.lines.get(timeout=PATIENCE)) is not None:
            self.said.append(line)
        return code

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def listening(daemon: Running) -> tuple[str, str]:
    """The addresses, as URLs, at which a daemon says that it listens."""
    found = daemon.until(r"listening public=(\S+) internal=(\S+)")
    return f"http://{found[1]}", f"http://{found[2]}"


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return answer.read().decode()


NODE_APPLICATION = """
const server = require('http').createServer((request, response) => response.end(`node has ${request.url}`));
server.listen(0, '127.0.0.1', () => console.log(`at ${server.address().port}`));
"""


class NodeApplication(Running):
    def __init__(self) -> None:
        super().__init__("node", "-e", NODE_APPLICATION)
        self.url = f"http://127.0.0.1:{self.until(r'at (.*)')[1]}"


def publishes_and_receives(command: list, public: str, internal: str, key: str, **options) -> None:
    """What is published by the program arrives on a stream."""
    with Running(*command, "tail", f"{public}/events?topic=news", **options) as tail:
        tail.until("connected")
        request = urllib.request.Request(f"{internal}/publish", json.dumps({"topic": "news", "data": "hi"}).encode(),
                                         {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert json.load(answer)["matched"] == 1
        tail.until("hi")
