"""A real daemon, streams of it, and servers that misbehave."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1] / "src"))
BINARY = os.environ.get("SIDESTREAM_BIN") or str(HERE.parents[3] / "target/debug/sidestream")
if not os.path.exists(BINARY):
    raise SystemExit("%s is not there: cargo build, or set SIDESTREAM_BIN" % BINARY)

KEY = "test-key"
ROUTE = """
[[stream]]
path    = "/events"
auth    = "none"
user    = "{query.userId}"
session = "{query.sessionId}"
topics  = ["conversation:{query.conversationId}"]

[[stream]]
path   = "/status"
source = "poll"

[sse]
heartbeat = "0s"
"""
LIMIT = 10.0


def eventually(what, is_so, limit=LIMIT):
    deadline = time.monotonic() + limit
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError("%s: not within %g s" % (what, limit))
        time.sleep(0.02)


class Daemon:
    """The real one, on ports of its own."""

    def __init__(self, test, config=ROUTE):
        self.folder = tempfile.mkdtemp(prefix="sidestream-")
        test.addCleanup(shutil.rmtree, self.folder)
        self.file = os.path.join(self.folder, "sidestream.toml")
        pathlib.Path(self.file).write_text(config)
        self.internal = "127.0.0.1:0"
        test.addCleanup(self.kill)
        self.run()

    def run(self):
        """Starts it, or starts it again where it listened before."""
        environment = {
            **os.environ,
            "SIDESTREAM_PUBLIC_LISTEN": "127.0.0.1:0",
            "SIDESTREAM_PUBLIC_BACKEND": "http://127.0.0.1:9",
            "SIDESTREAM_INTERNAL_LISTEN": self.internal,
            "SIDESTREAM_INTERNAL_PUBLISH_KEYS": KEY,
            "SIDESTREAM_TELEMETRY_LOG_FORMAT": "json",
        }
        command = [BINARY, "serve", "--config", self.file]
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        log = []
        for line in self.process.stderr:
            log.append(line.decode())
            said = json.loads(line)
            if said.get("message") == "listening":
                self.public, self.internal = said["public"], said["internal"]
                break
        else:
            raise AssertionError("the daemon ended: %s" % "".join(log))
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.url = "http://" + self.internal

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT)
        with contextlib.suppress(ValueError, OSError):
            self.process.stderr.close()

    def stop(self):
        """Stops it, and waits until it stands still."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


class Stream:
    """An open stream."""

    def __init__(self, test, daemon, query):
        self.connection = http.client.HTTPConnection(daemon.public, timeout=LIMIT)
        test.addCleanup(self.connection.close)
        self.connection.request("GET", "/events?" + query)
        self.answer = self.connection.getresponse()
        test.addCleanup(self.answer.close)
        assert self.answer.status == 200, self.answer.status
        self.client = self.next()["data"]["client"]

    def next(self):
        """The next event; None at the end."""
        fields = {}
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            if line == "" and "data" in fields:
                return {"event": fields.get("event"), "data": json.loads(fields["data"])}
            if line == "" and not fields and self.answer.isclosed():
                return None
            name, _, value = line.partition(":")
            fields[name] = value.lstrip(" ")
            if line == "":
                fields = {}

    def take(self, count):
        """The data of so many events."""
        return [self.next()["data"] for _ in range(count)]


class Scripted:
    """An HTTP server whose answers a test writes: ``answer(request, count)`` gives (status, JSON or bytes, headers)."""

    def __init__(self, test, answer):
        self.requests = []
        self.ports = set()
        over = threading.Event()
        lock = threading.Lock()
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                scripted.ports.add(self.client_address[1])
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = {
                    "method": self.command,
                    "path": self.path,
                    "headers": dict(self.headers),
                    "body": json.loads(body) if body else None,
                    "at": time.monotonic(),
                }
                with lock:
                    scripted.requests.append(request)
                    count = len(scripted.requests)
                answered = answer(request, count)
                if answered is None:
                    over.wait(LIMIT)
                    return
                status, value, *headers = answered
                text = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                for name, header in dict(*headers).items():
                    self.send_header(name, header)
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = handle_one

            def handle(self):
                with contextlib.suppress(OSError):
                    super().handle()

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 100

        server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        test.addCleanup(server.server_close)
        test.addCleanup(server.shutdown)
        test.addCleanup(over.set)


def receipts(request, count=None):
    """What a daemon answers that takes everything."""
    return 200, {"events": [{"id": "1-%d" % at, "matched": 0} for at, _ in enumerate(request["body"])], "refused": 0}


def nowhere():
    """The address of a port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return "http://127.0.0.1:%d" % sock.getsockname()[1]


class Case(unittest.TestCase):
    def publisher(self, url, **options):
        from sidestream import Publisher

        settings = {"key": KEY, "min_backoff": 0.02, "max_backoff": 0.1, "on_error": lambda *_: None, **options}
        push = Publisher(url, **settings)
        self.addCleanup(push.close, 0)
        return push
