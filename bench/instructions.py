#!/usr/bin/env python3
"""Counts the instructions that a running sidestream spends on an operation: publish, event of a channel, proxied GET, event
delivered to a stream; and beside them a publish that is sent on over Redis, and one that is appended there.

    bench/instructions.py BINARY [ROUNDS]     (needs valgrind and redis-server; some 60 s a round)

valgrind --tool=callgrind counts them. The daemon is warmed up with the same operations, the counters are dumped, N
operations run, and they are dumped again: neither start nor stop is in the difference. Idle time is counted the same way
and taken off by the second. Operations run one after the other on one core, with one shard and without the allocator's
timers, so that batching does not depend on timing.
"""
import os, pathlib, re, shutil, socket, statistics, subprocess, sys, tempfile, threading, time

BINARY = os.path.abspath(sys.argv[1])
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
PUBLISHES = 5000
CHANNEL_EVENTS, CHANNEL_BATCH, CHANNEL_TOPICS = 5000, 50, 100
GETS = 5000
DELIVERY_STREAMS, DELIVERY_EVENTS = 200, 500
IDLE_SECONDS = 5

CONFIG = """
[public]
listen = "127.0.0.1:{public}"
backend = "http://127.0.0.1:{backend}"
head_timeout = "1h"
[internal]
listen = "127.0.0.1:{internal}"
publish_keys = ["0123456789abcdef0123456789abcdef01234567"]
head_timeout = "1h"
[proxy]
idle_timeout = "1h"
[[stream]]
path = "/events"
topics = ["{{query.topic}}"]
[sse]
heartbeat = "30m"
[limits]
streams_per_address = 0
[fanout]
shards = 1
"""
REDIS = """
[redis]
url = "redis://127.0.0.1:{redis}"
ping_interval = "1h"
timeout = "60s"
[[redis.channel]]
pattern = "chat:*"
topic = "conversation:{{1}}"
event = "message:new"
"""
REDIS_STREAM = """
[redis.stream]
timeout = "60s"
"""
KEY = "0123456789abcdef0123456789abcdef01234567"
DATA = '{"text":"' + "x" * 180 + '"}'


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def connect(port, wait=0.0):
    end = time.monotonic() + wait
    while True:
        try:
            s = socket.create_connection(("127.0.0.1", port), timeout=120)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return s
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def answer(s):
    """Reads one answer with a Content-Length."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = s.recv(65536)
        assert more, got
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
    while len(body) < length:
        body += s.recv(65536)
    return int(head.split(b" ")[1]), body


def backend(port, ready):
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    ready.set()
    reply = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"

    def serve(s):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        got = b""
        while True:
            more = s.recv(65536)
            if not more:
                return
            got += more
            while b"\r\n\r\n" in got:
                got = got.split(b"\r\n\r\n", 1)[1]
                s.sendall(reply)

    while True:
        s, _ = listener.accept()
        threading.Thread(target=serve, args=(s,), daemon=True).start()


class Stream:
    def __init__(self, port, topic):
        self.s = connect(port)
        self.s.sendall(f"GET /events?topic={topic} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n".encode())
        self.tail = b""
        self.until(b"event: connected\n")
        while not self.tail.endswith(b"\n\n\r\n"):
            self.more()
        self.tail = b""

    def more(self):
        got = self.s.recv(1 << 20)
        assert got, "the stream ended"
        self.tail += got

    def until(self, mark):
        while mark not in self.tail:
            self.more()

    def events(self, n):
        """Reads until n more events are here."""
        while self.tail.count(b"event: message:new\n") < n or not self.tail.endswith(b"\n\n\r\n"):
            self.more()
        assert self.tail.count(b"event: message:new\n") == n
        self.tail = b""


class Daemon:
    def __init__(self, folder, redis, backend, sections):
        self.folder = folder
        self.public, self.internal = free_port(), free_port()
        config = folder / "sidestream.toml"
        config.write_text((CONFIG + sections).format(public=self.public, internal=self.internal, backend=backend, redis=redis))
        env = {"PATH": os.environ["PATH"], "HOME": str(folder),
               "_RJEM_MALLOC_CONF": "background_thread:false,dirty_decay_ms:-1,muzzy_decay_ms:-1"}
        self.log = open(folder / "daemon.log", "wb")
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
             BINARY, "serve", "--config", str(config)],
            env=env, stdout=self.log, stderr=self.log, cwd=folder)
        self.dumps = 0
        connect(self.public, wait=60).close()
        end = time.monotonic() + 60
        while True:
            s = connect(self.internal, wait=60)
            s.sendall(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            status, _ = answer(s)
            s.close()
            if status == 200:
                break
            assert time.monotonic() < end, "not ready"
            time.sleep(0.1)

    def dump(self):
        """Dumps and zeroes the counters; returns the instructions since the last dump."""
        self.dumps += 1
        subprocess.run(["callgrind_control", "--dump", str(self.process.pid)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
        file = self.folder / f"out.{self.dumps}"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if file.exists():
                found = re.search(r"^(?:totals|summary): (\d+)", file.read_text(errors="replace"), re.M)
                if found:
                    return int(found[1])
            time.sleep(0.05)
        raise SystemExit("no dump came")

    def stop(self):
        self.process.kill()
        self.process.wait()


def publishes(daemon, n, conns, topics):
    for i in range(n):
        s = conns[i % len(conns)]
        body = '{"topic":"%s","event":"message:new","data":%s}' % (topics[i % len(topics)], DATA)
        s.sendall((f"POST /publish HTTP/1.1\r\nHost: 127.0.0.1:{daemon.internal}\r\nAuthorization: Bearer {KEY}\r\n"
                   f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode())
        status, text = answer(s)
        assert status == 200, text


def measure(daemon, operation, warm, n, idle_rate):
    operation(warm)
    daemon.dump()
    began = time.monotonic()
    operation(n)
    took = time.monotonic() - began
    return daemon.dump() - idle_rate * took


def run(redis):
    figures = {}
    ready = threading.Event()
    backend_port = free_port()
    threading.Thread(target=backend, args=(backend_port, ready), daemon=True).start()
    ready.wait()

    def with_daemon(name, count, body, sections=""):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="count-"))
        daemon = Daemon(folder, redis, backend_port, sections)
        try:
            operation, warm, n = body(daemon)
            daemon.dump()
            time.sleep(IDLE_SECONDS)
            idle = daemon.dump() / IDLE_SECONDS
            figures[name] = measure(daemon, operation, warm, n, idle) / count
        finally:
            daemon.stop()
            shutil.rmtree(folder, ignore_errors=True)

    def publish(d):
        conns = [connect(d.internal) for _ in range(16)]
        topics = [f"quiet:{i}" for i in range(200)]
        return (lambda n: publishes(d, n, conns, topics)), 2000, PUBLISHES

    def channel(d):
        streams = [Stream(d.public, f"conversation:{i}") for i in range(CHANNEL_TOPICS)]
        to_redis = connect(redis)
        seen = [0]

        def operation(n):
            for _ in range(n // CHANNEL_BATCH):
                first = seen[0]
                seen[0] += CHANNEL_BATCH
                names = [f"chat:{(first + k) % CHANNEL_TOPICS}" for k in range(CHANNEL_BATCH)]
                # As one transaction, so that Redis writes them to the daemon at once, however its own read was cut.
                to_redis.sendall(("*1\r\n$5\r\nMULTI\r\n" + "".join(f"*3\r\n$7\r\nPUBLISH\r\n${len(c)}\r\n{c}\r\n${len(DATA)}\r\n{DATA}\r\n" for c in names) + "*1\r\n$4\r\nEXEC\r\n").encode())
                got = b""
                while got.count(b"\r\n") < 2 * CHANNEL_BATCH + 2:
                    got += to_redis.recv(65536)
                for k in range(CHANNEL_BATCH):
                    streams[(first + k) % CHANNEL_TOPICS].events(1)
        return operation, 2000, CHANNEL_EVENTS

    def proxied(d):
        conns = [connect(d.public) for _ in range(16)]
        head = (f"GET /hello?x=1 HTTP/1.1\r\nHost: 127.0.0.1:{d.public}\r\nUser-Agent: count/1\r\nAccept: */*\r\n"
                "Accept-Encoding: gzip\r\nCookie: session=0123456789abcdef\r\n\r\n").encode()

        def operation(n):
            for i in range(n):
                s = conns[i % len(conns)]
                s.sendall(head)
                status, text = answer(s)
                assert (status, text) == (200, b"Hello, world!")
        return operation, 2000, GETS

    def delivery(d):
        streams = [Stream(d.public, "crowd") for _ in range(DELIVERY_STREAMS)]
        conns = [connect(d.internal)]

        def operation(n):
            for _ in range(n):
                publishes(d, 1, conns, ["crowd"])
                for s in streams:
                    s.events(1)
        return operation, 100, DELIVERY_EVENTS

    with_daemon("publish", PUBLISHES, publish)
    with_daemon("channel", CHANNEL_EVENTS, channel, REDIS)
    with_daemon("proxied", GETS, proxied)
    with_daemon("delivery", DELIVERY_STREAMS * DELIVERY_EVENTS, delivery)
    # Beside the four: the same publish, sent on to other instances over a channel, and appended to the log in Redis.
    with_daemon("sent-on", PUBLISHES, publish, REDIS)
    with_daemon("appended", PUBLISHES, publish, REDIS + REDIS_STREAM)
    return figures


def main():
    folder = tempfile.mkdtemp(prefix="count-redis-")
    port = free_port()
    server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                               "--dir", folder], stdout=subprocess.DEVNULL)
    try:
        connect(port, wait=10).close()
        version = subprocess.run([BINARY, "--version"], capture_output=True, text=True).stdout.strip()
        sha = subprocess.run(["sha256sum", BINARY], capture_output=True, text=True).stdout[:16]
        print(f"{BINARY}: {version}, sha256 {sha}; valgrind --tool=callgrind, {ROUNDS} rounds, instructions an operation")
        rounds = []
        for i in range(ROUNDS):
            rounds.append(run(port))
            print(f"  round {i + 1}: " + "  ".join(f"{k} {v:,.1f}" for k, v in rounds[-1].items()), flush=True)
        print(f"{'path':<10} {'median':>12} {'least':>12} {'most':>12} {'spread':>8}")
        for name in rounds[0]:
            values = [r[name] for r in rounds]
            middle = statistics.median(values)
            print(f"{name:<10} {middle:>12,.1f} {min(values):>12,.1f} {max(values):>12,.1f} {(max(values) - min(values)) / middle:>8.2%}")
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


main()
